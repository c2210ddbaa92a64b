"""The HGNC complete set: which approved symbol an identifier or an older name stands for.

The table is HUGO's Gene Nomenclature Committee's download of all its genes, one a row
(genenames.org, "complete set"); fields with several values separate them by ``|``.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import re
import tempfile
import urllib.error
import urllib.request
import zlib
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import SplitResult, urlsplit

from cohortflow import __version__
from cohortflow.core import save
from cohortflow.core.outcome import Category, Failure, failure_of

COLUMNS = ("symbol", "ensembl_gene_id", "prev_symbol", "alias_symbol")
"""What a table must have; a column `status` is read where there is one."""

LIMIT_BYTES = 512 << 20
"""Largest download; the complete set is about 17 MB."""

TIMEOUT_SECONDS = 60.0
"""How long a server may be silent."""

_BLOCK_BYTES = 1 << 20
_ENSEMBL = re.compile(r"(ENSG[0-9]{11})(?:\.[0-9]+)?(?:_PAR_Y)?\Z")
_USE_THE_SET = "give the HGNC complete set (TSV or parquet) with --hgnc"
_USE_A_FILE = "give a file with --hgnc, or try again"

Row = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Table:
    """The names of all approved genes. What two genes share leads to neither.

    Attributes
    ----------
    symbols : frozenset of str
        Approved symbols.
    by_ensembl : mapping
        Ensembl gene without version to approved symbol.
    previous : mapping
        Previous symbol of one gene alone to its approved symbol.
    aliases : mapping
        Alias of one gene alone to its approved symbol. A previous symbol that several genes had
        is in here neither, although it may be one gene's alias: it stays ambiguous.
    sha256 : str
        Of the file's bytes.
    genes : int
        Number of approved genes.
    """

    symbols: frozenset[str]
    by_ensembl: Mapping[str, str]
    previous: Mapping[str, str]
    aliases: Mapping[str, str]
    sha256: str
    genes: int


def ensembl_gene(text: str) -> str | None:
    """Return the human Ensembl gene that a text names, without its version.

    GENCODE marks a gene's copy on the Y chromosome's pseudoautosomal region with ``_PAR_Y``
    (it is the same gene); that goes, too.

    Examples
    --------
    >>> ensembl_gene("ENSG00000141510.18")
    'ENSG00000141510'
    >>> ensembl_gene("TP53") is None
    True
    """
    match = _ENSEMBL.match(text.strip())
    return match[1] if match else None


def read(path: Path) -> Table:
    """Read the HGNC complete set: a TSV, a gzipped TSV or parquet, told apart by its content.

    Parameters
    ----------
    path : Path
        In parquet a field is a string, or a list of strings.

    Raises
    ------
    Failure
        INPUT_MISSING or PERMISSION when the file cannot be opened, DATA_INVALID when it is
        damaged, is none of these formats, has not all of `COLUMNS`, or no approved gene.
    """
    return _read(path, str(path))


def fetch(
    url: str, folder: Path, *, limit: int = LIMIT_BYTES, timeout: float = TIMEOUT_SECONDS
) -> Path:
    """Download the HGNC complete set once; the same address is not asked again.

    The proxies of the environment (``https_proxy``, ``no_proxy``) are used. What is not whole or
    is no HGNC table is not kept.

    Parameters
    ----------
    url : str
        Starts with ``http://`` or ``https://``.
    folder : Path
        Where the file is kept; made when it is not there.
    limit : int
        Largest size in bytes.
    timeout : float
        How long the server may be silent, in seconds.

    Returns
    -------
    Path
        The file in `folder`, as `read` takes it.

    Raises
    ------
    Failure
        USAGE for another address, UNAVAILABLE when the file cannot be had whole, DATA_INVALID
        when it is too large or no HGNC table.
    OSError
        When the folder cannot be written.
    """
    parts = _address(url)
    shown = f"{parts.scheme}://{parts.netloc}{parts.path}"  # a query may hold a token
    digest = hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()[:12]
    name = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(parts.path).name)[-100:]
    target = folder / f"{digest}-{name or 'hgnc'}"
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".hgnc-") as partial:
        path = Path(partial) / "table"
        with path.open("wb") as writer, closing(_blocks(url, shown, limit, timeout)) as blocks:
            writer.writelines(blocks)
        _read(path, shown)
        save.fsync_path(path)
        path.replace(target)
    save.fsync_path(folder)
    return target


def _read(path: Path, label: str) -> Table:
    try:
        with path.open("rb") as reader:
            rows = _parquet_rows if reader.read(4) == b"PAR1" else _text_rows
            reader.seek(0)
            names = _names(rows(reader, label), label)
        with path.open("rb") as reader:
            digest = hashlib.file_digest(reader, "sha256").hexdigest()
    except OSError as error:
        raise failure_of(error, label) from error
    shared = {name for name, genes in names["prev_symbol"].items() if len(genes) > 1}
    aliases = _unique(names["alias_symbol"])
    symbols = frozenset(names["symbol"])
    return Table(
        symbols,
        _unique(names["ensembl_gene_id"]),
        _unique(names["prev_symbol"]),
        {name: symbol for name, symbol in aliases.items() if name not in shared},
        digest,
        len(symbols),
    )


def _names(rows: Iterable[Row], label: str) -> dict[str, dict[str, set[str]]]:
    """Return for each column its names, each with the symbols of the genes that have it."""
    found: dict[str, dict[str, set[str]]] = {column: defaultdict(set) for column in COLUMNS}
    for number, row in enumerate(rows, start=1):
        if row.get("status", ("Approved",)) != ("Approved",):
            continue
        if len(row["symbol"]) != 1 or len(row["symbol"][0].split()) != 1:
            raise _bad(f"{label}: gene {number} has no symbol of one word")
        for column in COLUMNS:
            for name in row[column]:
                found[column][name].add(row["symbol"][0])
    if not found["symbol"]:
        raise _bad(f"{label}: has no approved gene")
    identifiers: dict[str, set[str]] = defaultdict(set)
    for name, symbols in found["ensembl_gene_id"].items():
        identifiers[ensembl_gene(name) or name] |= symbols
    return {**found, "ensembl_gene_id": identifiers}


def _unique(names: Mapping[str, set[str]]) -> dict[str, str]:
    return {name: next(iter(genes)) for name, genes in names.items() if len(genes) == 1}


def _text_rows(reader: IO[bytes], label: str) -> Iterator[Row]:
    zipped = reader.read(2) == b"\x1f\x8b"
    reader.seek(0)
    try:
        lines = _lines(gzip.GzipFile(fileobj=reader) if zipped else reader)
        header = [_unquoted(cell) for cell in next(lines, "").split("\t")]
        places = {name: header.index(name) for name in _present(header, label)}
        for number, line in enumerate(lines, start=2):
            cells = line.split("\t")
            if not line.strip():
                continue
            if len(cells) != len(header):
                raise _bad(
                    f"{label}: line {number} has {len(cells)} columns, the header {len(header)}"
                )
            yield {name: _words(_unquoted(cells[place])) for name, place in places.items()}
    except UnicodeDecodeError as error:
        raise _bad(f"{label}: is neither text in UTF-8 nor parquet") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _bad(f"{label}: damaged gzip file ({error})") from error


def _lines(reader: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(reader):
        text = line.decode()
        yield text if number else text.removeprefix("\ufeff")


def _unquoted(cell: str) -> str:
    """Undo a cell's quotes. Line breaks and tabs occur in no field, so no cell needs them."""
    text = cell.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1].replace('""', '"')
    return text


def _parquet_rows(reader: IO[bytes], label: str) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(reader)
        names = _present(file.schema_arrow.names, label)
        table = file.read(columns=names)
        values = [table.column(name).to_pylist() for name in names]
    except OSError as error:
        if error.errno is not None:
            raise
        raise _bad(f"{label}: damaged parquet file ({error})") from error
    except (pa.ArrowException, ValueError, KeyError) as error:
        raise _bad(f"{label}: damaged parquet file ({error})") from error
    for cells in zip(*values, strict=True):
        yield {name: _listed(cell, name, label) for name, cell in zip(names, cells, strict=True)}


def _listed(value: object, column: str, label: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return _words(value)
    if isinstance(value, list):
        return tuple(word for part in value for word in _listed(part, column, label))
    raise _bad(f"{label}: column {column} holds no text but {type(value).__name__}")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for part in text.split("|") if (word := part.strip()))


def _present(header: list[str], label: str) -> list[str]:
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise _bad(f"{label}: is no HGNC table, it has no column{plural} {', '.join(missing)}")
    return [*COLUMNS, *(["status"] if "status" in header else [])]


def _address(url: str) -> SplitResult:
    """Split an address; only http and https are opened, and nothing secret may be in its host."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc:
        raise Failure(
            Category.USAGE,
            "the address of the HGNC table cannot be used",
            "give one that starts with http:// or https:// and has no password, or a file",
        )
    return parts


def _blocks(url: str, shown: str, limit: int, timeout: float) -> Generator[bytes, None, None]:
    """Download a file block by block; the end is reached only when it is whole."""
    opener = urllib.request.OpenerDirector()  # no handler of files, ftp or data
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", f"cohortflow/{__version__}")]
    try:
        with opener.open(url, timeout=timeout) as response:
            announced = int(response.headers.get("Content-Length") or -1)
            size = 0
            while announced <= limit and size <= limit:
                block = response.read(_BLOCK_BYTES)
                if not block:
                    break
                size += len(block)
                yield block
    except urllib.error.HTTPError as error:
        message = f"{shown}: the server answers {error.code} {error.reason}"
        raise Failure(Category.UNAVAILABLE, message, _USE_A_FILE) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        message = f"{shown}: cannot be reached ({reason or type(error).__name__})"
        raise Failure(Category.UNAVAILABLE, message, _USE_A_FILE) from error
    if max(announced, size) > limit:
        raise _bad(f"{shown}: is larger than {limit} bytes")
    if announced not in {-1, size}:
        message = f"{shown}: ended after {size} of {announced} bytes"
        raise Failure(Category.UNAVAILABLE, message, _USE_A_FILE)


def _bad(message: str) -> Failure:
    return Failure(Category.DATA_INVALID, message, _USE_THE_SET)
