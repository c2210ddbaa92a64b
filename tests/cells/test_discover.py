"""A folder's h5ad files are its units, and what cannot be one says why."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cohortflow.cells import discover, gene_table
from cohortflow.core import fingerprint, importers, lanes, manifest, plan, refresh, runs
from cohortflow.core.lanes import Selection
from cohortflow.core.manifest import Input, Unit
from cohortflow.core.outcome import Category, Failure, NothingToRun
from cohortflow.main import main

H5AD = b"\x89HDF\r\n\x1a\n" + b"x" * 100
COLUMNS = ("hgnc_id", "symbol", "status", "ensembl_gene_id", "prev_symbol", "alias_symbol")
TABLE = "\t".join(COLUMNS) + "\nHGNC:11998\tTP53\tApproved\tENSG00000141510\tP53\tLFS1\n"
LANE = lanes.get("cells")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Return a folder with a gene table and no dataset."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "hgnc_complete_set.txt").write_text(TABLE)
    return folder


@pytest.fixture(autouse=True)
def no_other_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let nobody ask HGNC itself: its address is one where nobody listens."""
    monkeypatch.setattr(gene_table, "ADDRESS", "http://127.0.0.1:9/hgnc.txt")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def write(study: Path, *names: str, content: bytes = H5AD) -> None:
    for name in names:
        (study / name).write_bytes(content)


def units(study: Path, **chosen: object) -> list[Unit]:
    return list(discover.discover(study, Selection(**chosen)))  # type: ignore[arg-type]


def only(study: Path, **chosen: object) -> Unit:
    (unit,) = units(study, **chosen)
    return unit


def reason(unit: Unit) -> str:
    assert unit.excluded is not None
    return f"{unit.excluded.category} {unit.excluded.message}: {unit.excluded.remedy}"


def test_each_file_of_the_folder_is_a_unit_of_its_name(study: Path) -> None:
    write(study, "b.h5ad", "a b@(c).h5ad", ".hidden.h5ad", "notes.txt", "d.h5")
    (study / "below").mkdir()
    write(study / "below", "e.h5ad")
    found = units(study)
    assert [(unit.id, unit.folder, unit.entities, unit.options) for unit in found] == [
        ("a_b_c", "a_b_c", {}, {}), ("b", "b", {}, {}),
    ]  # fmt: skip
    assert all(unit.excluded is None for unit in found)


def test_a_units_inputs_are_its_file_and_the_gene_table(study: Path) -> None:
    write(study, "a b.h5ad")
    h5ad, table = only(study).inputs
    facts = (study / "a b.h5ad").stat()
    path = str(study / "a b.h5ad")
    assert h5ad == Input(role="h5ad", path=path, bytes=108, mtime_ns=facts.st_mtime_ns)
    digest = hashlib.sha256(TABLE.encode()).hexdigest()
    where = str(study / "hgnc_complete_set.txt")
    assert table == Input(role="hgnc", path=where, bytes=len(TABLE), sha256=digest)


def test_a_copy_of_the_gene_table_changes_nothing_and_another_one_does(
    study: Path, tmp_path: Path
) -> None:
    write(study, "a.h5ad")
    before = fingerprint.inputs(only(study).inputs)
    (tmp_path / "else").mkdir()
    copy = Path(
        shutil.copyfile(study / "hgnc_complete_set.txt", tmp_path / "else/hgnc_complete_set.txt")
    )
    os.utime(copy, (1, 1))
    assert fingerprint.inputs(only(study, parameters={"hgnc": str(copy)}).inputs) == before
    copy.write_text(TABLE.replace("LFS1", "LFS2"))
    assert fingerprint.inputs(only(study, parameters={"hgnc": str(copy)}).inputs) != before


def test_links_are_followed(study: Path, tmp_path: Path) -> None:
    write(tmp_path, "elsewhere.h5ad")
    (study / "a.h5ad").symlink_to(tmp_path / "elsewhere.h5ad")
    (study / "gone.h5ad").symlink_to(tmp_path / "nowhere")
    good, gone = units(study)
    assert good.excluded is None
    assert good.inputs[0].bytes == len(H5AD)
    assert reason(gone).startswith("INPUT_MISSING")


@pytest.mark.parametrize(
    "names", [("a b.h5ad", "a@b.h5ad"), ("A.h5ad", "a.h5ad"), ("(.h5ad", ").h5ad")]
)
def test_files_that_would_have_one_name_are_one_unit_that_a_person_decides(
    study: Path, names: tuple[str, ...]
) -> None:
    write(study, *names, "other.h5ad")
    found = units(study)
    assert [unit.excluded is None for unit in found].count(True) == 1
    (both,) = (unit for unit in found if unit.excluded)
    assert both.excluded is not None
    assert both.excluded.category is Category.DATA_INVALID
    assert all(name in both.excluded.message for name in names)
    assert both.excluded.choices == [{"path": name} for name in sorted(names)]
    assert [Path(one.path).name for one in both.inputs] == sorted(names)
    assert "manifest" in both.excluded.remedy


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("-a.h5ad", "DATA_INVALID"), ("a..b.h5ad", "'a..b' cannot be used"), ("@.h5ad", "@.h5ad"),
        ("x" * 140 + ".h5ad", "cannot be used"), ("a$HOME.h5ad", "'$'"),
        ("a\nb.h5ad", "line break"),
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_used_excludes_its_file_alone(
    study: Path, name: str, said: str
) -> None:
    write(study, name, "good.h5ad")
    excluded = [reason(unit) for unit in units(study) if unit.excluded]
    assert len(excluded) == 1
    assert said in excluded[0]
    assert excluded[0].startswith("DATA_INVALID")


def test_what_is_not_hdf5_is_excluded_with_its_reason(study: Path) -> None:
    write(study, "text.h5ad", content=b"not HDF5 at all, but a page of text")
    write(study, "empty.h5ad", content=b"")
    (study / "folder.h5ad").mkdir()
    os.mkfifo(study / "pipe.h5ad")
    assert {unit.id: reason(unit).partition(":")[2].strip() for unit in units(study)} == {
        "empty": "is empty: get the file again, or leave it out",
        "folder": "is not a regular file: leave it out",
        "pipe": "is not a regular file: leave it out",
        "text": "is not an HDF5 file: get the file again, or leave it out",
    }


def test_one_file_is_a_study_without_a_further_name_for_its_repository(study: Path) -> None:
    write(study, "a.h5ad", "b.h5ad", "c.data")
    found = only(study, file=study / "b.h5ad")
    assert (found.id, found.options, found.excluded) == ("b", {"suffix": "none"}, None)
    assert only(study, file=study / "c.data").id == "c.data"


def test_a_folder_without_files_has_nothing_to_run(study: Path) -> None:
    with pytest.raises(NothingToRun) as caught:
        units(study)
    assert caught.value.status == 3
    with pytest.raises(Failure) as other:
        units(study / "none")
    assert other.value.category is Category.USAGE


def test_a_name_that_the_output_needs_itself_is_excluded_by_the_plan(
    study: Path, tmp_path: Path
) -> None:
    write(study, "LOGS.h5ad", "report.html.h5ad", "a.h5ad")
    planned = {unit.id: unit for unit in plan.separated(units(study))}
    assert planned["a"].excluded is None
    assert "LOGS is no name" in reason(planned["LOGS"])
    assert "report.html is no name" in reason(planned["report.html"])


def test_of_several_tables_beside_the_files_one_must_be_chosen(study: Path) -> None:
    write(study, "a.h5ad")
    (study / "hgnc_complete_set_2024.tsv").write_text(TABLE)
    with pytest.raises(Failure) as caught:
        units(study)
    assert "hgnc_complete_set_2024.tsv" in caught.value.message
    assert "--hgnc" in caught.value.remedy
    assert only(study, parameters={"hgnc": str(study / "hgnc_complete_set.txt")}).excluded is None


def test_without_a_table_the_run_ends_with_what_to_do(study: Path) -> None:
    write(study, "a.h5ad")
    (study / "hgnc_complete_set.txt").unlink()
    with pytest.raises(Failure) as caught:
        units(study)
    assert caught.value.category is Category.UNAVAILABLE
    assert caught.value.remedy == "give the table with --hgnc FILE"
    with pytest.raises(Failure) as other:
        units(study, parameters={"hgnc": str(study / "none.txt")})
    assert other.value.category is Category.INPUT_MISSING
    assert other.value.remedy == "give the table with --hgnc FILE"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serve a gene table; return its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(TABLE)))
            self.end_headers()
            self.wfile.write(TABLE.encode())

        def log_message(self, *_arguments: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/hgnc_complete_set.txt"
        running.shutdown()
        thread.join()


def test_a_table_at_an_address_is_kept_in_the_users_cache(
    study: Path, server: str, tmp_path: Path
) -> None:
    write(study, "a.h5ad")
    (table,) = (i for i in only(study, parameters={"hgnc": server}).inputs if i.role == "hgnc")
    assert Path(table.path).parent == tmp_path / "cache" / "cohortflow"
    assert Path(table.path).read_text() == TABLE
    assert table.sha256 == hashlib.sha256(TABLE.encode()).hexdigest()


def test_the_cache_is_where_the_environment_says(tmp_path: Path) -> None:
    home = {"HOME": "/me"}
    assert gene_table.cache_folder(home) == Path("/me/.cache/cohortflow")
    assert gene_table.cache_folder(home | {"XDG_CACHE_HOME": "/c"}) == Path("/c/cohortflow")
    assert gene_table.cache_folder(home | {"XDG_CACHE_HOME": "c"}).parent.name == ".cache"


def hand(*inputs: tuple[str, str]) -> Unit:
    return Unit(
        id="mine", folder="mine", inputs=[Input(role=role, path=path) for role, path in inputs]
    )


def test_a_hand_written_unit_becomes_what_discovery_finds(study: Path) -> None:
    write(study, "a.h5ad")
    found = only(study)
    again = refresh.unit(hand(("h5ad", "a.h5ad")), LANE, study, LANE.resolve({}))
    assert again.inputs == found.inputs


def test_a_table_is_the_options_then_the_units_then_that_beside_the_files(
    study: Path, tmp_path: Path
) -> None:
    write(study, "a.h5ad")
    for name in ("own.txt", "named.txt"):
        (study / name).write_text(TABLE)

    def table(unit: Unit, named: str = "") -> str:
        found = discover.complete(unit, study, {"hgnc": named})
        return Path(found.inputs[1].path).name

    own = hand(("h5ad", "a.h5ad"), ("hgnc", "own.txt"))
    assert table(hand(("h5ad", "a.h5ad"))) == "hgnc_complete_set.txt"
    assert table(own) == "own.txt"
    assert table(own, str(study / "named.txt")) == "named.txt"


@pytest.mark.parametrize(
    ("inputs", "category"),
    [
        ((), Category.INPUT_MISSING),
        ((("h5ad", "none.h5ad"),), Category.INPUT_MISSING),
        ((("h5ad", "a.h5ad"), ("h5ad", "b.h5ad")), Category.DATA_INVALID),
        ((("h5ad", "a.h5ad"), ("hgnc", "x"), ("hgnc", "y")), Category.USAGE),
        ((("h5ad", "a.h5ad"), ("hgnc", "x")), Category.INPUT_MISSING),
    ],
)
def test_a_hand_written_unit_is_checked(
    study: Path, inputs: tuple[tuple[str, str], ...], category: Category
) -> None:
    write(study, "a.h5ad", "b.h5ad")
    with pytest.raises(Failure) as caught:
        discover.complete(hand(*inputs), study, {})
    assert caught.value.category is category


def test_a_table_of_units_needs_an_id_and_a_file(study: Path) -> None:
    write(study, "a b.h5ad", "a@b.h5ad")
    path = study / "units.csv"
    path.write_text("id,h5ad\nfirst,a b.h5ad\nsecond,a@b.h5ad\n../x,a b.h5ad\n")
    _, found = importers.read(path, "cells")
    listed = list(found)
    assert [unit.id for unit in listed] == ["first", "second", "../x"]
    assert all(unit.entities == {} for unit in listed)
    planned = list(plan.separated(listed))
    assert [unit.excluded is None for unit in planned] == [True, True, False]
    path.write_text("subject,h5ad\n01,a b.h5ad\n")
    with pytest.raises(Failure, match="unknown column 'subject'"):
        list(importers.read(path, "cells")[1])


def test_a_unit_without_inputs_is_looked_for_by_its_name(study: Path) -> None:
    write(study, "a.h5ad")
    unit = Unit(id="a", folder="a")
    assert refresh.unit(unit, LANE, study, {}) == only(study)
    other = refresh.unit(Unit(id="b", folder="b"), LANE, study, {})
    assert reason(other).startswith("INPUT_MISSING")


def tool(root: Path, *words: object) -> Result:
    from docs.test_docs import module

    return CliRunner().invoke(module(root / "bin/cells-discover").main, [str(w) for w in words])


def test_the_tool_writes_the_manifest_that_the_engine_reads(
    root: Path, study: Path, tmp_path: Path
) -> None:
    write(study, "a.h5ad", "b.h5ad")
    write(study, "c.h5ad", content=b"")
    path = tmp_path / "manifest.jsonl"
    done = tool(root, study, "--output", path)
    assert done.exit_code == 0, done.output
    header, found = manifest.read(path)
    assert (header.lane, header.dataset) == ("cells", str(study))
    assert list(found) == units(study)
    assert "exists" in tool(root, study, "--output", path).output
    assert tool(root, study, "--dry-run").output == "2 units can run, 1 cannot\n"
    one = tool(root, study / "a.h5ad").output.splitlines()
    assert json.loads(one[0])["dataset"] == str(study)
    assert json.loads(one[1])["options"] == {"suffix": "none"}


def test_the_tool_says_that_there_is_nothing(root: Path, tmp_path: Path) -> None:
    done = tool(root, tmp_path)
    assert done.exit_code == 3
    assert len(done.output.splitlines()) == 1


def dry(*words: object) -> dict[str, str]:
    """Return the decisions of a dry run by unit."""
    line = ["plan", "cells", *map(str, words), "--json"]
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 0, result.output
    return {row["unit"]: row["decision"] for row in json.loads(result.stdout)}


def test_the_front_door_plans_a_folder_and_a_file(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The steps' code does not matter here.
    monkeypatch.setattr(fingerprint, "code", lambda _tool: "0" * 12)
    write(study, "a.h5ad", "b.h5ad")
    out = tmp_path / "out"
    assert dry(study, out) == {"a": "run", "b": "run"}
    assert dry(study / "b.h5ad", out) == {"b": "run"}
    assert dry(study, study / "derivatives" / "x") == {"a": "run", "b": "run"}
    # Folders in the study are not looked into, so the output may lie beside its files.
    assert dry(study / "b.h5ad", study / "out") == {"b": "run"}
    itself = CliRunner().invoke(main, ["plan", "cells", str(study / "b.h5ad"), str(study)])
    assert itself.exit_code == 2
    assert "inside each other" in itself.stderr


def test_the_plan_holds_no_gene_table_and_a_marker_neither(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "code", lambda _tool: "0" * 12)
    given = {"hgnc": str(study / "hgnc_complete_set.txt")}
    shared = plan.context(LANE, str(study), tmp_path, runs.new_id(), given, runs.now())
    assert "hgnc" not in shared.parameters
    assert shared.parameters["top_genes"] == "2000"
