"""Flipped and swapped b-vectors are found and named, and nothing is found where nothing is."""

from __future__ import annotations

import json
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohortflow.core import refused
from cohortflow.dwi import arrangements, coherence, gradients, mask, orient, series, tensor
from cohortflow.dwi.arrangements import ARRANGEMENTS, Arrangement, Frame
from cohortflow.dwi.coherence import Orientation
from cohortflow.example.phantom import make_phantom
from dwi import scans

WRONG = [arrangement for arrangement in ARRANGEMENTS if arrangement.name != "as given"]
HELD_OUT = range(100, 110)
"""Phantoms that nothing was tuned on (seeds 1 to 5 were), LAS and RAS, tilted in all ways."""


def found_in(
    data: series.Series,
    brain: np.ndarray,
    maps: tensor.Maps,
    ways: tuple[Frame, ...] = ARRANGEMENTS,
) -> list[str]:
    """Name what is found when the b-vectors are wrong in each of the ways."""
    return [
        result.name if result.certain else f"uncertain: {result.name}"
        for result in (orient.check(data, turned(maps, arrangement), brain) for arrangement in ways)
    ]


def turned(maps: tensor.Maps, arrangement: Frame) -> tensor.Maps:
    """Return what the fit would give with b-vectors that are wrong in this way."""
    import dataclasses

    principal = (maps.principal @ arrangement.matrix.T).astype(np.float32)
    return dataclasses.replace(maps, principal=principal)


@pytest.mark.parametrize("seed", HELD_OUT)
def test_every_flip_and_swap_and_world_axes_are_found_and_named(seed: int) -> None:
    tilt = (seed % 7 * 4 - 12, seed % 5 * 5 - 10, seed % 3 * 8 - 8)
    axes = "RAS" if seed % 2 else "LAS"
    scan = scans.phantom(seed, voxel_size=3.5, axes=axes, tilt=tilt, directions=12)
    data = scans.as_series(scan)
    maps = tensor.compute(data, scan.mask)
    ways = arrangements.of_image(scan.affine)
    assert found_in(data, scan.mask, maps, ways) == [way.name for way in ways]


def test_the_fit_with_wrong_vectors_is_the_turned_fit() -> None:
    """What the test above relies on: turning the eigenvectors equals fitting again."""
    scan = scans.phantom(21)
    data = scans.as_series(scan)
    maps = tensor.compute(data, scan.mask)
    sure = maps.fa > 0.4
    for arrangement in (WRONG[0], WRONG[5], WRONG[-1]):
        given = gradients.Gradients(scan.bvals, scan.bvecs @ arrangement.matrix.T)
        fitted = tensor.compute(series.Series(**{**vars(data), "gradients": given}), scan.mask)
        expected = turned(maps, arrangement).principal[sure]
        cosine = np.abs((fitted.principal[sure] * expected).sum(axis=-1))
        assert cosine.min() > 0.999
        assert np.abs(fitted.fa - maps.fa).max() < 1e-4
        assert orient.check(data, fitted, scan.mask).name == arrangement.name


@pytest.mark.shared_data
@pytest.mark.parametrize("name", [*scans.TOSHIBA, "philips"])
def test_real_scans_are_as_given_and_would_be_found_wrong(real: dict[str, Path], name: str) -> None:
    data = scans.loaded(real[name])
    brain = mask.compute(data).mask
    maps = tensor.compute(data, brain)
    # as given, flips, swaps and both, and the world's axes where they are others
    ways = (*ARRANGEMENTS[::5], *arrangements.of_image(data.affine)[24:])
    assert found_in(data, brain, maps, ways) == [arrangement.name for arrangement in ways]


def shuffled(data: series.Series, rng: np.random.Generator, kind: str) -> gradients.Gradients:
    """Return a table that is no arrangement of the axes: its directions are not the volumes'."""
    weighted = np.flatnonzero(~data.gradients.b0)
    bvecs = data.gradients.bvecs.copy()
    if kind == "rolled":
        bvecs[weighted] = np.roll(bvecs[weighted], 1, axis=0)
    elif kind == "permuted":
        bvecs[weighted] = bvecs[rng.permutation(weighted)]
    else:
        drawn = rng.normal(size=(len(weighted), 3))
        bvecs[weighted] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return gradients.Gradients(data.gradients.bvals, bvecs)


def found_with(data: series.Series, brain: np.ndarray, table: gradients.Gradients) -> Orientation:
    other = series.Series(**{**vars(data), "gradients": table})
    return orient.check(other, tensor.compute(other, brain), brain)


def test_tables_of_other_volumes_are_refused_and_right_ones_never() -> None:
    """Measured on 30 phantoms of SNR 8 to 40: 124 of 150 permuted tables, no right one of 160."""
    hopeless, taken, tables = 0, 0, 0
    for seed in range(700, 704):
        rng = np.random.default_rng(seed)
        scan = make_phantom(
            seed,
            snr=float(rng.uniform(12, 40)),
            voxel_size=3.5,
            directions=int(rng.choice([6, 12, 24])),
            tilt=tuple(rng.uniform(-25, 25, 3)),
            axes=("LAS", "RAS")[seed % 2],
        )
        data = scans.as_series(scan)
        right = found_with(data, scan.mask, data.gradients)
        assert (right.name, right.certain, right.hopeless) == ("as given", True, False)
        for kind in ("rolled", "permuted", "permuted", "random"):
            found = found_with(data, scan.mask, shuffled(data, rng, kind))
            hopeless += found.hopeless
            taken += found.certain
            tables += 1
    assert hopeless >= 0.7 * tables
    assert taken <= 0.1 * tables


@pytest.mark.shared_data
@pytest.mark.parametrize("name", scans.TOSHIBA[::2])
def test_real_scans_with_the_directions_of_other_volumes_are_refused(
    real: dict[str, Path], name: str
) -> None:
    data = scans.loaded(real[name])
    brain = mask.compute(data).mask
    rng = np.random.default_rng(40)
    found = [
        found_with(data, brain, shuffled(data, rng, kind))
        for kind in ("rolled", "permuted", "permuted", "random", "random")
    ]
    assert sum(one.hopeless for one in found) >= 4
    assert not any(one.hopeless and one.wrong for one in found)


@pytest.mark.parametrize("snr", [2.5, 4.0, 6.0])
def test_noise_refuses_nothing(snr: float) -> None:
    """In a scan of which nothing can be told, nothing is."""
    scan = make_phantom(720, snr=snr, voxel_size=4.0, directions=6, tilt=(12, -9, 15), motion=1.0)
    data = scans.as_series(scan)
    found = found_with(data, scan.mask, data.gradients)
    assert not found.hopeless
    assert not found.wrong


def test_the_worlds_axes_are_a_frame_of_oblique_images_alone() -> None:
    for tilt in ((0, 0, 0), (3, 0, 0), (0, 2, -3)):
        for axes in ("LAS", "RAS"):
            affine = scans.phantom(21, 6.0, axes, tilt).affine
            assert arrangements.of_image(affine) == ARRANGEMENTS
    scan = scans.phantom(21, 6.0, "RAS", (10, -6, 4))
    world, dicom = arrangements.of_image(scan.affine)[24:]
    assert np.allclose(scan.bvecs @ world.matrix.T, scan.gradients)
    assert np.allclose(scan.bvecs @ dicom.matrix.T, scan.gradients * [-1, -1, 1])


def test_angles_between_frames_know_no_sign() -> None:
    given, flip = ARRANGEMENTS[0].matrix, ARRANGEMENTS[1].matrix
    assert arrangements.angle(given, -given) == pytest.approx(0, abs=1e-3)
    assert arrangements.angle(given, flip) == pytest.approx(180)
    others = [arrangements.angle(given, one.matrix) for one in ARRANGEMENTS[1:]]
    assert min(others) == pytest.approx(90)


def test_names_are_24_and_say_what_is_wrong_with_the_file() -> None:
    named = {arrangement.name: arrangement for arrangement in ARRANGEMENTS}
    assert len(named) == 24
    truth = np.array([1.0, 2.0, 3.0])
    for name, expected in {
        "as given": [1, 2, 3],
        "x flipped": [-1, 2, 3],
        "y flipped": [1, -2, 3],
        "z flipped": [1, 2, -3],
        "x and y swapped": [2, 1, 3],
        "x and z swapped, y flipped": [3, -2, 1],
        "axes in the order y, z, x": [2, 3, 1],
        "axes in the order z, x, y, x flipped": [-3, 1, 2],
    }.items():
        assert (named[name].matrix @ truth).tolist() == expected, name


@pytest.mark.parametrize("arrangement", ARRANGEMENTS, ids=lambda a: a.name)
def test_rows_tell_how_to_correct_the_file(arrangement: Arrangement) -> None:
    truth = np.array([1.0, 2.0, 3.0])
    wrong = dict(zip("xyz", arrangement.matrix @ truth, strict=True))
    rows = arrangement.rows.split(", ")
    corrected = [-wrong[row[1]] if row[0] == "-" else wrong[row] for row in rows]
    assert corrected == truth.tolist()


def test_arrangements_are_all_there_are() -> None:
    """Signed permutations are 48; half differ by the global sign that no tensor sees."""
    matrices = {tuple(a.matrix.ravel() * s) for a in ARRANGEMENTS for s in (1, -1)}
    assert len(matrices) == 48


def test_nothing_is_certain_without_white_matter() -> None:
    shape = (12, 12, 12)
    principal = np.zeros((*shape, 3), np.float32)
    principal[..., 0] = 1
    full = np.ones(shape, dtype=bool)
    for fa, where in ((0.1, full), (0.6, np.zeros(shape, dtype=bool))):
        result = coherence.check(principal, np.full(shape, fa), where, np.full(3, 2.0))
        assert (result.certain, result.name, result.voxels) == (False, "as given", 0)


def test_nothing_is_certain_in_noise() -> None:
    shape = (30, 30, 30)
    rng = np.random.default_rng(5)
    for _ in range(20):
        principal = rng.normal(size=(*shape, 3))
        principal /= np.linalg.norm(principal, axis=-1, keepdims=True)
        result = coherence.check(
            principal, rng.uniform(0.3, 0.6, shape), np.ones(shape, dtype=bool), np.full(3, 2.0)
        )
        assert not result.wrong


def test_scores_are_shares_and_anisotropic_voxels_do_not_mislead() -> None:
    """Straight fibres along y in voxels that are long in z: a swap would follow the long axis."""
    shape = (40, 40, 40)
    x, _, z = np.indices(shape)
    inside = (x // 4 + z // 4) % 2 == 0  # bars along y
    principal = np.zeros((*shape, 3))
    principal[..., 1] = 1
    result = coherence.check(
        principal, np.where(inside, 0.7, 0.0), inside, np.array([2.0, 2.0, 5.0])
    )
    assert result.score_given > 0.8
    assert 0 < result.score_given <= result.score_best <= 1


def test_is_fast() -> None:
    shape = (80, 80, 40)
    rng = np.random.default_rng(2)
    principal = rng.normal(size=(*shape, 3)).astype(np.float32)
    principal /= np.linalg.norm(principal, axis=-1, keepdims=True)
    fa = rng.uniform(0, 0.6, shape).astype(np.float32)
    inner = np.zeros(shape, dtype=bool)
    inner[15:65, 15:65, 5:35] = True
    start = time.process_time()
    coherence.check(principal, fa, inner, np.full(3, 2.0))
    assert time.process_time() - start < 3


PREPROC = "dwi/sub-01_desc-preproc_dwi"


@pytest.fixture(scope="module")
def flipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Write a scan whose b-vectors are wrong, and its mask."""
    folder = tmp_path_factory.mktemp("flipped")
    scan = scans.phantom(21)
    wrong = next(a for a in ARRANGEMENTS if a.name == "x and z swapped, y flipped")
    dwi = scans.written(scan, folder / "dwi", scan.bvecs @ wrong.matrix.T)
    inside = folder / "sub-01_desc-brain_mask.nii.gz"
    nib.save(nib.Nifti1Image(scan.mask.astype(np.uint8), scan.affine), inside)
    return dwi, inside


def orientated(flipped: tuple[Path, Path], output: Path, *words: str) -> dict[str, object]:
    """Run the tool; return its metrics."""
    done = scans.tool("dwi-orient", flipped[0], "--mask", flipped[1], "--output", output, *words)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads((output / "metrics.json").read_text())
    return found | {"stderr": done.stderr}


def test_wrong_vectors_are_corrected_and_it_is_said(
    flipped: tuple[Path, Path], tmp_path: Path
) -> None:
    found = orientated(flipped, tmp_path / "one", "--unit", "sub-01")
    assert found["gradient_orientation"] == "x and z swapped, y flipped"
    assert found["gradient_corrected"] == "yes"
    assert str(found["stderr"]).startswith("WARNING sub-01 the b-vectors of sub-01_desc-converted")
    assert np.allclose(np.loadtxt(tmp_path / "one" / f"{PREPROC}.bvec").T, scans.phantom(21).bvecs)
    fields = json.loads((tmp_path / "one" / f"{PREPROC}.json").read_text())
    assert fields["Preprocessing"][-1]["BvecRowsWritten"] == "z, -y, x"
    orientated(flipped, tmp_path / "two", "--threads", "2")
    assert scans.tree(tmp_path / "one") == scans.tree(tmp_path / "two")
    assert set(scans.tree(tmp_path / "one")) == {
        *(f"{PREPROC}.{end}" for end in ("nii.gz", "bval", "bvec", "json")),
        "figures/sub-01_desc-orient_dwi.png",
        "metrics.json",
    }


def test_the_image_stays_as_it_was(flipped: tuple[Path, Path], tmp_path: Path) -> None:
    orientated(flipped, tmp_path / "one")
    before, after = nib.load(flipped[0]), nib.load(tmp_path / "one" / f"{PREPROC}.nii.gz")
    assert np.array_equal(np.asarray(before.dataobj, np.float32), np.asarray(after.dataobj))
    assert np.allclose(before.affine, after.affine)


def test_wrong_vectors_are_refused_or_left_where_asked(
    flipped: tuple[Path, Path], tmp_path: Path
) -> None:
    call = ("dwi-orient", flipped[0], "--mask", flipped[1], "--output", tmp_path / "orient")
    refused = scans.tool(*call, "--unit", "sub-01", "--gradient-check", "refuse")
    assert refused.returncode == 65
    assert refused.stderr.startswith(
        "ERROR DATA_INVALID sub-01 the b-vectors of sub-01_desc-converted_dwi.bvec look "
        "x and z swapped, y flipped (fibre coherence"
    )
    assert "write its rows as z, -y, x, or use --gradient-check correct" in refused.stderr
    assert not (tmp_path / "orient").exists(), "nothing is written"
    given = np.loadtxt(flipped[0].with_name("sub-01_desc-converted_dwi.bvec"))
    warned = orientated(flipped, tmp_path / "warned", "--gradient-check", "warn")
    assert "WARNING" in str(warned["stderr"])
    assert warned["gradient_orientation"] == "x and z swapped, y flipped"
    assert warned["gradient_corrected"] == "no"
    assert np.allclose(np.loadtxt(tmp_path / "warned" / f"{PREPROC}.bvec"), given)
    ignored = orientated(flipped, tmp_path / "off", "--gradient-check", "off")
    assert ignored["gradient_orientation"] is None
    assert np.allclose(np.loadtxt(tmp_path / "off" / f"{PREPROC}.bvec"), given)


def test_vectors_in_world_axes_are_turned_into_the_images(tmp_path: Path) -> None:
    scan = scans.phantom(23, axes="RAS", tilt=(12, -8, 15))
    dwi = scans.written(scan, tmp_path / "dwi", scan.gradients)
    inside = tmp_path / "sub-01_desc-brain_mask.nii.gz"
    nib.save(nib.Nifti1Image(scan.mask.astype(np.uint8), scan.affine), inside)
    found = orientated((dwi, inside), tmp_path / "one")
    assert found["gradient_orientation"] == "in world axes"
    assert found["gradient_corrected"] == "yes"
    written = np.loadtxt(tmp_path / "one" / f"{PREPROC}.bvec").T
    assert np.allclose(written, scan.bvecs, atol=1e-6)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Write a scan with the directions of other volumes, and its mask."""
    folder = tmp_path_factory.mktemp("mixed")
    scan = scans.phantom(22)
    table = shuffled(scans.as_series(scan), np.random.default_rng(1), "permuted")
    dwi = scans.written(scan, folder / "dwi", table.bvecs)
    inside = folder / "sub-01_desc-brain_mask.nii.gz"
    nib.save(nib.Nifti1Image(scan.mask.astype(np.uint8), scan.affine), inside)
    return dwi, inside


@pytest.mark.parametrize("how", ["correct", "refuse"])
def test_vectors_that_fit_in_no_way_are_refused_with_a_picture(
    mixed: tuple[Path, Path], tmp_path: Path, how: str
) -> None:
    call = ("dwi-orient", mixed[0], "--mask", mixed[1], "--output", tmp_path / "orient")
    done = scans.tool(*call, "--unit", "sub-01", "--gradient-check", how)
    assert done.returncode == 65
    assert done.stderr.startswith("ERROR DATA_INVALID sub-01 the b-vectors of sub-01_desc-conv")
    assert "fit the image in no way that can be told" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["orient-refused.png"]
    assert refused.of_task(tmp_path) == tmp_path / "orient-refused.png"
    dry = scans.tool(*call[:-1], tmp_path / "dry" / "orient", "--dry-run")
    assert dry.returncode == 65
    assert not (tmp_path / "dry").exists()


def test_vectors_that_fit_in_no_way_pass_with_a_warning_where_asked(
    mixed: tuple[Path, Path], tmp_path: Path
) -> None:
    found = orientated(mixed, tmp_path / "one", "--gradient-check", "warn")
    assert found["gradient_orientation"] == "cannot be told"
    assert found["gradient_orientation_certain"] == "no"
    assert str(found["stderr"]).count("WARNING") == 1
    given = np.loadtxt(mixed[0].with_name("sub-01_desc-converted_dwi.bvec"))
    assert np.allclose(np.loadtxt(tmp_path / "one" / f"{PREPROC}.bvec"), given)
