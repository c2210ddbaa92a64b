"""A full quota is one line that says so, and nothing half-made is left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def test_a_full_quota_is_told_in_one_line(
    make_study: Callable[..., Path], root: Path, tmp_path: Path
) -> None:
    study = make_study(tmp_path / "study", "01")
    image = study / "sub-01" / "dwi" / "sub-01_dwi.nii.gz"
    out = tmp_path / "out"
    out.mkdir()
    inject = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=mkdir"]
    inject += ["-e", "inject=mkdir:error=EDQUOT"]
    tool = [sys.executable, root / "bin" / "dwi-convert", image, "--output", out / "convert"]
    done = subprocess.run(
        [*inject, *tool, "--unit", "sub-01"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 73, done.stderr
    assert done.stderr.startswith("ERROR OUTPUT_WRITE sub-01 ")
    assert "Disk quota exceeded: free space" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(out.iterdir()) == []
