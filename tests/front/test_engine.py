"""What Nextflow 24.10 prints is understood; where it is found and how it is started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from cohortflow.core.outcome import Category, Failure
from cohortflow.front import engine
from cohortflow.front.engine import Event, parse

# Printed by Nextflow 24.10.0 for a process that succeeded, failed, was retried, left its output
# out, and ended the run.
PRINTED = """\
N E X T F L O W  ~  version 24.10.0
Launching `main.nf` [pedantic_cajal] DSL2 - revision: 6a9509ad2a
[b8/66df4e] Submitted process > DWI:DWI_CONVERT (sub-02)
[c4/2522f0] Submitted process > DWI:DWI_CONVERT (sub-01_ses-01)
[72/0a1b2c] Cached process > DWI:DWI_MASK (sub-03)
[b8/66df4e] NOTE: Process `DWI:DWI_CONVERT (sub-02)` terminated with an error exit status (65) \
-- Error is ignored
[07/c88b53] NOTE: Process `DWI:DWI_TENSOR (sub-04)` terminated with an error exit status (75) \
-- Execution is retried (1)
[a1/fa8d49] Re-submitted process > DWI:DWI_TENSOR (sub-04)
[ca/81f85c] NOTE: Missing output file(s) `mask` expected by process `DWI:DWI_MASK (sub-05)` \
-- Error is ignored
[95/cecf4d] Submitted process > CORE_PUBLISH (sub-01_ses-01)
[96/cecf4d] Submitted process > CORE_REPORT
ERROR ~ Error executing process > 'CORE_REPORT'

Caused by:
  Process `CORE_REPORT` terminated with an error exit status (9)
WARN: Can't read history file: .nextflow/history
"""
UNDERSTOOD = [
    ("version", "", "", ""),
    ("text", "", "", ""),
    ("submitted", "b8/66df4e", "convert", "sub-02"),
    ("submitted", "c4/2522f0", "convert", "sub-01_ses-01"),
    ("cached", "72/0a1b2c", "mask", "sub-03"),
    ("failed", "b8/66df4e", "", ""),
    ("retried", "07/c88b53", "", ""),
    ("submitted", "a1/fa8d49", "tensor", "sub-04"),
    ("failed", "ca/81f85c", "", ""),
    ("submitted", "95/cecf4d", "publish", "sub-01_ses-01"),
    ("submitted", "96/cecf4d", "report", ""),
    *[("text", "", "", "")] * 5,
]


def test_real_lines_are_understood() -> None:
    found = [parse(line) for line in PRINTED.splitlines()]
    assert [(e.what, e.work, e.step, e.unit) for e in found] == UNDERSTOOD
    assert found[0].text == "24.10.0"
    assert found[-4].text == ""
    assert found[11].text.startswith("ERROR ~ Error executing process")


@pytest.mark.parametrize(
    "line", ["", "[", "[ab/cdef12]", "[ab/cdef12] NOTE:", "\x1b[1A", "é" * 999]
)
def test_anything_else_is_text(line: str) -> None:
    assert parse(line) == Event("text", text=line)


@pytest.fixture
def printing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a nextflow first on PATH that prints its arguments, locale and folder, in Latin 1."""
    path = tmp_path / "bin" / "nextflow"
    path.parent.mkdir()
    path.write_text(
        "#!/bin/sh\necho 'N E X T F L O W  ~  version 24.10.0'\n"
        'printf "%s\\n" "$LC_ALL|$LANG" "$NXF_ANSI_LOG" "$PWD" "$PATH" "$*"\n'
        'printf "caf\\351\\n"\n'
    )
    path.chmod(0o755)
    monkeypatch.setattr(engine, "search_path", lambda: f"{path.parent}:{os.defpath}")
    return path


@pytest.mark.parametrize(
    ("given", "locale"),
    [
        ({}, "C.UTF-8|"),
        ({"LC_ALL": "C"}, "C.UTF-8|"),
        ({"LANG": "en_US.ISO-8859-1"}, "C.UTF-8|en_US.ISO-8859-1"),
        ({"LANG": "de_DE.UTF-8"}, "|de_DE.UTF-8"),
        ({"LC_ALL": "fr_FR.utf8", "LANG": "C"}, "fr_FR.utf8|C"),
    ],
)
def test_nextflow_starts_in_its_folder_with_a_locale_that_has_all_file_names(
    printing: Path,
    tmp_path: Path,
    given: dict[str, str],
    locale: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    process = engine.start(["run", "a b"], tmp_path / "launch", [])
    said = [event.text for event in engine.events(process)]
    process.wait()
    folder = str(tmp_path / "launch")
    path = f"{printing.parent}:{os.defpath}"
    assert said == ["24.10.0", locale, "false", folder, path, "run a b", "caf\ufffd"]


def test_an_inherited_descriptor_stays_open_in_nextflow(printing: Path, tmp_path: Path) -> None:
    printing.write_text("#!/bin/sh\nreadlink /proc/self/fd/$2\n")
    with (tmp_path / "lock").open("w") as file:
        process = engine.start(["run", str(file.fileno())], tmp_path, [file.fileno()])
        assert [event.text for event in engine.events(process)] == [file.name]
        process.wait()


def test_no_nextflow_is_a_matter_of_set_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "search_path", lambda: str(tmp_path))
    with pytest.raises(Failure) as caught:
        engine.nextflow()
    assert caught.value.category is Category.CONFIG
    assert caught.value.remedy


def test_the_tools_python_comes_first_on_the_path() -> None:
    assert engine.search_path().split(os.pathsep)[0] == str(Path(sys.executable).parent)


def test_the_pipeline_lies_in_the_checkout_else_where_it_was_installed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine.pipeline() == root / "main.nf"
    monkeypatch.setattr(engine, "PACKAGE", tmp_path / "lib" / "cohortflow")
    monkeypatch.setattr(engine.sysconfig, "get_path", lambda _name: str(tmp_path))
    with pytest.raises(Failure, match="main"):
        engine.pipeline()
    installed = tmp_path / "share" / "cohortflow" / "main.nf"
    installed.parent.mkdir(parents=True)
    installed.touch()
    assert engine.pipeline() == installed
