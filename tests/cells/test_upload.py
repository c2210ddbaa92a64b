"""Sending a dataset: whole or not at all, only what is missing, and the token stays a secret."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from cells import hub
from cells.hub import Fault, Hub, Request, Stall, sha256
from cohortflow.cells import hub_client, upload, upload_files
from cohortflow.core.outcome import Category, Failure

TOOL = Path(__file__).resolve().parents[2] / "bin" / "cells-upload"
TOKEN = "hf_TheTokenThatNobodyMaySee"
REPO = "lab/cells-pbmc"
HEADER = """---
configs:
- config_name: default
  data_files:
  - {split: train, path: data/train-*}
  - {split: test, path: data/test-*}
---
# PBMC
"""
COMMIT = r"^POST .*/commit/"
PUT = r"^PUT /lfs/"


@dataclass
class Bench:
    """A hub, a folder, and the tool between them; each run looks for the token afterwards."""

    hub: Hub
    root: Path
    variables: dict[str, str] = field(default_factory=dict)
    secrets: list[Path] = field(default_factory=list)  # files that hold the token by intention
    first: list[Request] = field(default_factory=list)  # what the first run asked of the hub

    @property
    def environment(self) -> dict[str, str]:
        home = self.root / "home"
        home.mkdir(exist_ok=True)
        fixed = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home)}
        hub = {"HF_ENDPOINT": self.hub.url, "HF_HOME": str(home / "hf"), "HF_TOKEN": TOKEN}
        return fixed | hub | self.variables

    def command(self, *arguments: object) -> list[str]:
        begin = [sys.executable, str(TOOL), *map(str, arguments), "--repo-id", "lab/cells"]
        return begin if "--output" in arguments else [*begin, "--output", str(self.output)]

    @property
    def output(self) -> Path:
        return self.root / "upload"

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert TOKEN not in done.stdout + done.stderr
        assert "signature=" not in done.stdout + done.stderr, "signed addresses are secrets too"
        self.look_for_the_token()
        return done

    def look_for_the_token(self) -> None:
        for path in self.root.rglob("*"):
            if path.is_file() and path not in self.secrets:
                assert TOKEN.encode() not in path.read_bytes(), path

    def sends(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done

    def fails(self, status: int, category: str, *arguments: object) -> str:
        """Run the tool; return its one line, after a look that it left nothing behind."""
        failed = self.run(*arguments)
        assert failed.returncode == status, failed.stderr
        line = failed.stderr.strip()
        assert line.startswith(f"ERROR {category} "), failed.stderr
        assert "\n" not in line, "one line"
        assert not self.output.exists()
        assert not list(self.root.glob(".upload*"))
        assert not self.hub.calls(COMMIT) or all(r.status != 200 for r in self.hub.calls(COMMIT))
        return line

    def remote(self, repo_id: str = REPO) -> dict[str, bytes]:
        files = self.hub.repos[repo_id].files
        return {path: f.content for path, f in files.items() if path != ".gitattributes"}


@pytest.fixture(scope="module")
def sent(
    tmp_path_factory: pytest.TempPathFactory, shards: dict[str, bytes]
) -> Iterator[tuple[Bench, dict[str, bytes]]]:
    """Return a hub that a dataset was sent to once, and the dataset's files: only to look at."""
    with hub.serve(TOKEN) as served:
        bench = Bench(served, tmp_path_factory.mktemp("sent"))
        files = {"README.md": HEADER.encode(), **shards}
        assert bench.sends(written(bench.root / "pbmc", files)).stderr == ""
        bench.first = list(served.requests)
        yield bench, files


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with hub.serve(TOKEN) as served:
        yield Bench(served, tmp_path)


def shard(path: Path, seed: int, rows: int = 3000) -> None:
    random = np.random.default_rng(seed)
    words = random.integers(0, 36**6, (rows, 40))
    table = pa.table(
        {
            "cell_id": [f"cell-{seed}-{row}" for row in range(rows)],
            "cell_sentence": [" ".join(np.base_repr(w, 36) for w in line) for line in words],
            "age": pa.array(random.integers(0, 90, rows), pa.int32()),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=1000, compression="zstd")


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return three train shards of about half a megabyte, and a test shard."""
    folder = tmp_path_factory.mktemp("shards")
    names = [f"train-0000{number}-of-00003.parquet" for number in range(3)]
    for seed, name in enumerate(names):
        shard(folder / name, seed)
    shard(folder / "test-00000-of-00001.parquet", 9, rows=150)
    return {f"data/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.fixture
def content(shards: dict[str, bytes]) -> dict[str, bytes]:
    return {"README.md": HEADER.encode(), **shards}


@pytest.fixture
def dataset(tmp_path: Path, content: dict[str, bytes]) -> Path:
    return written(tmp_path / "pbmc", content)


# what is sent


def test_a_dataset_goes_in_one_commit_to_a_repository_that_is_private(
    sent: tuple[Bench, dict[str, bytes]],
) -> None:
    bench, content = sent
    (created,) = bench.hub.calls("/repos/create")
    wanted = {"name": "cells-pbmc", "organization": "lab", "type": "dataset"}
    assert created.json() == wanted | {"visibility": "private"}
    assert bench.hub.repos[REPO].private
    assert bench.remote() == content
    (commit,) = bench.hub.calls(COMMIT)
    keys = sorted(line["key"] for line in commit.lines())
    assert keys == ["file", "header", *["lfsFile"] * 4]
    large = [data for path, data in content.items() if path.endswith(".parquet")]
    assert sorted(bench.hub.sent()) == sorted(map(sha256, large)), "each once, whole"


def test_the_output_says_what_the_hub_holds_and_nothing_else(
    sent: tuple[Bench, dict[str, bytes]],
) -> None:
    bench, content = sent
    files = [
        {"path": path, "size": len(data), "sha256": sha256(data)}
        for path, data in sorted(content.items())
    ]
    head = bench.hub.repos[REPO].head
    assert json.loads((bench.output / "upload.json").read_text()) == {
        "repo_id": REPO,
        "private": True,
        "commit": head,
        "files": files,
    }
    size = sum(map(len, content.values()))
    metrics = {"uploaded_files": len(content), "uploaded_bytes": size}
    assert json.loads((bench.output / "metrics.json").read_text()) == metrics
    assert len(list(bench.output.iterdir())) == 2


def test_the_token_goes_to_the_hub_alone_and_nothing_is_asked_beside_the_upload(
    sent: tuple[Bench, dict[str, bytes]],
) -> None:
    bench, _ = sent
    for request in bench.first:
        token = request.headers.get("authorization")
        assert token == (None if request.method == "PUT" else f"Bearer {TOKEN}")
        needed = "create|validate-yaml|info|tree|preupload|batch|verify|commit|datasets/lab/[^/]+$"
        assert re.search(rf"{needed}|/revision/|^PUT", request.call), "no telemetry, no Xet"
    assert not (bench.root / "home" / "hf").exists(), "no cache, no log"


def test_public_is_asked_for(bench: Bench, dataset: Path) -> None:
    assert bench.sends(dataset, "--public").stderr == ""
    (created,) = bench.hub.calls("/repos/create")
    assert created.json()["visibility"] == "public"
    assert json.loads((bench.output / "upload.json").read_text())["private"] is False


@pytest.mark.parametrize(("private", "options"), [(False, ()), (True, ("--public",))])
def test_a_repository_that_exists_stays_as_visible_as_it_is_and_the_user_is_told(
    bench: Bench, dataset: Path, private: bool, options: tuple[str, ...]
) -> None:
    bench.hub.add_repo(REPO, private=private)
    done = bench.sends(dataset, *options, "--unit", "pbmc")
    assert bench.hub.repos[REPO].private is private
    word = "private" if private else "public"
    assert done.stderr == f"WARNING pbmc {REPO} was {word} before and stays so\n"
    assert not bench.hub.calls("/repos/create")


def test_without_suffix_the_repository_is_that_of_the_command_line(
    bench: Bench, dataset: Path
) -> None:
    bench.sends(dataset, "--suffix", "none")
    assert list(bench.hub.repos) == ["lab/cells"]


def test_the_datasets_name_can_be_given(bench: Bench, dataset: Path) -> None:
    bench.sends(dataset, "--dataset", "blood")
    assert list(bench.hub.repos) == ["lab/cells-blood"]


def test_tables_are_sent_beside_the_data_from_their_files_or_their_folders(
    bench: Bench, dataset: Path, content: dict[str, bytes], tmp_path: Path
) -> None:
    tables = {"genes.tsv": b"gene\n", "ages.tsv": b"age\n", "split.json": b"{}\n"}
    written(dataset, {"split.json": tables["split.json"], "metrics.json": b"{}"})
    written(tmp_path / "genes", {"genes.tsv": tables["genes.tsv"], "metrics.json": b"{}"})
    written(tmp_path / "age", {"ages.tsv": tables["ages.tsv"]})
    bench.sends(dataset, "--also", tmp_path / "genes", "--also", tmp_path / "age" / "ages.tsv")
    assert bench.remote() == content | tables


def test_what_was_sent_reads_back_as_it_is_in_the_files_also_as_a_stream(
    sent: tuple[Bench, dict[str, bytes]], tmp_path: Path
) -> None:
    bench, _ = sent
    script = f"""
import datasets, json, sys
datasets.config.USE_PARQUET_EXPORT = False  # that is another service
for stream in (False, True):
    splits = datasets.load_dataset("{REPO}", streaming=stream)
    print(json.dumps({{name: list(split) for name, split in splits.items()}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=bench.environment | {"HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    local = {
        split: parquet.read_table(
            sorted((bench.root / "pbmc" / "data").glob(f"{split}-*"))
        ).to_pylist()
        for split in ("train", "test")
    }
    assert len(local["train"]) == 9000
    assert [json.loads(line) == local for line in done.stdout.splitlines()] == [True, True]


# what is not sent again


def test_a_run_that_was_killed_in_the_middle_of_a_shard_goes_on_where_it_was(
    bench: Bench, dataset: Path, content: dict[str, bytes]
) -> None:
    stall = Stall(PUT, skip=1)
    bench.hub.stalls.append(stall)
    del content["data/test-00000-of-00001.parquet"]
    (dataset / "data" / "test-00000-of-00001.parquet").unlink()
    running = subprocess.Popen(bench.command(dataset), env=bench.environment)
    try:
        assert stall.reached.wait(60)
        bench.hub.wait_for_objects(REPO, 2)
    finally:
        running.kill()
        running.wait()
    stall.released.set()
    bench.look_for_the_token()
    assert not bench.output.exists()
    assert bench.remote() == {}, "nobody sees half a dataset"
    before = bench.hub.sent()
    bench.sends(dataset)
    assert bench.remote() == content
    again = bench.hub.sent()[len(before) :]
    assert len(before) == 2
    assert len(again) == 1, "only the shard that was not finished"
    assert len(bench.hub.calls(COMMIT)) == 1


def test_nothing_is_sent_when_nothing_changed(bench: Bench, dataset: Path) -> None:
    bench.sends(dataset)
    first = {path.name: path.read_bytes() for path in bench.output.iterdir()}
    requests = len(bench.hub.requests)
    bench.sends(dataset, "--overwrite")
    assert {path.name: path.read_bytes() for path in bench.output.iterdir()} == first
    later = bench.hub.requests[requests:]
    assert {request.method for request in later} == {"GET"}


def test_only_what_changed_is_in_the_next_commit(
    bench: Bench, dataset: Path, content: dict[str, bytes]
) -> None:
    bench.sends(dataset)
    changed = {"README.md": HEADER.encode() + b"More.\n"}
    written(dataset, changed)
    bench.sends(dataset, "--overwrite")
    assert bench.remote() == content | changed
    assert [line["key"] for line in bench.hub.calls(COMMIT)[1].lines()] == ["header", "file"]
    assert len(bench.hub.sent()) == 4


@pytest.mark.parametrize("page", [1000, 2])
def test_what_the_dataset_no_longer_has_goes_in_the_same_commit_and_foreign_files_stay(
    bench: Bench, dataset: Path, content: dict[str, bytes], page: int
) -> None:
    bench.hub.page = page  # entries that the hub lists at once
    bench.hub.add_repo(REPO)
    foreign = {"LICENSE": b"CC0", "figures/a.png": b"png", "notes/genes.tsv": b"mine"}
    stale = {
        "data/train-00000-of-00001.parquet": b"old",
        "data/old/validation.parquet": b"older",
        "ages.tsv": b"old",
    }
    bench.hub.add_files(REPO, foreign | stale | {"README.md": b"old"})
    bench.sends(dataset)
    assert bench.remote() == content | foreign
    (commit,) = bench.hub.calls(COMMIT)
    deleted = [x["value"]["path"] for x in commit.lines() if x["key"] == "deletedFile"]
    assert sorted(deleted) == sorted(stale)


@pytest.mark.parametrize("fault", [Fault(PUT, 503, times=1), Fault(PUT, half=True, times=1)])
def test_a_passing_fault_of_the_storage_is_borne(
    bench: Bench, dataset: Path, content: dict[str, bytes], fault: Fault
) -> None:
    bench.hub.faults.append(Fault(fault.pattern, fault.status, half=fault.half, times=1))
    assert bench.sends(dataset).stderr == ""
    assert bench.remote() == content
    assert len(bench.hub.calls(PUT)) == 5


def test_repositories_that_are_made_at_the_same_time_wait_for_each_other(
    bench: Bench, dataset: Path
) -> None:
    busy = {"error": "Cannot create repo: another conflicting operation is in progress"}
    bench.hub.faults.append(Fault("/repos/create", 409, busy, times=1))
    bench.sends(dataset)
    assert len(bench.hub.calls("/repos/create")) == 2


# what goes wrong at the hub

ASKS = Fault("/preupload/", 429, {"error": "slow down"}, {"Retry-After": "3600"})
TROUBLES: dict[str, tuple[Fault, int, str, str]] = {
    "the storage is full": (
        Fault(PUT, 507, "<Error>no space</Error>"),
        73,
        "OUTPUT_WRITE",
        "storage is full",
    ),
    "overloaded": (Fault("GET", 503, "<html>"), 69, "UNAVAILABLE", "answers 503"),
    "asks for patience": (ASKS, 69, "UNAVAILABLE", "3600 s"),
    "no answer": (Fault("/repos/create"), 69, "UNAVAILABLE", "cannot be reached"),
    "no hub at all": (Fault("GET", 200, "<html>"), 69, "UNAVAILABLE", "makes no sense"),
    "a signed address expired": (
        Fault(PUT, 403, "<Error>Request has expired</Error>"),
        69,
        "UNAVAILABLE",
        "answers 403",
    ),
    "the commit is refused": (
        Fault(COMMIT, 400, {"error": "README.md is no Markdown"}),
        65,
        "DATA_INVALID",
        "no Markdown",
    ),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_trouble_of_the_hub_has_its_category_and_leaves_nothing(
    bench: Bench, dataset: Path, name: str
) -> None:
    fault, status, category, word = TROUBLES[name]
    bench.hub.faults.append(Fault(fault.pattern, fault.status, fault.body, fault.headers))
    line = bench.fails(status, category, dataset, "--unit", "pbmc")
    assert word in line
    assert line.startswith(f"ERROR {category} pbmc ")


def test_a_hub_that_is_down_is_unavailable(bench: Bench, dataset: Path) -> None:
    with hub.serve() as gone:
        bench.variables["HF_ENDPOINT"] = gone.url
    assert "cannot be reached" in bench.fails(69, "UNAVAILABLE", dataset)


@pytest.mark.parametrize(("status", "code"), [(401, "RepoNotFound"), (403, "GatedRepo")])
def test_a_repository_that_may_not_be_seen_is_not_taken_for_a_missing_one(
    bench: Bench, dataset: Path, status: int, code: str
) -> None:
    bench.hub.faults.append(Fault("GET", status, {"error": "no"}, {"X-Error-Code": code}))
    bench.fails(77, "PERMISSION", dataset)
    assert not bench.hub.calls("/repos/create")


def test_a_commit_that_somebody_else_made_meanwhile_is_not_built_over(
    bench: Bench, dataset: Path
) -> None:
    bench.hub.add_repo(REPO)
    stall = Stall(PUT)
    bench.hub.stalls.append(stall)
    running = subprocess.Popen(
        bench.command(dataset), env=bench.environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert stall.reached.wait(60)
        bench.hub.add_files(REPO, {"README.md": b"theirs"})
        stall.released.set()
        _, errors = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 69, errors
    assert errors.startswith("ERROR UNAVAILABLE ")
    assert "somebody else" in errors
    assert bench.remote() == {"README.md": b"theirs"}


def test_a_full_quota_is_found_before_the_files_are_sent(bench: Bench, dataset: Path) -> None:
    bench.hub.quota = 1_000_000
    line = bench.fails(73, "OUTPUT_WRITE", dataset)
    assert "Private repository storage limit reached" in line
    assert bench.hub.sent() == []


def test_an_unknown_token_is_refused_with_the_way_to_check_it(bench: Bench, dataset: Path) -> None:
    bench.hub.tokens = {"hf_another": True}
    line = bench.fails(77, "PERMISSION", dataset)
    assert line.endswith("the hub does not accept the token: check HF_TOKEN - `hf auth whoami`")


@pytest.mark.parametrize("exists", [True, False])
def test_a_token_that_may_only_read_is_refused(bench: Bench, dataset: Path, exists: bool) -> None:
    bench.hub.tokens = {TOKEN: False}
    if exists:
        bench.hub.add_repo(REPO)
    assert "rights to write" in bench.fails(77, "PERMISSION", dataset)
    assert bench.hub.sent() == []


def test_a_header_that_is_no_yaml_is_the_datasets_fault(bench: Bench, dataset: Path) -> None:
    written(dataset, {"README.md": b"---\nconfigs:\t[\n---\n"})
    assert "tabs are no YAML" in bench.fails(65, "DATA_INVALID", dataset)


def test_a_hub_that_holds_something_else_after_the_commit_is_noticed(
    bench: Bench, dataset: Path, content: dict[str, bytes]
) -> None:
    files = {path: hub.File(data, path.endswith(".parquet")) for path, data in content.items()}
    path = "data/train-00001-of-00003.parquet"
    data = bytearray(content[path])
    data[1000] ^= 1  # the same size
    files[path] = hub.File(bytes(data), True)
    tree = [file.entry(path) for path, file in files.items()]
    bench.hub.faults.append(Fault("/tree/", 200, tree, skip=1))
    failed = bench.run(dataset)
    assert failed.returncode == 69, failed.stderr
    assert f"{REPO}: the hub does not hold {path} as it was sent" in failed.stderr
    assert not bench.output.exists()


# what goes wrong here


def test_a_broken_shard_is_found_before_the_hub_is_asked(bench: Bench, dataset: Path) -> None:
    path = dataset / "data" / "train-00001-of-00003.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    assert f"{path}: is not whole parquet" in bench.fails(65, "DATA_INVALID", dataset)
    assert bench.hub.requests == []


def cut_out_the_middle(folder: Path) -> None:
    path = folder / "train-00002-of-00003.parquet"
    data = path.read_bytes()
    path.write_bytes(data[:100_000] + data[200_000:])


DAMAGES: dict[str, tuple[Callable[[Path], Any], Category, str]] = {
    "is shorter than its footer says": (cut_out_the_middle, Category.DATA_INVALID, "-00002-of"),
    "is not whole parquet": (
        lambda data: (data / "train-00000-of-00003.parquet").write_bytes(b""),
        Category.DATA_INVALID,
        "-00000-of",
    ),
    "is missing": (
        lambda data: (data / "train-00001-of-00003.parquet").unlink(),
        Category.DATA_INVALID,
        "-00001-of-00003",
    ),
    "is one too many": (
        lambda data: shard(data / "train-00003-of-00003.parquet", 5, rows=5),
        Category.DATA_INVALID,
        "-00003-of-00003",
    ),
    "shards of two sets are mixed": (
        lambda data: shard(data / "train-00000-of-00001.parquet", 5, rows=5),
        Category.DATA_INVALID,
        "data",
    ),
    "has no train shard": (
        lambda data: [path.unlink() for path in data.glob("train-*")],
        Category.DATA_INVALID,
        "data",
    ),
    "is no shard of a dataset": (
        lambda data: (data / "notes.txt").write_text("x"),
        Category.DATA_INVALID,
        "notes.txt",
    ),
    "has no README.md": (
        lambda data: (data.parent / "README.md").unlink(),
        Category.INPUT_MISSING,
        "pbmc",
    ),
}


@pytest.mark.parametrize("problem", DAMAGES)
def test_a_dataset_that_is_not_whole_is_refused(dataset: Path, problem: str) -> None:
    damage, category, name = DAMAGES[problem]
    damage(dataset / "data")
    with pytest.raises(Failure, match=problem) as caught:
        upload_files.collect(dataset)
    assert caught.value.category is category
    assert name in caught.value.message


def test_a_file_of_the_desktop_is_no_shard_and_not_sent(dataset: Path) -> None:
    written(dataset, {"data/.DS_Store": b"x"})
    assert ".DS_Store" not in str(upload_files.collect(dataset))


def test_other_files_are_not_sent_and_a_table_not_twice(dataset: Path, tmp_path: Path) -> None:
    written(tmp_path, {"a/genes.tsv": b"", "b/genes.tsv": b"", "b/secret.txt": b"", "c/x": b""})
    for also in (["a", "b"], ["b/secret.txt"], ["c"]):
        with pytest.raises(Failure) as caught:
            upload_files.collect(dataset, [tmp_path / path for path in also])
        assert caught.value.category is Category.USAGE


def test_a_full_output_is_refused_before_the_hub_is_asked(bench: Bench, dataset: Path) -> None:
    written(bench.output, {"mine.txt": b"x"})
    failed = bench.run(dataset)
    assert failed.returncode == 2, failed.stderr
    assert "--overwrite" in failed.stderr
    assert bench.hub.requests == []


def test_a_dry_run_sends_nothing_and_writes_nothing(bench: Bench, dataset: Path) -> None:
    done = bench.sends(dataset, "--dry-run")
    assert done.stdout == f"{REPO}: would hold 5 files\n"
    assert bench.hub.requests == []
    assert not bench.output.exists()


# the token


def test_a_token_on_the_command_line_is_refused_and_not_repeated(
    bench: Bench, dataset: Path
) -> None:
    for spelled in (["--token", TOKEN], [f"--token={TOKEN}"]):
        assert "HF_TOKEN" in bench.fails(2, "USAGE", dataset, *spelled)
    assert bench.hub.requests == []


@pytest.mark.parametrize("way", ["--token-file", "HF_TOKEN_PATH", "home"])
def test_the_token_may_be_in_a_file(bench: Bench, dataset: Path, way: str) -> None:
    path = bench.root / "home" / "hf" / "token" if way == "home" else bench.root / "secret"
    written(path.parent, {path.name: f"{TOKEN}\n".encode()})
    bench.secrets.append(path)
    bench.variables["HF_TOKEN"] = "hf_not_this" if way == "--token-file" else ""
    if way == "HF_TOKEN_PATH":
        bench.variables[way] = str(path)
    bench.sends(dataset, *([way, path] if way == "--token-file" else []))
    assert bench.remote()


def test_without_a_token_the_ways_to_give_one_are_named(bench: Bench, dataset: Path) -> None:
    bench.variables["HF_TOKEN"] = ""
    line = bench.fails(78, "CONFIG", dataset)
    assert all(way in line for way in ("HF_TOKEN", "HF_TOKEN_PATH", "--token-file"))
    assert bench.hub.requests == []


# The last is longer than a file's name may be.
@pytest.mark.parametrize("token", [TOKEN, f"{TOKEN}/x", TOKEN * 20])
def test_a_token_given_as_the_name_of_its_file_is_not_repeated(
    token: str, bench: Bench, dataset: Path
) -> None:
    assert TOKEN not in bench.fails(78, "CONFIG", dataset, "--token-file", token)
    bench.variables |= {"HF_TOKEN": "", "HF_TOKEN_PATH": token}
    assert TOKEN not in bench.fails(78, "CONFIG", dataset)


def test_what_cannot_be_a_token_is_not_sent(bench: Bench, dataset: Path) -> None:
    path = bench.root / "secret"
    path.write_text(f"{TOKEN}\nand more")
    bench.secrets.append(path)
    bench.fails(78, "CONFIG", dataset, "--token-file", path)
    assert bench.hub.requests == []


# a folder of datasets


def test_a_bad_dataset_of_a_folder_stops_no_other(
    bench: Bench, content: dict[str, bytes], tmp_path: Path
) -> None:
    for name in ("a", "b", "c--d", "e"):
        written(tmp_path / "all" / name, content)
    written(tmp_path / "all", {".cohortflow/x": b"", "notes.txt": b""})
    (tmp_path / "all" / "b" / "data" / "train-00002-of-00003.parquet").unlink()
    done = bench.run(tmp_path / "all", "--batch-mode")
    assert done.returncode == 65, "the status of the first failure"
    first, second = done.stderr.splitlines()
    assert first.startswith("ERROR DATA_INVALID b ")
    assert second.startswith("ERROR USAGE c--d ")
    assert sorted(bench.hub.repos) == ["lab/cells-a", "lab/cells-e"]
    assert bench.remote("lab/cells-e") == content
    assert sorted(path.name for path in bench.output.iterdir()) == ["a", "e"]
    assert json.loads((bench.output / "e" / "upload.json").read_text())["repo_id"] == "lab/cells-e"


def test_datasets_of_a_folder_do_not_share_a_repository(bench: Bench, dataset: Path) -> None:
    bench.fails(2, "USAGE", dataset.parent, "--batch-mode", "--suffix", "none")


# names


def test_a_bad_repository_is_refused_before_the_hub_is_asked(bench: Bench, dataset: Path) -> None:
    bench.fails(2, "USAGE", dataset, "--dataset", "a b")
    assert bench.hub.requests == []


BAD = ["cells", "a/b/c", "lab/", "/x", "lab/a..b", "lab/a--b", "lab/-a", "lab/a.", "lab/a.git"]


@pytest.mark.parametrize("repo_id", [*BAD, "lab/é", "lab/a\n", "lab/" + "a" * 97, "lab/a+b", ""])
def test_a_name_that_the_hub_would_not_take_is_a_usage_error(repo_id: str) -> None:
    with pytest.raises(Failure) as caught:
        upload.repo_name(repo_id, "x", "none")
    assert caught.value.category is Category.USAGE


@given(st.text("aZ0._-/é \n+g", max_size=12), st.text("aZ0._-git", max_size=100))
def test_what_is_taken_is_what_the_hubs_client_takes(repo_id: str, dataset: str) -> None:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    full = f"{repo_id}-{dataset}"
    try:
        validate_repo_id(full)
        valid = full.count("/") == 1
    except HFValidationError:
        valid = False
    try:
        assert upload.repo_name(repo_id, dataset) == full
        taken = True
    except Failure:
        taken = False
    assert taken == valid


# patience


@pytest.fixture
def impatient() -> Iterator[Callable[[float], None]]:
    """Limit the client's waiting in this process, and take the limits away again."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    yield hub_client.limit_waiting
    set_client_factory(default_client_factory)


@pytest.mark.parametrize("fault", [Fault("GET", 503), Fault("GET")])
def test_a_request_is_not_repeated_for_ever(
    bench: Bench, impatient: Callable[[float], None], fault: Fault
) -> None:
    from huggingface_hub.utils import http_backoff

    bench.hub.faults.append(Fault(fault.pattern, fault.status))
    impatient(5)
    for round_number in (1, 2):  # the count begins anew: another dataset may ask the same
        with pytest.raises(Failure) as caught, hub_client.errors(REPO):
            http_backoff("GET", f"{bench.hub.url}/x", base_wait_time=0, max_wait_time=0)
        assert caught.value.category is Category.UNAVAILABLE
        assert len(bench.hub.calls("/x")) == round_number * hub_client.TRIES


def test_a_hub_that_says_nothing_is_not_waited_for_even_if_a_call_asks_for_that(
    bench: Bench, impatient: Callable[[float], None]
) -> None:
    from huggingface_hub import get_session

    bench.hub.stalls.append(Stall("/api/whoami-v2"))
    impatient(0.1)
    with pytest.raises(Failure, match="timed out") as caught, hub_client.errors(REPO):
        get_session().get(f"{bench.hub.url}/api/whoami-v2", timeout=None)
    assert caught.value.category is Category.UNAVAILABLE


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"retry-after": "90"}, 90),
        (429, {"ratelimit": '"api";r=0;t=55'}, 55),
        (429, {"ratelimit": '"api";r=7;t=55'}, 0),
        (503, {"retry-after": " 2 "}, 2),
        (503, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0),
        (200, {"retry-after": "90", "ratelimit": '"api";r=0;t=55'}, 0),
    ],
)
def test_the_pause_that_a_hub_asks_for(status: int, headers: dict[str, str], seconds: int) -> None:
    assert hub_client.asked_pause(status, headers) == seconds


def test_a_local_fault_keeps_its_own_category_also_when_a_thread_had_it() -> None:
    cause = PermissionError(13, "Permission denied", "shard")
    error = RuntimeError("Error while uploading")
    error.__cause__ = cause
    failure = hub_client.failure_of(error, REPO)
    assert failure is not None
    assert failure.category is Category.PERMISSION
    assert hub_client.failure_of(KeyError("a bug"), REPO) is None
