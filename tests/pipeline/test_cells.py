"""The lane `cells` from end to end: good files, bad files, kills, an upload, the old options."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import anndata
import pytest

from cells import driving, hub, reference
from cells.hub import Hub, Stall
from pipeline import cells_runs as lane
from pipeline.cells_runs import FAULTS, part, scratch, study_of, tasks, units
from pipeline.driving import (
    BINARIES,
    Ended,
    Finished,
    bare,
    cohortflow,
    execute,
    outputs,
    plan,
    runs,
    tree,
)

pytestmark = pytest.mark.pipeline

DONE = ("legacy-0.5", "legacy-0.7", "lung-dense", "marrow_csc", "pbmc-csr", "retina-gzip")
NOT_DONE = ("scaled", "truncated", "tumor_a")
# `make faults` asks for more; a kill costs about six seconds.
KILLS = int(os.environ.get("COHORTFLOW_KILLS", "3"))
LONGEST = 10.0
DECIDING = ("CELLS_GENES", "CELLS_AGE", "CELLS_SPLIT")
TOKEN = "hf_NobodyMayFindThisInAFile"
WRONG = "hf_NobodyMayFindThisEither"
PUT = r"^PUT /lfs/"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Run the example study once; nobody changes what it left."""
    folder = tmp_path_factory.mktemp("cells")
    made = cohortflow("example", "cells", folder / "example", cwd=folder)
    assert made.status == 0, made.text
    ended = cohortflow("run", "cells", folder / "example", folder / "out", cwd=folder)
    return Finished(folder / "example", folder / "out", ended)


@pytest.fixture(scope="module")
def expected(example: Finished) -> dict[str, str]:
    """Return the digest of every file that the example's run has published."""
    return outputs(example.out)


# the example study


def test_six_datasets_are_done_and_the_run_says_of_the_others_what_to_do(
    example: Finished,
) -> None:
    assert example.ended.status == 1
    found = units(example.out)
    assert {name: unit["status"] for name, unit in found.items()} == {
        **dict.fromkeys(DONE, "done"), **dict.fromkeys(NOT_DONE, "invalid")
    }  # fmt: skip
    assert {found[name]["category"] for name in NOT_DONE} == {"DATA_INVALID"}
    assert "--matrix raw" in found["scaled"]["remedy"]
    assert found["truncated"]["message"].startswith("truncated.h5ad: is truncated: ")
    assert "tumor a.h5ad and tumor@a.h5ad" in found["tumor_a"]["message"]
    said = example.ended.out.splitlines()
    assert [line for line in said if line.startswith("✓")] == [f"✓ {name}" for name in DONE]
    bad = [line.split()[:3] for line in said if line.startswith("✗")]
    assert bad == [["✗", "DATA_INVALID", name] for name in NOT_DONE]
    assert "9 units: 6 done, 3 invalid, 0 failed" in said


def test_a_dataset_is_a_folder_of_the_files_that_the_documentation_lists(
    example: Finished, expected: dict[str, str]
) -> None:
    for name in DONE:
        published = {
            *("README.md", "genes.tsv", "ages.tsv", "split.json", "metrics.json"),
            *("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
            f"figures/{name}_desc-overview.png",
        }
        assert {path.removeprefix(f"{name}/") for path in part(expected, name)} == published
        files = {path for path in (example.out / name).rglob("*") if path.is_file()}
        found = {path.relative_to(example.out / name).as_posix() for path in files}
        assert found == {*published, "_done.json"}
    for name in NOT_DONE:
        assert not (example.out / name).exists()
    checked = cohortflow("verify", example.out, cwd=example.out.parent)
    assert checked.status == 0, checked.text


def test_the_sentences_are_those_of_a_plain_computation(example: Finished) -> None:
    source = anndata.read_h5ad(example.study / "marrow csc.h5ad")
    with (example.out / "marrow_csc" / "genes.tsv").open() as file:
        genes = list(csv.DictReader(file, delimiter="\t"))
    assert [gene["name"] for gene in genes] == list(source.var_names)
    symbols = [gene["symbol"] for gene in genes]
    assert len(set(symbols)) < len(symbols), "two columns stand for one gene"
    wanted = reference.sentences(source.X.toarray(), symbols)
    rows = reference.rows(example.out / "marrow_csc")
    assert {name: row["cell_sentence"] for name, row in rows.items()} == dict(
        zip(source.obs_names, wanted, strict=True)
    )


def test_each_dataset_has_its_logs_and_the_batch_a_line_for_each(example: Finished) -> None:
    for name in (*DONE, *NOT_DONE):
        folder = example.out / "logs" / name
        lines = [json.loads(text) for text in (folder / "pipeline.jsonl").read_text().splitlines()]
        assert {line["unit"] for line in lines} == {name}
        wanted = [] if name == "tumor_a" else ["genes", "age", "split"]
        wanted += ["convert"] if name in (*DONE, "scaled") else []
        wanted += ["publish"] if name in DONE else []
        assert {line["step"] for line in lines} - {None} == set(wanted)
        failed = [line for line in lines if line["category"] == "DATA_INVALID"]
        assert bool(failed) == (name in NOT_DONE)
        assert units(example.out)[name]["status"] in (folder / "pipeline.log").read_text()
    summary = (example.out / "batch_summary.log").read_text().splitlines()
    shown = [line.split()[:2] for line in summary if line.startswith(("✓", "✗"))]
    assert shown == [*(["✓", name] for name in DONE), *(["✗", name] for name in NOT_DONE)]


def documented_metrics(page: Path) -> list[str]:
    """Return the names in the table of metrics, written out."""
    rows = page.read_text().partition("| Metric |")[2].partition("\n\n")[0].splitlines()[2:]
    names: list[str] = []
    for word in re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in rows)):
        names.append(names[-1].rpartition("_")[0] + word if word.startswith("_") else word)
    classes = ("ensembl", "approved", "previous", "alias", "none")
    return [n.replace("CLASS", c) for n in names for c in (classes if "CLASS" in n else [""])]


def test_the_table_of_metrics_has_the_columns_that_the_documentation_names(
    example: Finished, root: Path
) -> None:
    with (example.out / "batch_metrics.csv").open() as file:
        rows = {row["unit"]: row for row in csv.DictReader(file)}
    assert set(rows) == {*DONE, *NOT_DONE}
    uploads = {"uploaded_files", "uploaded_bytes"}
    seconds = {f"seconds_{step}" for step in ("genes", "age", "split", "convert")}
    documented = documented_metrics(root / "docs" / "cells.md")
    assert uploads < set(documented)
    columns = {"unit", "status", "category", *seconds, *documented} - uploads
    assert set(rows["pbmc-csr"]) == columns
    assert all(rows["pbmc-csr"][name] for name in columns - {"category"}), "none is empty"
    assert rows["pbmc-csr"]["cells"] == "200"
    assert rows["scaled"]["cells"] == ""


def test_a_second_run_starts_no_engine_and_changes_nothing(example: Finished) -> None:
    before = {name: tree(example.out / name) for name in DONE}
    again = cohortflow("run", "cells", example.study, example.out, cwd=example.out.parent)
    assert again.status == 1, again.text
    assert {plan(example.out)[name] for name in DONE} == {("skip", "up to date")}
    assert plan(example.out)["scaled"] == ("invalid", "failed before")
    assert not (runs(example.out)[-1] / "nextflow.log").exists()
    assert {name: tree(example.out / name) for name in DONE} == before


def test_scratch_is_freed_after_success_and_after_failure(example: Finished) -> None:
    work = example.out / ".cohortflow" / "nextflow" / "work"
    assert scratch(work) == {name: set() for name in (*DONE, "scaled", "truncated")}
    assert {p.name for p in work.glob("*/*/*") if not p.name.startswith(lane.LOGS)} == set()


def test_the_datasets_library_opens_a_folder_as_it_is(example: Finished, tmp_path: Path) -> None:
    code = """
import datasets, json, sys
for stream in (False, True):
    splits = datasets.load_dataset(sys.argv[1], streaming=stream)
    print(json.dumps({part: list(rows) for part, rows in splits.items()}))
"""
    told = driving.python(code, example.out / "pbmc-csr", HF_HOME=str(tmp_path))
    rows = reference.rows(example.out / "pbmc-csr")
    for line in told.splitlines():
        loaded = {
            row["cell_id"]: {**row, "part": name}
            for name, rows in json.loads(line).items()
            for row in rows
        }
        assert loaded == rows
    assert len(told.splitlines()) == 2


# other ways to start it


def test_a_bare_run_publishes_the_same_bytes(
    example: Finished, expected: dict[str, str], root: Path, tmp_path: Path
) -> None:
    study = study_of(tmp_path / "study", example.study, "marrow csc.h5ad")
    out = tmp_path / "out"
    ended = bare(root, study, out, "--lane", "cells", cwd=tmp_path)
    assert ended.status == 0, ended.text
    assert outputs(out) == part(expected, "marrow_csc")


def test_the_options_of_the_older_tool_work_and_other_top_genes_only_convert(
    example: Finished, tmp_path: Path
) -> None:
    study = study_of(tmp_path / "in", example.study, "pbmc-csr.h5ad")
    out = tmp_path / "out"
    words = ["run", "cells", "--input-dir", study, "--output-dir", out, "--batch-mode"]
    words += ["--interim-dir", tmp_path / "interim", "--log-dir", tmp_path / "logs"]
    words += ["--chunk-size", "100", "--compression", "snappy", "--test-size", "0.3"]
    words += ["--keep-interim"]
    ended = cohortflow(*words, "--top-genes", "50", cwd=tmp_path)
    assert ended.status == 0, ended.text
    assert set(outputs(out))
    assert longest(out) == 50
    metrics = json.loads((out / "pbmc-csr" / "metrics.json").read_text())
    assert metrics["test_fraction"] == pytest.approx(0.3, abs=0.1)
    for folder in (tmp_path / "logs", out / "logs"):
        assert (folder / "pbmc-csr" / "pipeline.log").is_file()
    kept = {"genes", "age", "split", "convert"}
    assert scratch(tmp_path / "interim") == {"pbmc-csr": kept}

    again = cohortflow(*words, "--top-genes", "20", cwd=tmp_path)
    assert again.status == 0, again.text
    assert plan(out) == {"pbmc-csr": ("run", "parameter changed")}
    assert tasks(out, "Cached") == {(step, "pbmc-csr") for step in DECIDING}
    assert tasks(out, "Submitted") == {("CELLS_CONVERT", "pbmc-csr"), ("CORE_PUBLISH", "pbmc-csr")}
    assert longest(out) == 20


def longest(out: Path) -> int:
    rows = reference.rows(out / "pbmc-csr").values()
    return max(len(str(row["cell_sentence"]).split()) for row in rows)


def test_a_token_on_the_command_line_is_refused_and_not_repeated(
    example: Finished, tmp_path: Path
) -> None:
    words = ("run", "cells", example.study, tmp_path / "out", "--token", TOKEN)
    ended = cohortflow(*words, cwd=tmp_path)
    assert ended.status == 2
    assert TOKEN not in ended.text
    assert "HF_TOKEN" in ended.err
    assert list(tmp_path.iterdir()) == []


# a batch with bad files


def test_bad_files_are_refused_by_name_and_the_good_one_is_as_without_them(
    example: Finished, expected: dict[str, str], tmp_path: Path
) -> None:
    """A good one has the bytes of a run with other neighbours, jobs and work folder."""
    study = study_of(tmp_path / "study", example.study, "lung-dense.h5ad")
    for name, (make, _) in FAULTS.items():
        make(study / f"{name}.h5ad")
    out = tmp_path / "out"
    words = ("run", "cells", study, out, "--jobs", "3", "--work-dir", tmp_path / "elsewhere")
    ended = cohortflow(*words, cwd=tmp_path)
    assert ended.status == 1, ended.text
    assert outputs(out) == part(expected, "lung-dense")
    found = units(out)
    for name, (_, words_of_it) in FAULTS.items():
        assert found[name]["category"] == "DATA_INVALID", name
        assert found[name]["message"].startswith(f"{name}.h5ad: "), name
        assert words_of_it in found[name]["message"], name
        assert found[name]["remedy"], name
        assert not (out / name).exists()
    assert len(found) == len(FAULTS) + 1
    left = scratch(tmp_path / "elsewhere")
    assert left == {name: set() for name in found}, "freed"


def test_killed_at_any_moment_what_is_there_is_complete_and_a_run_makes_up_for_it(
    example: Finished, expected: dict[str, str], tmp_path: Path
) -> None:
    study = study_of(tmp_path / "study", example.study, "marrow csc.h5ad", "legacy-0.5.h5ad")
    wanted = part(expected, "marrow_csc", "legacy-0.5")
    out = tmp_path / "out"
    words: list[str | Path] = ["run", "cells", study, out, "--jobs", "1"]
    words += ["--work-dir", tmp_path / "elsewhere"]
    killed = 0
    for number in range(KILLS):
        moment = (number + random.Random(number).random()) * LONGEST / KILLS
        door = lane.start(words, tmp_path, tmp_path / "said")
        try:
            door.process.wait(moment)
        except subprocess.TimeoutExpired:
            # A front door alone; or, as when the power goes, everything at once.
            door.kill(everything=number % 2 == 1)
            killed += 1
        lane.wait_until_nothing_runs(tmp_path)
        if out.is_dir():
            assert outputs(out).items() <= wanted.items(), "what has a marker is whole"
            named = {path.name for path in out.iterdir() if (path / "data").exists()}
            assert named == {path.parent.name for path in out.glob("*/_done.json")}
            if outputs(out) == wanted:
                shutil.rmtree(out)  # the next one has something to do
    assert killed, "no kill came before the end"
    ended = cohortflow(*words, cwd=tmp_path)
    assert ended.status == 0, ended.text
    assert outputs(out) == wanted
    assert not list((out / ".cohortflow" / "work").glob("*"))


# an upload


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Hub]:
    """Run a hub; afterwards no token is found anywhere below the test's folder."""
    with hub.serve(TOKEN) as served:
        yield served
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "nextflow.log" for path in files)
    assert any(path.name == ".command.run" for path in files)
    for path in files:
        content = path.read_bytes()
        assert TOKEN.encode() not in content and WRONG.encode() not in content, path


def environment(served: Hub, folder: Path, token: str = TOKEN) -> dict[str, str]:
    """Return the variables of who uploads, beside those of the test."""
    own = {"HF_HOME": str(folder / "hub-home"), "NO_PROXY": "127.0.0.1"}
    return {"HF_TOKEN": token, "HF_ENDPOINT": served.url, **own}


def send(served: Hub, folder: Path, *words: str | Path, token: str = TOKEN) -> Ended:
    """Run the lane with an upload; no token is in what it says."""
    command = [BINARIES / "cohortflow", "run", "cells", *words]
    ended = execute(command, folder, **environment(served, folder, token))
    assert TOKEN not in ended.text
    assert WRONG not in ended.text
    return ended


def remote(served: Hub, repo_id: str) -> dict[str, str]:
    """Return the digests of what a repository holds, beside the hub's own file."""
    files = served.repos[repo_id].files
    return {p: hub.sha256(f.content) for p, f in files.items() if p != ".gitattributes"}


def sent_files(out: Path, name: str) -> dict[str, str]:
    """Return the digests of those files of a dataset that go to a hub."""
    here = {p.removeprefix(f"{name}/"): d for p, d in part(outputs(out), name).items()}
    tables = ("README.md", "genes.tsv", "ages.tsv", "split.json")
    return {p: d for p, d in here.items() if p.startswith("data/") or p in tables}


def test_one_file_goes_to_the_repository_itself_with_the_matrix_that_was_chosen(
    example: Finished, served: Hub, tmp_path: Path
) -> None:
    source, out = example.study / "scaled.h5ad", tmp_path / "out"
    words = (source, out, "--matrix", "raw", "--repo-id", "lab/cells")
    ended = send(served, tmp_path, *words)
    assert ended.status == 0, ended.text
    assert list(served.repos) == ["lab/cells"]
    assert served.repos["lab/cells"].private
    assert remote(served, "lab/cells") == sent_files(out, "scaled")
    metrics = json.loads((out / "scaled" / "metrics.json").read_text())
    assert metrics["matrix"] == "raw"
    assert metrics["uploaded_files"] == len(sent_files(out, "scaled"))
    uploaded = json.loads((out / "scaled" / "upload.json").read_text())
    assert uploaded["repo_id"] == "lab/cells"
    assert uploaded["commit"] == served.repos["lab/cells"].head


def test_a_refused_and_a_killed_upload_go_on_where_they_stopped(
    example: Finished, expected: dict[str, str], served: Hub, tmp_path: Path
) -> None:
    names = ("marrow_csc", "pbmc-csr")
    study = study_of(tmp_path / "study", example.study, "marrow csc.h5ad", "pbmc-csr.h5ad")
    out, work = tmp_path / "out", tmp_path / "out" / ".cohortflow" / "nextflow" / "work"
    words = (study, out, "--repo-id", "lab/cells")

    refused = send(served, tmp_path, *words, token=WRONG)
    assert refused.status == 1, refused.text
    assert {units(out)[name]["category"] for name in names} == {"PERMISSION"}
    assert {units(out)[name]["step"] for name in names} == {"upload"}
    assert all("convert" in scratch(work)[name] for name in names), "what is to be sent stays"
    assert outputs(out) == {}
    assert served.repos == {}

    stall = Stall(PUT, skip=1)
    served.stalls.append(stall)
    start = ["run", "cells", *words]
    door = lane.start(start, tmp_path, tmp_path / "said", **environment(served, tmp_path))
    try:
        assert stall.reached.wait(300)
    finally:
        door.kill(everything=False)
    lane.wait_until_nothing_runs(tmp_path)  # before it goes on: a step would send the file again
    stall.released.set()
    assert {step for step, _ in tasks(out, "Submitted")} <= {"CELLS_UPLOAD", "CORE_PUBLISH"}
    before = served.sent()
    assert before, "a file came in whole"
    assert len(outputs(out)) < 2 * 9

    ended = send(served, tmp_path, *words)
    assert ended.status == 0, ended.text
    assert {step for step, _ in tasks(out, "Submitted")} == {"CELLS_UPLOAD", "CORE_PUBLISH"}
    again = served.sent()[len(before) :]
    assert again, "the file that was cut"
    assert not set(again) & set(before), "what the hub had is not sent again"
    for name in names:
        assert remote(served, f"lab/cells-{name}") == sent_files(out, name)
        assert served.repos[f"lab/cells-{name}"].private
        uploaded = json.loads((out / name / "upload.json").read_text())
        assert uploaded["repo_id"] == f"lab/cells-{name}"
    differ = {"metrics.json", "upload.json"}
    same = {p: d for p, d in outputs(out).items() if p.split("/")[-1] not in differ}
    assert same.items() <= part(expected, *names).items()
    assert scratch(work) == {name: set() for name in names}
