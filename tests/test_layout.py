"""One name, five places: a tool, its module, its process, its test and its packaging agree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / "bin"
TOOLS = sorted(path.name for path in BIN.glob("*-*") if path.is_file())
GROUPS = sorted({name.split("-", 1)[0] for name in TOOLS})

# The supervisor is the shell that processes run in (process.shell), so it is no process itself.
WITHOUT_PROCESS = {"core-supervise"}

PROCESS = re.compile(r"^process\s+(\w+)", re.MULTILINE)
# Hosts of registries, and folders that exist on one machine only.
ADDRESS = re.compile(
    r"repo1?\.maven|pypi\.org|pythonhosted|deb\.debian|registry\.npmjs|"
    r"(?<![\w.$}>-])/(?:work|root|tmp|home)/(?!\.\.\.)[\w.-]"
)


def places(name: str) -> tuple[str, str]:
    """Split `dwi-mask` into its group and step, as a Python name has them."""
    group, step = name.split("-", 1)
    return group, step.replace("-", "_")


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BIN / name), *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


def processes() -> dict[str, Path]:
    """Return every process of modules/ with the file that declares it."""
    return {
        name: path
        for path in (ROOT / "modules").rglob("*.nf")
        for name in PROCESS.findall(path.read_text())
    }


def test_there_are_tools() -> None:
    assert {"core-plan", "core-publish", "core-report", "core-supervise"} <= set(TOOLS)
    assert {"dwi-convert", "dwi-discover", "dwi-mask", "dwi-tensor"} <= set(TOOLS)


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_explains_itself_with_an_example_of_its_own(name: str) -> None:
    result = run(name, "--help")
    assert result.returncode == 0, result.stderr
    about = result.stdout.split("\n\n")[1].strip()
    assert len(about) > 20, "what the tool does is not said"
    assert re.search(rf"^ *Example:\n +.*{name}\b", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_says_the_version_of_the_package(name: str) -> None:
    from cohortflow import __version__

    result = run(name, "--version")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith(__version__)


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_is_a_script_that_finds_its_python(name: str) -> None:
    path = BIN / name
    assert os.access(path, os.X_OK)
    # The supervisor starts with every task, and needs no more than Python's own library.
    quick = "-S python3 -SE" if name == "core-supervise" else "python3"
    assert path.read_text().startswith(f"#!/usr/bin/env {quick}\n")


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_has_a_library_module_and_a_test_of_its_name(name: str) -> None:
    group, step = places(name)
    assert (BIN / "cohortflow" / group / f"{step}.py").is_file()
    assert (ROOT / "tests" / group / f"test_{step}.py").is_file()


@pytest.mark.parametrize("name", sorted(set(TOOLS) - WITHOUT_PROCESS))
def test_a_tool_has_a_process_of_its_name_with_a_stub_that_calls_it(name: str) -> None:
    group, step = places(name)
    path = ROOT / "modules" / group / f"{step}.nf"
    text = path.read_text()
    assert PROCESS.findall(text) == [f"{group}_{step}".upper()]
    assert re.search(r"^ *stub:", text, re.MULTILINE)
    assert re.search(rf"^\s*{name}\b", text, re.MULTILINE)


def test_no_process_is_without_a_tool() -> None:
    expected = {"_".join(places(name)).upper() for name in set(TOOLS) - WITHOUT_PROCESS}
    assert set(processes()) == expected


def test_every_lane_has_a_workflow() -> None:
    for group in set(GROUPS) - {"core"}:
        text = (ROOT / "modules" / f"{group}.nf").read_text()
        assert re.search(rf"^workflow {group.upper()} ", text, re.MULTILINE)


def test_every_tool_is_packaged() -> None:
    packaging = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert packaging["script-files"] == [f"bin/{name}" for name in TOOLS]


def test_the_pipeline_is_packaged_whole() -> None:
    packaging = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packed = {
        path
        for patterns in packaging["data-files"].values()
        for pattern in patterns
        for path in ROOT.glob(pattern)
    }
    needed = {ROOT / "main.nf", ROOT / "nextflow.config", ROOT / "nextflow_schema.json"}
    # The images are named after these, and can be made with an installed copy.
    needed |= {ROOT / "requirements.lock", *(ROOT / "containers").glob("*.sh")}
    needed |= set((ROOT / "containers").glob("*/Containerfile"))
    needed |= set((ROOT / "modules").rglob("*.nf")) | set((ROOT / "conf").rglob("*.config"))
    assert packed == needed


def test_only_the_command_line_modules_import_click() -> None:
    users = {
        path.relative_to(BIN / "cohortflow").as_posix()
        for path in (BIN / "cohortflow").rglob("*.py")
        if re.search(r"^\s*(?:import|from) click\b", path.read_text(), re.MULTILINE)
    }
    assert {name for name in users if not name.startswith("commands/")} <= {"cli.py", "main.py"}


def tracked() -> list[Path]:
    """Return the files that git keeps or would keep."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others"]
    listed = subprocess.run(
        [*command, "--exclude-standard"], check=True, capture_output=True, text=True
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_registry_or_a_folder_of_one_machine() -> None:
    found = []
    for path in tracked():
        if path == Path(__file__):
            continue
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
            for number, line in enumerate(lines, 1)
            if ADDRESS.search(line)
        ]
    assert not found, "\n".join(found)
