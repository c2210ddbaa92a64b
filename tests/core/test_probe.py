"""The first task on a cluster: what it looks at, and what it says."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from cohortflow.core import doctor, probe
from cohortflow.core.outcome import Category, Failure


def test_a_machine_with_all_that_a_lane_needs_is_named(tmp_path: Path) -> None:
    assert probe.probe("dwi", {"study": tmp_path}) == platform.node()
    assert probe.probe("dwi", {"study": None}) == platform.node()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    bare = doctor.Machine(tmp_path, {"PATH": str(tmp_path)}, tmp_path)
    with pytest.raises(Failure) as raised:
        probe.probe("dwi", {}, bare)
    assert raised.value.category is Category.CONFIG
    assert f"{platform.node()} has no dcm2niix" in raised.value.message


def test_a_folder_that_is_not_seen_is_named(tmp_path: Path) -> None:
    for what in ("study", "output folder"):
        with pytest.raises(Failure, match=f"does not see the {what}"):
            probe.probe("dwi", {what: tmp_path / "elsewhere"})


def test_the_tool_says_so_in_one_line(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, root / "bin" / "core-probe", "dwi"]
    good = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(good.stdout) == {"machine": platform.node(), "lane": "dwi"}
    bad = subprocess.run(
        [*command, "--outdir", tmp_path / "x"], capture_output=True, text=True, check=False
    )
    assert bad.returncode == 78
    assert bad.stderr.startswith("ERROR CONFIG - the machine ")
    assert bad.stderr.count("\n") == 1
