"""Of an image of reversed phase encoding the b=0 volumes are kept, beside the series."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohortflow.dwi import pair_scheme
from cohortflow.dwi.reverse import Files
from dwi import small
from dwi.opposite import (
    AFFINE,
    NEW,
    epi,
    made,
    metrics,
    reversed_series,
    series,
    sidecar,
    told,
    values,
)
from dwi.small import BVECS


def test_only_the_b0_volumes_of_the_reverse_series_are_kept(tmp_path: Path) -> None:
    main = series(tmp_path / "in", PhaseEncodingDirection="j-", TotalReadoutTime=0.05)
    data = np.random.default_rng(11).integers(0, 900, (6, 5, 4, 9)).astype(">i2")
    bvals = np.array([1000, 0, 1000, 1000, 50, 1000, 1000, 1000, 5.0])
    bvecs = np.vstack([BVECS[1:2], BVECS[1:], BVECS[1:3]])
    other = small.nifti(tmp_path / "in", "sub-01_dir-PA_dwi", bvals=bvals, bvecs=bvecs)
    head = nib.Nifti1Header(endianness=">")
    head.set_data_dtype(">i2")
    head["descrip"] = b"Doe, Jane"
    picture = nib.Nifti1Image(data, AFFINE, head)
    picture.header.set_slope_inter(0.5, 3)
    nib.save(picture, other)
    kept = {"PhaseEncodingDirection": "j", "TotalReadoutTime": 0.06, "PatientName": "Doe, Jane"}
    sidecar(other, kept)
    out = made(main, tmp_path / "out", reverse=Files(other))
    path = out / f"{NEW.format('reverse_epi')}.nii.gz"
    assert np.array_equal(values(path), values(other)[..., [1, 4, 8]])
    assert np.array_equal(nib.load(path).affine, AFFINE)
    assert nib.load(path).get_data_dtype() == np.dtype(">i2")
    assert b"Doe" not in gzip.decompress(path.read_bytes())
    fields = told(out, "reverse_epi")
    assert fields["PhaseEncodingDirection"] == "j"
    assert fields["TotalReadoutTime"] == 0.06
    assert fields["Sources"] == ["bids:raw:sub-01/dwi/sub-01_dir-PA_dwi.nii.gz"]
    assert "6 others are not used" in str(fields["Description"])
    assert "Doe" not in json.dumps(fields)
    own = told(out, "converted_dwi")
    assert own["PhaseEncodingDirection"] == "j-"
    assert own["TotalReadoutTime"] == 0.05
    assert own["Warnings"] == [
        "6 weighted volumes of bids:raw:sub-01/dwi/sub-01_dir-PA_dwi.nii.gz are not used"
    ]
    assert "PhaseEncodingDirectionSource" not in own
    assert metrics(out)["reverse_volumes"] == 3
    assert metrics(out)["phase_encoding"] == "j-"
    assert metrics(out)["volumes"] == 7


@pytest.mark.parametrize("volumes", [None, 1, 3])
def test_all_volumes_of_an_image_of_fmap_are_kept(tmp_path: Path, volumes: int | None) -> None:
    data = small.series_data(volumes or 1)
    main = series(tmp_path / "in")
    path = epi(tmp_path / "in", data=data if volumes else data[..., 0])
    out = made(main, tmp_path / "out", reverse=Files(path))
    after = values(out / f"{NEW.format('reverse_epi')}.nii.gz")
    assert np.array_equal(after.reshape(data.shape), data)
    assert told(out, "reverse_epi")["Sources"] == ["bids:raw:sub-01/fmap/sub-01_dir-PA_epi.nii.gz"]
    assert metrics(out)["reverse_volumes"] == (volumes or 1)
    assert metrics(out)["warnings"] == 0


def _nan(path: Path) -> None:
    data = small.series_data(3)
    data[2, 2, 2, 1] = np.nan
    nib.save(nib.Nifti1Image(data, AFFINE), path)


BAD = {
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:900]), "DATA_INVALID", "truncated"),
    "NaN in the head": (_nan, "DATA_INVALID", "1 values in the head"),
    "empty": (
        lambda p: nib.save(nib.Nifti1Image(np.zeros((6, 5, 4, 3)), AFFINE), p),
        "DATA_INVALID", "one value"),
    "absent": (lambda p: p.unlink(), "INPUT_MISSING", "No such file"),
    "same way": (
        lambda p: sidecar(p, {"PhaseEncodingDirection": "j-"}), "DATA_INVALID", "not opposite"),
    "no direction": (
        lambda p: sidecar(p, {"EchoTime": 1}), "DATA_INVALID", "is known of"),
    "bad sidecar": (
        lambda p: p.with_name("sub-01_dir-PA_epi.json").write_text("{"), "DATA_INVALID", "not a"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_the_tool_refuses_a_reverse_image_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    make, category, word = BAD[name]
    main = series(tmp_path / "in", PhaseEncodingDirection="j-")
    path = epi(tmp_path / "in", PhaseEncodingDirection="j")
    make(path)
    arguments = [main, "--output", tmp_path / "out", "--reverse", path]
    done = small.tool("dwi-convert", arguments)
    assert done.stderr.startswith(f"ERROR {category} ")
    assert word in done.stderr
    assert "sub-01_dir-PA_epi" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_tool_takes_sidecars_from_elsewhere_and_repeats_itself(tmp_path: Path) -> None:
    main = series(tmp_path / "in", "sub-01_dwi", PhaseEncodingDirection="j-")
    other = reversed_series(tmp_path / "in", 3)
    bval, text = tmp_path / "b.bval", tmp_path / "s.json"
    bval.write_text("0 1000 0")
    text.write_text('{"PhaseEncodingDirection": "j"}')
    given = ["--reverse", other, "--reverse-bval", bval, "--reverse-json", text]
    for name in ("one", "two"):
        done = small.tool("dwi-convert", [main, "--output", tmp_path / name, *given])
        assert done.exit_code == 0, done.stderr
    assert metrics(tmp_path / "one")["reverse_volumes"] == 2
    for path in (tmp_path / "one").rglob("*.*"):
        assert (
            path.read_bytes()
            == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
        )
    lonely = [main, "--output", tmp_path / "three", "--reverse-bval", bval]
    assert small.tool("dwi-convert", lonely).exit_code == 2
    uid = [main, "--output", tmp_path / "three", "--reverse-series-uid", "1.2"]
    assert small.tool("dwi-convert", uid).exit_code == 2


@pytest.mark.parametrize(
    "timing",
    [
        {"TotalReadoutTime": 0.031},
        {"EffectiveEchoSpacing": 0.0005, "ReconMatrixPE": 96},
    ],
)
def test_each_image_keeps_its_own_readout_time(tmp_path: Path, timing: dict[str, float]) -> None:
    main = series(tmp_path / "in", PhaseEncodingDirection="j-", TotalReadoutTime=0.05)
    other = epi(tmp_path / "in", PhaseEncodingDirection="j", **timing)
    out = made(main, tmp_path / "out", reverse=Files(other))
    assert pair_scheme.readout(told(out, "converted_dwi")) == 0.05
    wanted = pair_scheme.readout(timing)
    assert wanted is not None
    assert pair_scheme.readout(told(out, "reverse_epi")) == wanted


def test_the_tool_refuses_an_image_as_its_own_reverse(tmp_path: Path) -> None:
    main = series(tmp_path)
    done = small.tool("dwi-convert", [main, "--output", tmp_path / "out", "--reverse", main])
    assert done.exit_code == 2
    assert "its own reverse image" in done.stderr
    assert not (tmp_path / "out").exists()
