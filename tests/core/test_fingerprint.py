"""Fingerprints: an edit changes the tools that import what was edited, and no other."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortflow.core import fingerprint
from cohortflow.core.manifest import Input
from cohortflow.core.outcome import Category, Failure

# A package in small: what each file imports, in every way that Python has.
FILES = {
    "cohortflow/__init__.py": "",
    "cohortflow/core/__init__.py": "",
    "cohortflow/core/names.py": "import re\n",
    "cohortflow/core/save.py": "def f():\n    from cohortflow.core import names\n",
    "cohortflow/core/alone.py": "",
    "cohortflow/lane/__init__.py": "",
    "cohortflow/lane/first.py": "import cohortflow.core.save\n",
    "cohortflow/lane/second.py": "from . import shared\nfrom ..core.names import x\n",
    "cohortflow/lane/shared.py": "if True:\n    try:\n        import numpy\n    except E: pass\n",
    "lane-first": "#!/bin/a\nfrom cohortflow.lane import first\n",
    "lane-second": "#!/bin/a\ndef main():\n    import cohortflow.lane.second as s\n",
}
FIRST, SECOND = {"lane-first"}, {"lane-second"}
BOTH = FIRST | SECOND
REACH = {
    "cohortflow/__init__.py": BOTH,
    "cohortflow/core/__init__.py": BOTH,
    "cohortflow/core/names.py": BOTH,  # by save, which first imports, inside a function
    "cohortflow/core/save.py": FIRST,
    "cohortflow/core/alone.py": set(),
    "cohortflow/lane/__init__.py": BOTH,
    "cohortflow/lane/first.py": FIRST,
    "cohortflow/lane/second.py": SECOND,
    "cohortflow/lane/shared.py": SECOND,
    "lane-first": FIRST,
    "lane-second": SECOND,
}

Fingerprints = Callable[[Path, list[str]], dict[str, str]]


@pytest.fixture
def fingerprints(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fingerprints]:
    """Return a function that fingerprints tools of a copy of the package, read afresh."""

    def forget() -> None:
        fingerprint.code.cache_clear()
        fingerprint._imports.cache_clear()

    def of(base: Path, tools: list[str]) -> dict[str, str]:
        forget()
        monkeypatch.setattr(fingerprint, "PACKAGE", base / "cohortflow")
        return {tool: fingerprint.code(tool) for tool in tools}

    yield of
    forget()


def write_small(base: Path) -> Path:
    for name, text in FILES.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text)
    return base


@pytest.mark.parametrize(("edited", "changed"), REACH.items())
def test_an_edit_changes_what_imports_it(
    tmp_path: Path, fingerprints: Fingerprints, edited: str, changed: set[str]
) -> None:
    base, tools = write_small(tmp_path), ["lane-first", "lane-second"]
    before = fingerprints(base, tools)
    with (base / edited).open("a") as file:
        file.write("y = 1\n")
    after = fingerprints(base, tools)
    assert {tool for tool in tools if before[tool] != after[tool]} == changed


def test_the_same_content_elsewhere_has_the_same_fingerprint(
    tmp_path: Path, fingerprints: Fingerprints
) -> None:
    tools = ["lane-first", "lane-second"]
    here, there = write_small(tmp_path / "a"), write_small(tmp_path / "b")
    assert fingerprints(here, tools) == fingerprints(there, tools)
    installed = there / "lane-first"  # an installer rewrites the first line
    installed.write_text(installed.read_text().replace("#!/bin/a", "#!/opt/env/bin/python"))
    assert fingerprints(here, tools) == fingerprints(there, tools)


def test_a_module_that_takes_anothers_content_is_seen(
    tmp_path: Path, fingerprints: Fingerprints
) -> None:
    base = write_small(tmp_path)
    (base / "cohortflow/lane/first.py").write_text("from cohortflow.core import alone, names\n")
    before = fingerprints(base, ["lane-first"])
    names, alone = base / "cohortflow/core/names.py", base / "cohortflow/core/alone.py"
    content = names.read_text()
    names.write_text(alone.read_text())
    alone.write_text(content)
    assert fingerprints(base, ["lane-first"]) != before


def test_the_packages_own_tools(root: Path, tmp_path: Path, fingerprints: Fingerprints) -> None:
    base = tmp_path / "bin"
    shutil.copytree(root / "bin", base, ignore=shutil.ignore_patterns("__pycache__"))
    tools = sorted(p.name for p in base.iterdir() if p.is_file())
    assert "core-supervise" in tools
    before = fingerprints(base, tools)
    assert len(set(before.values())) == len(tools)
    for edited, certain, never in (
        ("core/supervise.py", "core-supervise", "dwi-mask"),
        ("dwi/mask.py", "dwi-mask", "core-supervise"),
        ("core/outcome.py", "dwi-tensor", ""),
    ):
        path = base / "cohortflow" / edited
        original = path.read_bytes()
        path.write_bytes(original + b"\n# edited\n")
        after = fingerprints(base, tools)
        assert after[certain] != before[certain]
        assert never == "" or after[never] == before[never]
        path.write_bytes(original)
    assert fingerprints(base, tools) == before


def test_an_installed_tool_is_found_on_path(
    tmp_path: Path, fingerprints: Fingerprints, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, scripts = write_small(tmp_path / "a"), tmp_path / "scripts"
    scripts.mkdir()
    before = fingerprints(base, ["lane-first"])
    (base / "lane-first").rename(scripts / "lane-first")
    (scripts / "lane-first").chmod(0o755)
    monkeypatch.setenv("PATH", str(scripts))
    assert fingerprints(base, ["lane-first"]) == before
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Failure) as caught:
        fingerprints(base, ["lane-first"])
    assert caught.value.category is Category.CONFIG


files = st.lists(
    st.builds(
        Input,
        role=st.sampled_from(["image", "side"]),
        path=st.from_regex(r"/[ab]/[ab]\.nii", fullmatch=True),
        bytes=st.integers(0, 3),
        mtime_ns=st.none() | st.integers(0, 3),
    ),
    max_size=4,
)


@given(files=files, data=st.data())
def test_neither_order_nor_place_of_inputs_matters(files: list[Input], data: st.DataObject) -> None:
    moved = [file.model_copy(update={"path": f"/else{file.path}"}) for file in files]
    assert fingerprint.inputs(data.draw(st.permutations(moved))) == fingerprint.inputs(files)


def test_inputs_that_change_folders_among_themselves_are_the_same() -> None:
    one = Input(role="image", path="/a/1.nii", bytes=1)
    other = Input(role="image", path="/b/0.nii", bytes=2)
    changed = [
        one.model_copy(update={"path": "/b/1.nii"}),
        other.model_copy(update={"path": "/a/0.nii"}),
    ]
    assert fingerprint.inputs(changed) == fingerprint.inputs([one, other])


@pytest.mark.parametrize(
    "change",
    [
        {"role": "side"},
        {"path": "/a/other.nii"},
        {"bytes": 2},
        {"mtime_ns": 3},
        {"sha256": "00"},
        {"files": 1},
        {"listing": "00"},
    ],
)
def test_every_fact_of_an_input_counts(change: dict[str, object]) -> None:
    one = Input(role="image", path="/a/1.nii", bytes=1, mtime_ns=1)
    assert fingerprint.inputs([one.model_copy(update=change)]) != fingerprint.inputs([one])
    assert fingerprint.inputs([one, one]) != fingerprint.inputs([one])
