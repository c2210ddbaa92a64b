"""Saving: a reader sees all of a file or folder, or what was there before, or nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cohortflow.core import save


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for value in ({"a": 1}, {"b": "é"}):
        save.write_json(path, value)
        assert json.loads(path.read_text(encoding="utf-8")) == value
    assert path.read_bytes().endswith(b"\n")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_what_json_cannot_hold_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    save.write_json(path, 1)
    with pytest.raises(ValueError, match="JSON"):
        save.write_json(path, float("nan"))
    assert path.read_text() == "1\n"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_crash_in_the_middle_of_a_file_leaves_the_old_one(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def crash() -> None:
        with save.file(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        crash()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_crash_in_the_middle_of_a_folder_leaves_nothing(
    tmp_path: Path, error: type[BaseException]
) -> None:
    def crash() -> None:
        with save.folder(tmp_path / "out") as partial:
            (partial / "half.txt").write_text("half")
            raise error

    with pytest.raises(error):
        crash()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    with save.folder(target) as partial:
        (partial / "a").write_text("a")
        assert not target.exists()
    assert [p.name for p in target.parent.iterdir()] == ["out"]
    assert (target / "a").read_text() == "a"


def test_a_folder_with_files_is_replaced_only_on_request(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    with save.folder(target) as partial:  # an empty one is no loss
        (partial / "old").write_text("old")
    with pytest.raises(FileExistsError), save.folder(target):
        pass
    assert (target / "old").read_text() == "old"
    with save.folder(target, overwrite=True) as partial:
        (partial / "new").write_text("new")
    assert [p.name for p in target.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_crash_while_replacing_a_folder_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with save.folder(target) as partial:
        (partial / "old").write_text("old")
    with pytest.raises(RuntimeError), save.folder(target, overwrite=True) as partial:
        raise RuntimeError
    assert [p.name for p in target.iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("mask", "of_file", "of_folder"), [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750)]
)
def test_the_umask_is_respected(tmp_path: Path, mask: int, of_file: int, of_folder: int) -> None:
    with umask(mask):
        save.write_text(tmp_path / "file", "x")
        with save.folder(tmp_path / "folder"):
            pass
        assert os.umask(mask) == mask  # reading it must not change it
    assert (tmp_path / "file").stat().st_mode & 0o777 == of_file
    assert (tmp_path / "folder").stat().st_mode & 0o777 == of_folder


def test_without_renameat2_folders_change_places_all_the_same(
    tmp_path: Path, no_exchange: None
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.mkdir()
        (path / "name").write_text(path.name)
    save.exchange(one, other)
    assert ((one / "name").read_text(), (other / "name").read_text()) == ("other", "one")
    assert len(list(tmp_path.iterdir())) == 2


WRITE_FILE = """
import itertools, sys
from pathlib import Path
from cohortflow.core import save
print("ready", flush=True)
for letter in itertools.cycle("ab"):
    save.write_text(Path(sys.argv[1]), letter * 300_000)
"""
WRITE_FOLDER = """
import itertools, sys
from pathlib import Path
from cohortflow.core import save
print("ready", flush=True)
for letter in itertools.cycle("ab"):
    with save.folder(Path(sys.argv[1]), overwrite=True) as partial:
        for name in range(20):
            (partial / str(name)).write_text(letter * 100)
"""


def whole_file(path: Path) -> bool:
    text = path.read_text()
    return len(text) == 300_000 and len(set(text)) == 1


def whole_folder(path: Path) -> bool:
    texts = {p.read_text() for p in path.iterdir()}
    return len(list(path.iterdir())) == 20 and len(texts) == 1 and len(texts.pop()) == 100


@pytest.mark.parametrize(
    ("program", "whole"), [(WRITE_FILE, whole_file), (WRITE_FOLDER, whole_folder)]
)
def test_a_kill_at_any_moment_leaves_old_or_new(
    tmp_path: Path, environment: dict[str, str], program: str, whole: Callable[[Path], bool]
) -> None:
    moments = random.Random(1)
    path = tmp_path / "target"
    for _ in range(8):
        command = [sys.executable, "-c", program, str(path)]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            while not path.exists():
                time.sleep(0.001)
            time.sleep(moments.random() * 0.05)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert whole(path)
