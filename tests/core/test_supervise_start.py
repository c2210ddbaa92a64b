"""The supervisor starts fast, wherever its tool lies, and knows what its inputs' steps used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cohortflow.core import supervise
from core.supervised import Bench

# Each takes 3 to 20 ms to load, which every task would pay.
SLOW = {"argparse", "click", "ctypes", "dataclasses", "enum", "json", "re", "site", "typing"}


@pytest.fixture
def bench(root: Path, tmp_path: Path, environment: dict[str, str]) -> Bench:
    return Bench(root / "bin" / "core-supervise", tmp_path, environment)


def earlier(folder: Path, spent: dict[str, float], text: str = "", within: str = ".") -> None:
    """Link an input into a task's folder, or into one within; its own task used some seconds."""
    task = folder / f"before-{len(list(folder.iterdir()))}"
    (task / "made").mkdir(parents=True)
    (task / supervise.RECORD).write_text(text or json.dumps({"seconds": 1, "spent": spent}))
    into = folder / within
    into.mkdir(exist_ok=True)
    (into / f"input-{task.name}").symlink_to(task / "made")


def test_nothing_is_loaded_that_takes_long(bench: Bench) -> None:
    earlier(bench.folder, {"convert": 2.5})
    first = bench.tool.read_text().partition("\n")[0]
    options = first.partition(" python3 ")[2].split()
    result = subprocess.run(
        [sys.executable, *options, "-X", "importtime", bench.tool, "true"],
        cwd=bench.folder,
        check=True,
        capture_output=True,
        text=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "cohortflow.core.supervise" in loaded
    assert not loaded & SLOW


@pytest.mark.parametrize("options", [(), ("--time", "60")])
def test_it_is_found_through_a_link_from_any_folder(bench: Bench, options: tuple[str, ...]) -> None:
    link = bench.folder / "a link"
    link.symlink_to(bench.tool)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        [link, *options, "bash", "-c", "exit 7"], cwd=bench.folder, env={"PATH": path}, check=False
    )
    assert result.returncode == 7
    assert bench.record()["exit"] == 7


@pytest.mark.parametrize("kept", [" -SE", ""])
def test_it_works_installed(root: Path, bench: Bench, kept: str) -> None:
    """Installers put another Python into the first line; some keep its options, others do not."""
    home = bench.folder / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    (packages,) = home.glob("lib/python*/site-packages")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "bin" / "cohortflow", packages / "cohortflow", ignore=ignored)
    tool = home / "bin" / "core-supervise"
    _, _, rest = bench.tool.read_text().partition("\n")
    tool.write_text(f"#!{home}/bin/python{kept}\n{rest}")
    tool.chmod(0o755)
    result = subprocess.run([tool, "bash", "-c", "exit 7"], cwd=bench.folder, env={}, check=False)
    assert result.returncode == 7
    assert bench.record()["exit"] == 7


@pytest.mark.parametrize("wish", ["", "1"])
def test_it_writes_bytecode_unless_the_user_does_not_want_it(
    root: Path, bench: Bench, wish: str
) -> None:
    tools, ignored = bench.folder / "bin", shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "bin", tools, ignore=ignored)
    bench.tool = tools / "core-supervise"
    assert bench.start("true", limits={"PYTHONDONTWRITEBYTECODE": wish}).wait() == 0
    assert bool(list(tools.rglob("*.pyc"))) is not bool(wish)


@pytest.mark.parametrize(
    "text", ['a "quoted"', "back\\slash", "lines\nof\ttext", "Ünïcode 🧠", "{"]
)
def test_the_record_is_json_whatever_the_names_are(bench: Bench, text: str) -> None:
    limits = {"COHORTFLOW_UNIT": text, "COHORTFLOW_RUN": text, "COHORTFLOW_STEP": f"A:B_{text}"}
    assert bench.shell("exit 0", limits=limits).wait() == 0
    record = bench.record()
    assert (record["unit"], record["run"], record["step"]) == (text, text, text.lower())
    assert record["spent"] == {text.lower(): record["seconds"]}


def test_a_name_that_is_not_text_is_recorded(bench: Bench) -> None:
    assert bench.shell("exit 0", limits={"COHORTFLOW_UNIT": os.fsdecode(b"\xff")}).wait() == 0
    assert os.fsencode(bench.record()["unit"]) == b"\xff"


def test_what_the_steps_before_used_is_added_up(bench: Bench) -> None:
    earlier(bench.folder, {"convert": 2.5})
    earlier(bench.folder, {"convert": 2.5, "mask": 0.125})
    earlier(bench.folder, {"convert": 2.5, "denoise": 8.0}, within="series")
    before = {"convert": 2.5, "mask": 0.125, "denoise": 8.0}
    assert supervise.spent_before(str(bench.folder)) == before
    assert bench.shell("exit 0").wait() == 0
    record = bench.record()
    assert record["spent"] == {**before, "mask": record["seconds"]}


@pytest.mark.parametrize("step", ['a "b', "a, b", "a: b", "a}", "back\\slash", "Ünï", "a\nb", ""])
def test_a_step_of_any_name_is_read(tmp_path: Path, step: str) -> None:
    earlier(tmp_path, {step: 1.5, "mask": 2.0})
    assert supervise.spent_before(str(tmp_path)) == {step: 1.5, "mask": 2.0}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"spent": {}}', '{"spent": null}', "\udcff"])
def test_a_damaged_record_counts_nothing(tmp_path: Path, text: str) -> None:
    earlier(tmp_path, {}, text="{}")
    (tmp_path / "before-0" / supervise.RECORD).write_bytes(text.encode(errors="surrogateescape"))
    earlier(tmp_path, {"mask": 2.0})
    assert supervise.spent_before(str(tmp_path)) == {"mask": 2.0}


def test_a_spent_budget_ends_the_step(bench: Bench) -> None:
    earlier(bench.folder, {"convert": 59.7})
    assert bench.shell("sleep 60", limits={"COHORTFLOW_BUDGET": "60"}).wait() == 124
    assert bench.record()["reason"] == "budget"
