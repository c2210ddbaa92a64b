"""Quality control pictures: the right size, the right side, the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cohortflow.dwi import mosaic
from cohortflow.dwi.mosaic import Row

SIDES = {"LAS": (-1, 1, 1), "RAS": (1, 1, 1), "LPS": (-1, -1, 1), "RAI": (1, 1, -1)}


def affine(axes: str, order: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    """Return an affine of 4 mm voxels with axes that point as named, in another order."""
    made = np.eye(4)
    made[:3, :3] = np.diag(SIDES[axes])[:, order] * 4.0
    return made


def scene(axes: str, order: tuple[int, ...] = (0, 1, 2)) -> tuple[np.ndarray, np.ndarray]:
    """Return a mask and colours: red at the patient's left, green in front, blue on top."""
    world = np.zeros((24, 30, 20, 3), np.uint8)  # right, anterior, superior
    world[2:6, 11:19, :, 0] = 255
    world[8:16, 24:28, :, 1] = 255
    world[..., 17:, 2] = 255
    whole = np.zeros(world.shape[:3], dtype=bool)
    whole[2:22, 2:28, 1:19] = True
    for axis, sign in enumerate(SIDES[axes]):
        if sign < 0:
            world, whole = np.flip(world, axis), np.flip(whole, axis)
    return whole.transpose(order), world.transpose(*order, 3)


@pytest.mark.parametrize("axes", SIDES)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_patients_left_is_at_the_viewers_right_and_front_is_up(
    axes: str, order: tuple[int, ...]
) -> None:
    whole, colours = scene(axes, order)
    drawn = mosaic.draw("t", "s", [Row("c", colours)], whole, affine(axes, order), columns=2)
    cells = np.asarray(drawn)[90:-10].astype(int)
    first = cells[:, 14:490]
    red = np.argwhere((first[..., 0] > 200) & (first[..., 1] < 50))
    green = np.argwhere((first[..., 1] > 200) & (first[..., 0] < 50))
    assert red[:, 1].mean() > first.shape[1] * 0.7
    assert green[:, 0].mean() < first.shape[0] * 0.3
    last = cells[:, 510:]
    assert (last[..., 2] > 200).mean() > 0.5, "the last slice is the upper one"
    assert (first[..., 2] > 240).mean() < 0.1


def test_is_1000_pixels_wide_on_a_dark_ground() -> None:
    whole, colours = scene("LAS")
    rows = [Row("FA", colours[..., 0] / 255.0, 1.0, ("0", "1")), Row("colour", colours)]
    drawn = mosaic.draw("sub-01", "text", rows, whole, affine("LAS"))
    assert drawn.width == 1000
    assert 200 < drawn.height < 1500
    assert max(drawn.getpixel((3, 3))) < 40
    assert np.asarray(drawn)[:58].max() > 200, "there is a title"


def test_outline_follows_the_masks_rim() -> None:
    whole, _ = scene("LAS")
    row = Row("b0", np.zeros(whole.shape), 1.0, outline=whole)
    drawn = np.asarray(mosaic.draw("t", "s", [row], whole, affine("LAS"), columns=1))
    lined = np.argwhere((drawn == (255, 176, 0)).all(axis=-1))
    assert len(lined) > 1000
    low, high = lined.min(axis=0), lined.max(axis=0)
    middle = ((lined > low + 12) & (lined < high - 12)).all(axis=1)
    assert not middle.any(), "nothing is drawn but the rim"
    ratio = (high - low)[0] / (high - low)[1]
    assert ratio == pytest.approx(26 / 20, rel=0.05), "voxels keep their shape"


def test_values_are_shown_from_0_to_the_top() -> None:
    low, middle, high = mosaic._colour(np.array([-1.0, 0.5, 7.0]), Row("x", np.zeros(1), 1.0))
    assert low.tolist() == [0, 0, 0]
    assert middle.tolist() == [128, 128, 128]
    assert high.tolist() == [255, 255, 255]
    assert mosaic._colour(np.array([np.nan]), Row("x", np.zeros(1))).max() == 0


def test_same_picture_same_bytes(tmp_path: Path) -> None:
    whole, colours = scene("RAS")
    for name in ("a.png", "b.png"):
        drawn = mosaic.draw("t", "s", [Row("c", colours)], whole, affine("RAS"))
        mosaic.save(tmp_path / name, drawn)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_an_empty_mask_still_gives_a_picture() -> None:
    nothing = np.zeros((10, 12, 8), dtype=bool)
    drawn = mosaic.draw("t", "s", [Row("x", np.zeros(nothing.shape))], nothing, affine("LAS"))
    assert drawn.width == 1000
