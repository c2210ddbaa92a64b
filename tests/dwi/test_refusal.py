"""A series that is refused is drawn: by discovery, or by the step that refuses it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cohortflow.core import refused as engine
from cohortflow.core.manifest import Excluded, Input, Unit
from cohortflow.core.outcome import Category
from cohortflow.dwi import discover, mosaic, refusal, refused
from cohortflow.dwi.gradients import Gradients
from dwi import small
from dwi.small import BVALS, BVECS

FEW = np.vstack([BVECS[:6], BVECS[1:2]])
B0_ONLY = np.zeros(7)


def opened(content: bytes | None) -> Image.Image:
    assert content is not None
    assert len(content) < engine.MOST_BYTES
    return Image.open(io.BytesIO(content), formats=["PNG"])


def unit_of(study: Path) -> Unit:
    (found,) = discover.discover(study)
    return found


@pytest.mark.parametrize(
    ("bvals", "bvecs"),
    [(BVALS, FEW), (B0_ONLY, BVECS), (BVALS, BVECS * 2), (BVALS[:5], BVECS[:5])],
    ids=["five directions", "b = 0 only", "not of unit length", "too few rows"],
)
@pytest.mark.parametrize("name", ["sub-01_dwi", "sub-01_ses-a_acq-x_dwi"])
def test_gradients_that_discovery_refuses_are_drawn(
    tmp_path: Path, bvals: np.ndarray, bvecs: np.ndarray, name: str
) -> None:
    small.nifti(tmp_path, name, bvals=bvals, bvecs=bvecs)
    unit = unit_of(tmp_path)
    assert unit.excluded is not None
    picture = refused.picture(unit, tmp_path)
    assert opened(picture).width == mosaic.WIDTH
    assert refused.picture(unit, tmp_path) == picture, "the same bytes again"


def test_a_unit_of_a_manifest_is_drawn_by_its_own_inputs(tmp_path: Path) -> None:
    path = small.nifti(tmp_path / "elsewhere", bvecs=None)
    bad = tmp_path / "bad.bvec"
    np.savetxt(bad, FEW.T)
    said = f"{path}: 5 distinct diffusion directions, a tensor needs 6"
    unit = Unit(
        id="sub-01",
        folder="sub-01",
        inputs=[Input(role="dwi", path=str(path)), Input(role="bvec", path=str(bad))],
        excluded=Excluded(category=Category.DATA_INVALID, message=said),
    )
    assert opened(refused.picture(unit, tmp_path)).width == mosaic.WIDTH


def test_what_is_refused_for_something_else_is_not_drawn(tmp_path: Path) -> None:
    small.nifti(tmp_path, bvecs=None)
    assert refused.picture(unit_of(tmp_path), tmp_path) is None
    small.nifti(tmp_path, bvecs=FEW)
    unit = unit_of(tmp_path)
    other = Excluded(category=Category.DATA_INVALID, message="2 diffusion images, one is needed")
    assert refused.picture(unit.model_copy(update={"excluded": other}), tmp_path) is None
    small.nifti(tmp_path)
    assert refused.picture(unit, tmp_path) is None, "the files were corrected in between"
    assert refused.picture(unit_of(tmp_path), tmp_path) is None, "nothing was refused"


@pytest.mark.parametrize("kind", ["nifti", "dicom"])
def test_a_conversion_leaves_a_picture_and_nothing_else(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "study"
    if kind == "nifti":
        source = small.nifti(source, bvals=B0_ONLY)
    else:
        small.dicom(source, volumes=6)  # five directions
    call = [source, "--output", tmp_path / "out" / "convert", "--prefix", "sub-01"]
    tried = small.tool("dwi-convert", [*call, "--dry-run"])
    assert not (tmp_path / "out").exists()
    done = small.tool("dwi-convert", call)
    assert done.exit_code == 65
    assert "distinct diffusion directions" in done.stderr
    assert kind == "dicom" or tried.exit_code == 65
    assert small.tree(tmp_path / "out") == ["convert-refused.png"]
    picture = engine.of_task(tmp_path / "out")
    assert picture is not None
    assert opened(picture.read_bytes()).width == mosaic.WIDTH


def test_a_table_that_is_wrong_in_any_way_can_be_drawn() -> None:
    rng = np.random.default_rng(3)
    for bvals in (np.zeros(0), np.array([np.nan, -5, np.inf, 1e9]), rng.uniform(0, 4000, 90)):
        bvecs = rng.normal(size=(len(bvals), 3)) * rng.choice([0, 1, np.nan], (len(bvals), 1))
        drawn = refusal.draw_table("a name", Gradients(bvals, bvecs), "word " * 200)
        assert drawn.width == mosaic.WIDTH


def test_each_direction_has_its_place_and_shells_their_colours() -> None:
    """One direction more is one marker more in each of the three views."""
    eye = np.eye(3)

    def marked(rows: int, bval: float) -> int:
        table = Gradients(np.full(rows, bval), eye[:rows])
        pixels = np.asarray(refusal.draw_table("x", table, "y"))
        below, spheres = pixels[:70], pixels[80:380]
        assert below.any()
        blue = (spheres == (86, 180, 233)).all(axis=-1)
        return int(blue.sum())

    one, two, three = (marked(rows, 1000) for rows in (1, 2, 3))
    assert 0 < one < two < three
