"""What is not found is refused with a picture; what is of another series is not taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from cohortflow.dwi import cst, field_of_view, register, tract_lane
from cohortflow.dwi.made import Made
from dwi import small, toy_tract
from dwi.toy_tract import AFFINE, SHAPE, pack


def astray() -> list[np.ndarray]:
    """Return streamlines that never reach the motor cortex."""
    return [points[points[:, 2] < 40] for points in toy_tract.bundle("left")]


def test_a_brain_without_a_tract_is_refused_with_a_picture(tmp_path: Path) -> None:
    files = toy_tract.write(tmp_path / "in", pack(astray()))
    path = next(files.track.glob("dwi/*.trk"))
    words = [path, *files.made, "--output", tmp_path / "cst"]
    ended = small.tool("dwi-cst", words)
    assert ended.exit_code == 65, ended.output
    assert f"look at {tmp_path / 'cst-refused.png'}; " in ended.output
    with Image.open(tmp_path / "cst-refused.png") as picture:
        assert picture.width > 500
    (tmp_path / "cst-refused.png").unlink()
    assert small.tool("dwi-cst", [*words, "--dry-run"]).exit_code == 65
    assert [one.name for one in tmp_path.iterdir()] == ["in"]


def test_streamlines_of_another_grid_are_refused(tmp_path: Path) -> None:
    files = toy_tract.write(tmp_path / "in", pack(toy_tract.bundle("left")))
    path = next(files.track.glob("dwi/*.trk"))
    moved = AFFINE.copy()
    moved[2, 3] += 6
    toy_tract.streamlines.write_trk(path, pack(toy_tract.bundle("left")), moved, SHAPE)
    ended = small.tool("dwi-cst", [path, *files.made, "--output", tmp_path / "cst"])
    assert ended.exit_code == 65, ended.output
    assert f"{path}: does not fit the other images of the series" in ended.output


def test_a_file_behind_a_link_has_the_name_of_the_link(tmp_path: Path) -> None:
    """As in a DataLad dataset, whose files are links to names of another kind."""
    files = toy_tract.write(tmp_path / "in", pack(toy_tract.bundle("left")))
    fa = next(files.tensor.glob("dwi/*param-FA*"))
    fa.rename(tmp_path / "key")
    fa.symlink_to(tmp_path / "key")
    assert Made([files.tensor]).prefix() == "sub-01"
    assert Made([files.tensor, files.tensor]).need("param-FA_dwimap.nii.gz") == fa


def test_the_report_holds_numbers_against_the_limits_that_refuse() -> None:
    limits = {gate.metric: gate.least for gate in tract_lane.GATES}
    assert limits == {
        "register_affine_correlation": register.AFFINE_CORRELATION_LEAST,
        "register_correlation": register.CORRELATION_LEAST["syn"],
        "register_brainstem_inside": field_of_view.BRAINSTEM_LEAST,
        "register_motor_left_inside": field_of_view.MOTOR_LEAST,
        "register_motor_right_inside": field_of_view.MOTOR_LEAST,
        "left_n_streamlines": cst.LEAST,
        "right_n_streamlines": cst.LEAST,
    }
