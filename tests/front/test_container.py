"""A container profile is refused at once when its runtime or image is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from cohortflow.core.outcome import Category, Failure
from cohortflow.front import container


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(folder: Path, name: str, status: int) -> None:
    (folder / name).write_text(f"#!/bin/sh\nexit {status}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("profile", ["", "standard", "slurm", "slurm,podman", "podman,mine"])
def test_without_a_runtime_or_with_a_scheduler_nothing_is_asked(
    profile: str, programs: Path
) -> None:
    container.check(profile, "dwi")


@pytest.mark.parametrize(
    ("profile", "program"), [("podman", "podman"), ("charliecloud,standard", "ch-run")]
)
def test_a_runtime_that_is_not_installed_is_named(
    profile: str, program: str, programs: Path
) -> None:
    with pytest.raises(Failure, match=f"{program} is not installed") as raised:
        container.check(profile, "dwi")
    assert raised.value.category is Category.CONFIG


def test_an_image_that_is_not_there_is_named_with_the_way_to_make_it(programs: Path) -> None:
    install(programs, "podman", 1)
    with pytest.raises(Failure, match=r"localhost/cohortflow-dwi:[0-9a-f]{12} is not") as raised:
        container.check("podman", "dwi")
    assert raised.value.remedy == "run `make images`"


def test_with_runtime_and_image_the_run_goes_on(programs: Path) -> None:
    install(programs, "podman", 0)
    container.check("podman", "dwi")


@pytest.mark.parametrize("name", ["a:b", "a$b", 'a"b'])
def test_a_path_that_cannot_be_mounted_is_refused(name: str, tmp_path: Path) -> None:
    for profile in ("podman", "slurm,podman"):
        with pytest.raises(Failure, match="podman cannot mount") as raised:
            container.check(profile, "dwi", [tmp_path, tmp_path / name])
        assert raised.value.category is Category.USAGE


def test_a_path_with_a_space_or_an_apostrophe_is_taken(programs: Path) -> None:
    install(programs, "podman", 0)
    container.check("podman", "dwi", [programs / "it's a folder"])


def test_another_image_of_a_site_is_not_asked_for(programs: Path) -> None:
    install(programs, "podman", 1)
    container.check("podman", "dwi", own_image=False)
