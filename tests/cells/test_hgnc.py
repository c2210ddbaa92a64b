"""The HGNC table: read from any of its formats, ambiguous names left out, downloaded once."""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cells import tables
from cells.tables import gene
from cohortflow.cells import hgnc
from cohortflow.core.outcome import Category, Failure

TP53 = "ENSG00000141510"
GENES = (
    gene("TP53", ensembl=TP53, alias="p53|LFS1"),
    gene("HES4", ensembl="ENSG00000188290", previous="bHLHb42", alias="HES-4"),
    gene("SELENOT", previous="SELT|SELT2", alias="LFS1"),
)


def table(tmp_path: Path, *genes: dict[str, str]) -> hgnc.Table:
    return hgnc.read(tables.written(tmp_path / "table.txt", genes))


def refused(path: Path) -> Failure:
    with pytest.raises(Failure) as caught:
        hgnc.read(path)
    assert caught.value.category is Category.DATA_INVALID
    assert str(path) in caught.value.message
    assert "--hgnc" in caught.value.remedy
    return caught.value


def test_a_tsv_gives_each_way_to_a_symbol(tmp_path: Path) -> None:
    path = tables.written(tmp_path / "hgnc_complete_set.txt", GENES)
    found = hgnc.read(path)
    assert found.symbols == {"TP53", "HES4", "SELENOT"}
    assert found.by_ensembl == {TP53: "TP53", "ENSG00000188290": "HES4"}
    assert found.previous == {"bHLHb42": "HES4", "SELT": "SELENOT", "SELT2": "SELENOT"}
    assert found.aliases == {"p53": "TP53", "HES-4": "HES4"}, "LFS1 is an alias of two genes"
    assert found.genes == 3
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def parquet(path: Path, columns: dict[str, object]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def strings(kind: pa.DataType) -> dict[str, pa.Array]:
    return {
        name: pa.array([row[name] or None for row in GENES], type=pa.string()).cast(kind)
        for name in tables.HEADER
    }


def lists() -> dict[str, pa.Array]:
    several = {"alias_symbol", "prev_symbol"}
    return {
        name: pa.array(
            [(row[name].split("|") if row[name] else None) for row in GENES]
            if name in several
            else [row[name] or None for row in GENES]
        )
        for name in tables.HEADER
    }


FORMATS: dict[str, Callable[[Path], object]] = {
    "gzip": lambda path: path.write_bytes(gzip.compress(tables.text(GENES).encode())),
    "quoted": lambda path: path.write_text(tables.text(GENES, quoted=True)),
    "every cell quoted": lambda path: path.write_text(
        "".join(
            "\t".join(f'"{cell}"' for cell in line.split("\t")) + "\n"
            for line in tables.text(GENES).splitlines()
        )
    ),
    "spreadsheet": lambda path: path.write_bytes(
        b"\xef\xbb\xbf"
        + tables.text(GENES, sorted(tables.HEADER, reverse=True)).replace("\n", "\r\n").encode()
    ),
    "other order of columns": lambda path: path.write_text(tables.text(GENES, tables.HEADER[::-1])),
    "without status": lambda path: path.write_text(
        tables.text(GENES, [name for name in tables.HEADER if name != "status"])
    ),
    "empty line at the end": lambda path: path.write_text(tables.text(GENES) + "\n"),
    "parquet": lambda path: parquet(path, strings(pa.string())),
    "parquet of large strings": lambda path: parquet(path, strings(pa.large_string())),
    "parquet of categories": lambda path: parquet(
        path, strings(pa.dictionary(pa.int32(), pa.string()))
    ),
    "parquet of lists": lambda path: parquet(path, lists()),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_the_format_is_told_from_the_content_and_not_from_the_name(
    kind: str, tmp_path: Path
) -> None:
    expected = table(tmp_path, *GENES)
    path = tmp_path / "download"
    FORMATS[kind](path)
    found = hgnc.read(path)
    for field in ("symbols", "by_ensembl", "previous", "aliases", "genes"):
        assert getattr(found, field) == getattr(expected, field), field
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() != expected.sha256


def test_a_quote_inside_another_column_swallows_no_line(tmp_path: Path) -> None:
    rows = [{**row, "name": name} for row, name in zip(GENES, ("\"5' end", "x", "y"), strict=True)]
    path = tmp_path / "table.txt"
    path.write_text(tables.text(rows, [*tables.HEADER[:2], "name", *tables.HEADER[2:]]))
    assert hgnc.read(path).genes == 3


def test_a_previous_symbol_of_two_genes_leads_nowhere_not_even_as_an_alias(tmp_path: Path) -> None:
    found = table(
        tmp_path,
        gene("EIF2A", previous="EIF2"),
        gene("EIF2S1", previous="EIF2"),
        gene("EIF2S3", alias="EIF2|EIF2G"),
    )
    assert found.previous == {}
    assert found.aliases == {"EIF2G": "EIF2S3"}


def test_an_identifier_of_two_genes_leads_nowhere_whatever_its_version(tmp_path: Path) -> None:
    found = table(tmp_path, gene("A", ensembl=f"{TP53}.1"), gene("B", ensembl=f"{TP53}.2"))
    assert found.by_ensembl == {}
    assert table(tmp_path, gene("A", ensembl=f"{TP53}.1")).by_ensembl == {TP53: "A"}


def test_a_name_that_one_gene_has_twice_is_not_ambiguous(tmp_path: Path) -> None:
    found = table(tmp_path, gene("A", previous="B|B", alias="C|C"), gene("A", alias="C"))
    assert (found.previous, found.aliases, found.genes) == ({"B": "A"}, {"C": "A"}, 1)


def test_white_space_around_a_name_is_no_part_of_it(tmp_path: Path) -> None:
    found = table(tmp_path, gene(" A ", ensembl=f" {TP53}", previous=" B | C ", alias='"D | E"'))
    assert (found.symbols, found.by_ensembl) == ({"A"}, {TP53: "A"})
    assert (found.previous, found.aliases) == ({"B": "A", "C": "A"}, {"D": "A", "E": "A"})


def test_withdrawn_genes_count_for_nothing(tmp_path: Path) -> None:
    gone = gene("OLD", ensembl=TP53, previous="P", alias="p53", status="Entry Withdrawn")
    found = table(tmp_path, gone, gene("TP53", alias="p53"), gene("X", previous="P"))
    assert found.symbols == {"TP53", "X"}
    assert (found.by_ensembl, found.previous, found.aliases) == ({}, {"P": "X"}, {"p53": "TP53"})


@pytest.mark.parametrize("column", hgnc.COLUMNS)
@pytest.mark.parametrize("kind", ["text", "parquet"])
def test_a_file_without_a_column_is_refused_by_the_columns_name(
    column: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "table"
    if kind == "text":
        path.write_text(tables.text(GENES, [name for name in tables.HEADER if name != column]))
    else:
        columns = strings(pa.string())
        del columns[column]
        parquet(path, columns)
    assert refused(path).message.endswith(f"it has no column {column}")


def test_another_table_of_genenames_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "custom.txt"
    path.write_text("HGNC ID\tApproved symbol\tStatus\nHGNC:5\tA1BG\tApproved\n")
    message = refused(path).message
    assert "no columns symbol, ensembl_gene_id, prev_symbol, alias_symbol" in message


BROKEN = {
    "empty": (b"", "no columns symbol"),
    "a page of the web": (b"<!DOCTYPE html>\n<html>\n", "no columns symbol"),
    "h5ad": (b"\x89HDF\r\n\x1a\n\x00\x00", "neither text in UTF-8 nor parquet"),
    "Latin-1": (tables.text([gene("\u00e9")]).encode("latin-1"), "neither text in UTF-8"),
    "header alone": (tables.text([]).encode(), "no approved gene"),
    "all withdrawn": (tables.text([gene("A", status="Entry Withdrawn")]).encode(), "no approved"),
    "cut in a line": (tables.text(GENES).encode()[:-5], "line 4 has 5 columns, the header 6"),
    "line too long": (tables.text(GENES).encode()[:-1] + b"\tx\n", "line 4 has 7 columns"),
    "no symbol": (tables.text([gene("A"), gene(" ")]).encode(), "gene 2 has no symbol"),
    "two symbols": (tables.text([gene("A|B")]).encode(), "gene 1 has no symbol"),
    "two words": (tables.text([gene("A B")]).encode(), "gene 1 has no symbol of one word"),
    "cut gzip": (gzip.compress(tables.text(GENES).encode())[:-12], "damaged gzip"),
    "gzip of rubbish": (b"\x1f\x8b" + bytes(range(100)), "damaged gzip"),
    "cut parquet": (b"PAR1" + bytes(100), "damaged parquet"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_table_is_refused_with_its_reason(kind: str, tmp_path: Path) -> None:
    content, reason = BROKEN[kind]
    path = tmp_path / "table"
    path.write_bytes(content)
    assert reason in refused(path).message


def test_parquet_of_numbers_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "table", {**strings(pa.string()), "alias_symbol": [1, 2, 3]})
    assert "column alias_symbol holds no text but int" in refused(path).message


def test_a_file_that_is_not_there_is_an_input_missing(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="nowhere") as caught:
        hgnc.read(tmp_path / "nowhere")
    assert caught.value.category is Category.INPUT_MISSING


@given(place=st.integers(0, 600), value=st.integers(0, 255))
def test_a_damaged_byte_gives_a_table_or_a_refusal_and_never_a_bug(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    folder = tmp_path_factory.mktemp("damaged", numbered=True)
    for name, content in (
        ("text", tables.text(GENES).encode()),
        ("gzip", gzip.compress(tables.text(GENES).encode())),
        ("parquet", parquet(folder / "whole", strings(pa.string())).read_bytes()),
    ):
        damaged = bytearray(content)
        # parquet's description of itself stands at its end
        damaged[-1 - place % len(damaged)] = value
        path = folder / name
        path.write_bytes(damaged)
        try:
            assert hgnc.read(path).genes >= 1
        except Failure as failure:
            assert failure.category is Category.DATA_INVALID


@pytest.mark.shared_data
def test_the_real_table_has_the_names_that_its_rows_have(shared_data: Path) -> None:
    path = shared_data / "hgnc" / "hgnc_complete_set.min.parquet"
    rows = pq.read_table(path).to_pylist()
    symbols = {row["symbol"] for row in rows}

    def listed(column: str) -> Counter[str]:
        return Counter(word for row in rows for word in set((row[column] or "").split("|")) - {""})

    previous, aliases = listed("prev_symbol"), listed("alias_symbol")
    shared = {name for name, count in previous.items() if count > 1}
    assert (len(previous), len(shared), len(symbols & set(previous))) == (15_636, 86, 229)
    assert (len(aliases), sum(count > 1 for count in aliases.values())) == (43_116, 1_086)
    # 10 more aliases, and one of the 229 previous symbols, are their own gene's approved symbol
    others = {
        column: {
            word
            for row in rows
            for word in (row[column] or "").split("|")
            if word in symbols and word != row["symbol"]
        }
        for column in ("prev_symbol", "alias_symbol")
    }
    assert (len(others["prev_symbol"]), len(others["alias_symbol"])) == (228, 462)
    assert len(symbols & set(aliases)) == 472

    found = hgnc.read(path)
    assert found.genes == len(found.symbols) == 44_615
    assert set(found.previous) == set(previous) - shared
    assert len(found.previous) == 15_636 - 86
    expected = {name for name, count in aliases.items() if count == 1} - shared
    assert set(found.aliases) == expected
    assert {name for name in shared if aliases[name] == 1} == {
        "CPT1", "DNM1DN8@", "EIF2", "MNS", "TRM1"
    }  # fmt: skip
    assert len(found.aliases) == 43_116 - 1_086 - 5
    # HGNC gives one identifier to two genes
    assert len(found.by_ensembl) == 41_962 - 2
    assert "ENSG00000230417" not in found.by_ensembl


@pytest.mark.shared_data
def test_the_real_table_as_tsv_is_the_same_table(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "hgnc" / "hgnc_complete_set.min.parquet"
    rows = pq.read_table(path).to_pylist()
    text = tables.text(
        [{name: row[name] or "" for name in tables.HEADER} for row in rows], quoted=True
    )
    (tmp_path / "table.txt").write_text(text)
    one, other = hgnc.read(path), hgnc.read(tmp_path / "table.txt")
    for field in ("symbols", "by_ensembl", "previous", "aliases", "genes"):
        assert getattr(one, field) == getattr(other, field), field


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """Serve on loopback; give the address and the list of the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_port}", asked
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


def answering(content: bytes, *, announced: int | None = None, status: int = 200) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        if announced != -1:
            handler.send_header("Content-Length", str(announced or len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def moved(to: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.end_headers()

    return answer


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


CONTENT = tables.text(GENES).encode()


def test_a_download_happens_once_and_is_the_servers_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cache"
    with server(answering(CONTENT)) as (address, asked):
        path = hgnc.fetch(f"{address}/hgnc_complete_set.txt", folder)
        assert hgnc.fetch(f"{address}/hgnc_complete_set.txt", folder) == path
        assert asked == ["/hgnc_complete_set.txt"]
        other = hgnc.fetch(f"{address}/2024/hgnc_complete_set.txt", folder)
        assert other != path, "another address of the same name is another file"
    assert path.read_bytes() == CONTENT
    assert path.parent == folder
    assert sorted(folder.iterdir()) == sorted([path, other]), "nothing else is left"
    assert hgnc.fetch(f"{address}/hgnc_complete_set.txt", folder) == path, "the server is gone"


def test_a_download_follows_to_another_address(tmp_path: Path) -> None:
    with (
        server(answering(CONTENT)) as (target, _),
        server(moved(f"{target}/there")) as (address, asked),
    ):
        assert hgnc.fetch(f"{address}/here", tmp_path).read_bytes() == CONTENT
        assert asked == ["/here"]


def not_had(
    url: str, folder: Path, category: Category, *, limit: int = 1 << 20, timeout: float = 20
) -> str:
    """Return the message of a download that fails, after a look that it left nothing."""
    folder.mkdir(exist_ok=True)
    with pytest.raises(Failure) as caught:
        hgnc.fetch(url, folder, limit=limit, timeout=timeout)
    assert caught.value.category is category
    assert list(folder.iterdir()) == []
    if category is Category.UNAVAILABLE:
        assert "give a file with --hgnc" in caught.value.remedy
    return caught.value.message


@pytest.mark.parametrize("cut", [CONTENT[:60], CONTENT[: CONTENT.rindex(b"\nHGNC") + 1]])
def test_a_partial_download_is_refused(cut: bytes, tmp_path: Path) -> None:
    with server(answering(cut, announced=len(CONTENT))) as (address, _):
        message = not_had(f"{address}/set.txt", tmp_path / "cache", Category.UNAVAILABLE)
        assert f"{address}/set.txt" in message
        assert f"ended after {len(cut)} of {len(CONTENT)} bytes" in message


def test_a_page_that_is_no_table_is_not_kept(tmp_path: Path) -> None:
    with server(answering(b"<html>Please log in</html>")) as (address, _):
        message = not_had(f"{address}/set.txt", tmp_path / "cache", Category.DATA_INVALID)
        assert message.startswith(f"{address}/set.txt: is no HGNC table")


@pytest.mark.parametrize("announced", [None, -1])
def test_a_download_is_bounded(announced: int | None, tmp_path: Path) -> None:
    with server(answering(CONTENT, announced=announced)) as (address, _):
        url = f"{address}/set.txt"
        limit = len(CONTENT) - 1
        message = not_had(url, tmp_path / "cache", Category.DATA_INVALID, limit=limit)
        assert message.endswith(f"is larger than {limit} bytes")
        assert hgnc.fetch(url, tmp_path / "cache", limit=len(CONTENT)).is_file()


@pytest.mark.parametrize("announced", [True, False])
def test_more_than_the_bound_is_not_taken_from_the_server(announced: bool, tmp_path: Path) -> None:
    sent: list[int] = []
    broken = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if announced:
            handler.send_header("Content-Length", str(64 << 20))
        handler.end_headers()
        try:
            for _ in range(64):
                sent.append(handler.wfile.write(bytes(1 << 20)))
        except ConnectionError:
            broken.set()

    with server(answer) as (address, _):
        not_had(f"{address}/set.txt", tmp_path / "cache", Category.DATA_INVALID, limit=100)
        assert broken.wait(30), f"{sum(sent)} bytes were taken"


@pytest.mark.parametrize("status", [404, 503])
def test_a_servers_refusal_is_named(status: int, tmp_path: Path) -> None:
    with server(answering(CONTENT, status=status)) as (address, _):
        message = not_had(f"{address}/set.txt?key=s3cret", tmp_path / "c", Category.UNAVAILABLE)
        assert f"{address}/set.txt: the server answers {status} " in message
        assert "s3cret" not in message


def test_a_refused_connection_is_named(tmp_path: Path) -> None:
    with server(answering(CONTENT)) as (address, _):
        pass
    message = not_had(f"{address}/set.txt", tmp_path / "cache", Category.UNAVAILABLE)
    assert f"{address}/set.txt: cannot be reached" in message
    assert "refused" in message


def test_a_silent_server_is_not_waited_for_without_end(tmp_path: Path) -> None:
    ended = threading.Event()
    try:
        with server(lambda _: ended.wait(30) and None) as (address, _):
            url = f"{address}/set.txt"
            message = not_had(url, tmp_path / "cache", Category.UNAVAILABLE, timeout=0.1)
            ended.set()
        assert "timed out" in message
    finally:
        ended.set()


def test_a_server_leads_to_no_file_of_this_machine(tmp_path: Path) -> None:
    secret = tables.written(tmp_path / "table.txt", GENES)
    with server(moved(f"file://{secret}")) as (address, _):
        not_had(f"{address}/set.txt", tmp_path / "cache", Category.UNAVAILABLE)


def test_a_server_leads_to_no_server_of_another_kind(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        server(moved(f"ftp://127.0.0.1:{listener.getsockname()[1]}/set.txt")) as (address, _),
    ):
        url = f"{address}/set.txt"
        message = not_had(url, tmp_path / "cache", Category.UNAVAILABLE, timeout=1)
        assert "unknown url type: ftp" in message
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize(
    "url",
    [
        "file:///{table}",
        "ftp://127.0.0.1/set.txt",
        "{table}",
        "set.txt",
        "http://",
        "http://[::1/set.txt",
        "http://127.0.0.1:port/set.txt",
        "http://user:s3cret@127.0.0.1/set.txt",
        "",
    ],
)
def test_another_address_is_refused_before_anything_is_made(url: str, tmp_path: Path) -> None:
    path = tables.written(tmp_path / "table.txt", GENES)
    message = not_had(url.format(table=path), tmp_path / "cache", Category.USAGE)
    assert "s3cret" not in message


@pytest.mark.parametrize("name", ["a b", "\u00e9", "a\nb"])
def test_an_address_that_cannot_be_sent_is_no_bug(name: str, tmp_path: Path) -> None:
    with server(answering(CONTENT)) as (address, _):
        try:
            hgnc.fetch(f"{address}/{name}", tmp_path / "cache")
        except Failure as failure:
            assert failure.category is Category.UNAVAILABLE
