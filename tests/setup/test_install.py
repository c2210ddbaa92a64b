"""A tool runs from wherever it is called, however it came there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "bin"
TOOLS = sorted(path.name for path in BIN.glob("*-*") if path.is_file())


def bare(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment whose python3 has the dependencies and knows no checkout."""
    return {"PATH": f"{folder}:{os.defpath}", "HOME": str(folder), **more}


def makes_help(path: Path, cwd: Path, environ: dict[str, str]) -> None:
    result = subprocess.run(
        [str(path), "--help"],
        capture_output=True,
        check=False,
        cwd=cwd,
        env=environ,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert "Example:" in result.stdout


@pytest.fixture(scope="module")
def dependencies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the packages of this one, and without the checkout."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = next(folder.glob("lib/python3*/site-packages"))
    # Packages are imported from here, but .pth files (the checkout's) are not read.
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    result = subprocess.run(
        [str(folder / "bin" / "python"), "-P", "-c", "import click, cohortflow"],
        capture_output=True,
        check=False,
        cwd=folder,
        env=bare(folder / "bin"),
        text=True,
    )
    assert "No module named 'cohortflow'" in result.stderr, result.stderr
    return folder


@pytest.fixture(scope="module")
def installed(dependencies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs after `pip install .` into an environment of its own."""
    # A copy, because building writes into the source folder.
    source = tmp_path_factory.mktemp("source")
    for name in ("bin", "conf", "containers", "modules"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE", "main.nf", "nextflow.config"):
        shutil.copy(ROOT / name, source)
    for name in ("nextflow_schema.json", "requirements.lock"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "--python", str(dependencies / "bin" / "python")]
    command += ["install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    # The build runs in the target, which sees this environment's setuptools by its .pth file.
    result = subprocess.run(
        [*command, str(source)],
        capture_output=True,
        check=False,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return dependencies / "bin"


@pytest.mark.parametrize("name", TOOLS)
def test_by_path_from_another_folder(name: str, dependencies: Path, tmp_path: Path) -> None:
    makes_help(BIN / name, tmp_path, bare(dependencies / "bin"))


@pytest.mark.parametrize("name", TOOLS)
def test_through_a_symlink(name: str, dependencies: Path, tmp_path: Path) -> None:
    link = tmp_path / "links" / name
    link.parent.mkdir()
    link.symlink_to(BIN / name)
    makes_help(link, tmp_path, bare(dependencies / "bin"))


@pytest.fixture(scope="module")
def only_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing but bin/, as Nextflow mounts it into a container."""
    folder = tmp_path_factory.mktemp("mounted") / "bin"
    shutil.copytree(BIN, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize("name", TOOLS)
def test_with_nothing_but_bin(
    name: str, only_bin: Path, dependencies: Path, tmp_path: Path
) -> None:
    makes_help(only_bin / name, tmp_path, bare(dependencies / "bin"))


@pytest.mark.parametrize("name", [*TOOLS, "cohortflow"])
def test_after_pip_install(name: str, installed: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [str(installed / name), "--help"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env=bare(installed),
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"Usage: {name} ")


def test_pip_install_brings_the_whole_pipeline(installed: Path) -> None:
    share = installed.parent / "share" / "cohortflow"
    brought = {path.relative_to(share).as_posix() for path in share.rglob("*") if path.is_file()}
    wanted = {"main.nf", "nextflow.config", "nextflow_schema.json", "requirements.lock"}
    for folder in ("conf", "containers", "modules"):
        files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
        wanted |= {path.relative_to(ROOT).as_posix() for path in files}
    assert brought == wanted


def test_pip_install_brings_schemas_and_templates(installed: Path) -> None:
    package = next(installed.parent.glob("lib/python3*/site-packages/cohortflow"))
    for folder in ("schemas", "templates"):
        wanted = {path.name for path in (BIN / "cohortflow" / folder).iterdir()}
        assert wanted
        assert {path.name for path in (package / folder).iterdir()} == wanted
