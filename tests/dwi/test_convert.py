"""Conversion is faithful, repeatable, and refuses what is broken before anything is written."""

from __future__ import annotations

import gzip
import json
import random
import stat
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohortflow.core.outcome import OUTCOMES, Category, Failure
from cohortflow.dwi import convert, dcm2niix, gradients, image, sidecar, voxels
from dwi import small
from dwi.small import BVALS, BVECS

STEM = "dwi/sub-01_desc-converted_dwi"


def converted(source: Path, target: Path, **options: object) -> Path:
    target.mkdir(parents=True)
    convert.convert(source, target, prefix="sub-01", **options)  # type: ignore[arg-type]
    return target


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def fields(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / f"{STEM}.json").read_text()))


def metrics(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "metrics.json").read_text()))


def test_an_image_is_copied_exactly(tmp_path: Path) -> None:
    source = small.nifti(tmp_path / "study")
    out = converted(source, tmp_path / "out")
    assert set(content(out)) == {
        *(f"{STEM}.{end}" for end in ("nii.gz", "bval", "bvec", "json")), "metrics.json",
    }  # fmt: skip
    before, after = nib.load(source), nib.load(out / f"{STEM}.nii.gz")
    assert np.array_equal(before.get_fdata(), after.get_fdata())
    assert np.array_equal(before.affine, after.affine)
    assert before.get_data_dtype() == after.get_data_dtype()
    table = gradients.read(out / f"{STEM}.bval", out / f"{STEM}.bvec")
    given = gradients.read(source.with_name("sub-01_dwi.bval"), source.with_name("sub-01_dwi.bvec"))
    assert np.array_equal(table.bvals, given.bvals)
    assert np.array_equal(table.bvecs, given.bvecs)
    assert metrics(out) == {
        "volumes": 7, "b0_volumes": 1, "b_values": "0;1000", "directions": 6,
        "voxel_size_x": 2.0, "voxel_size_y": 2.0, "voxel_size_z": 2.5, "shape": "6x5x4x7",
        "source_kind": "nifti", "source_files": 1, "series_uid": None,
        "series_description": None, "warnings": 0, "phase_encoding": None, "reverse_volumes": 0,
    }  # fmt: skip
    assert fields(out)["Sources"] == ["bids:raw:sub-01/dwi/sub-01_dwi.nii.gz"]
    assert fields(out)["SkullStripped"] is False


@pytest.mark.parametrize("dtype", ["int16", "uint8", ">i2", "float32", ">f8"])
def test_scaled_and_swapped_values_survive(tmp_path: Path, dtype: str) -> None:
    data = np.asfortranarray((small.series_data() / 3).astype(dtype))
    header = nib.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(dtype)
    picture = nib.Nifti1Image(data, np.diag([2, 2, 2, 1]), header)
    picture.header.set_slope_inter(*((0.5, 10) if "f" not in dtype else (1, 0)))
    source = small.nifti(tmp_path / "study")
    nib.save(picture, source)
    out = converted(source, tmp_path / "out")
    wanted = nib.load(source).get_fdata(dtype=np.float32)
    assert np.array_equal(nib.load(out / f"{STEM}.nii.gz").get_fdata(dtype=np.float32), wanted)
    assert np.array_equal(image.load(out / f"{STEM}.nii.gz")[0], wanted)


@pytest.mark.parametrize("kind", ["nifti", "dicom"])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    for name in ("one", "other"):
        study = tmp_path / name
        source = small.nifti(study) if kind == "nifti" else study / "scans"
        if kind == "dicom":
            small.dicom(source)
        converted(source, tmp_path / f"{name}.out")
    assert content(tmp_path / "one.out") == content(tmp_path / "other.out")


def test_a_plain_image_is_compressed(tmp_path: Path) -> None:
    plain = converted(small.nifti(tmp_path / "a", end=".nii"), tmp_path / "plain")
    packed = converted(small.nifti(tmp_path / "b"), tmp_path / "packed")
    name = f"{STEM}.nii.gz"
    assert (plain / name).read_bytes() == (packed / name).read_bytes()
    assert (plain / name).read_bytes()[3:8] == bytes(5)  # neither name nor time in the header


def test_a_sidecar_keeps_its_fields_but_those_of_the_person(tmp_path: Path) -> None:
    source = small.nifti(tmp_path / "study")
    source.with_name("sub-01_dwi.json").write_text(
        json.dumps(
            {
                "EchoTime": 0.08,
                "SeriesDescription": "DTI",
                "PatientName": "Doe^Jane",
                "PatientPosition": "HFS",
                "AcquisitionDateTime": "2026-01-01",
                "global": {"const": {"PatientBirthDate": "19700203", "FlipAngle": 90}},
            }
        )
    )
    out = converted(source, tmp_path / "out")
    kept = fields(out)
    assert kept["EchoTime"] == 0.08
    assert kept["PatientPosition"] == "HFS"
    assert kept["global"] == {"const": {"FlipAngle": 90}}
    assert "Doe" not in json.dumps(kept)
    assert "AcquisitionDateTime" not in kept
    assert metrics(out)["series_description"] == "DTI"


@pytest.mark.parametrize(
    ("key", "yes"),
    [("PatientName", True), ("Patient's Name", True), ("OtherPatientIDs", True),
     ("ReferringPhysicianName", True), ("OperatorsName", True), ("AccessionNumber", True),
     ("StudyDate", True), ("ImageOrientationPatientDICOM", False), ("PatientPosition", False),
     ("SeriesInstanceUID", False), ("ManufacturersModelName", False)],
)  # fmt: skip
def test_personal_fields_are_told_from_technical_ones(key: str, yes: bool) -> None:
    assert sidecar.personal(key) is yes


def test_texts_and_extensions_of_an_image_are_left_out(tmp_path: Path) -> None:
    source = small.nifti(tmp_path / "study")
    picture = nib.Nifti1Image(small.series_data(), np.eye(4))
    picture.header["descrip"], picture.header["db_name"] = b"Doe, Jane", b"Doe, Jane"
    picture.header["aux_file"] = b"Doe, Jane"
    picture.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Doe, Jane"))
    nib.save(picture, source)
    assert b"Doe" in gzip.decompress(source.read_bytes())
    out = converted(source, tmp_path / "out")
    assert b"Doe" not in gzip.decompress((out / f"{STEM}.nii.gz").read_bytes())
    assert np.array_equal(nib.load(out / f"{STEM}.nii.gz").get_fdata(), picture.get_fdata())


def test_nan_outside_the_head_becomes_zero_with_a_warning(tmp_path: Path) -> None:
    data = small.series_data(shape=(12, 12, 10))
    data[0, :3] = np.nan
    out = converted(small.nifti(tmp_path / "study", data=data), tmp_path / "out")
    after = nib.load(out / f"{STEM}.nii.gz").get_fdata()
    assert np.array_equal(after, np.nan_to_num(data))
    assert fields(out)["Warnings"] == ["210 values outside the head were NaN or infinite, set to 0"]
    assert metrics(out)["warnings"] == 1


@pytest.mark.parametrize(
    "where",
    [
        np.s_[5, 5, 5, 3],  # one value in one volume
        np.s_[5, 5, 5],  # a hole
        np.s_[1:3, 4:7, 4:6],  # an island at the rim of the head
        np.s_[:, :, 4],  # a slice
        np.s_[..., 2],  # a volume
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_in_the_head_is_found_wherever_it_lies(where: object, value: float) -> None:
    data = np.full((12, 12, 10, 7), 3, dtype=np.float32)
    data[2:-2, 2:-2, 2:-2] = 400
    data[where] = value  # type: ignore[index]
    with pytest.raises(Failure, match="in the head"):
        voxels.clean(data, 0.0, Path("x"))


def test_a_masked_image_with_nan_all_around_passes() -> None:
    data = np.full((12, 12, 10, 7), np.nan, dtype=np.float32)
    z, y, x = np.ogrid[:12, :12, :10]
    data[(z - 6) ** 2 + (y - 6) ** 2 + (x - 5) ** 2 < 16] = 400
    assert voxels.clean(data, 0.0, Path("x"))
    assert np.isfinite(data).all()


def test_dicom_in_any_order_gives_the_known_image(tmp_path: Path) -> None:
    paths = small.dicom(tmp_path / "in", patient="Doe^Jane")
    small.dicom(tmp_path / "in", 2, description="t1", volumes=1, weighted=False)
    out = converted(tmp_path / "in", tmp_path / "out")
    picture = nib.load(out / f"{STEM}.nii.gz")
    assert picture.shape == (6, 8, 4, 7)
    assert np.allclose(gradients.read(out / f"{STEM}.bval", out / f"{STEM}.bvec").bvals, BVALS)
    sent = np.stack([_pixels(path) for path in paths], axis=-1).reshape(8, 6, 7, 4)
    wanted = np.flip(sent.transpose(1, 0, 3, 2), axis=1)  # rows go from top to bottom
    assert np.array_equal(picture.get_fdata(), wanted)
    assert metrics(out)["series_uid"] == small.UID.format(1)
    assert metrics(out)["source_files"] == 28
    told = fields(out)
    assert told["SeriesInstanceUID"] == small.UID.format(1)
    assert told["ConversionSoftware"] == "dcm2niix"
    for name, written in content(out).items():
        unpacked = gzip.decompress(written) if name.endswith(".gz") else written
        for secret in (b"Doe", b"4711", b"19700203", b"20260101"):
            assert secret not in unpacked


def _pixels(path: Path) -> np.ndarray:
    import pydicom

    return np.asarray(pydicom.dcmread(path).pixel_array)


def test_gzipped_dicom_is_the_same_series(tmp_path: Path) -> None:
    small.dicom(tmp_path / "plain")
    small.dicom(tmp_path / "packed", compress=True)
    for name in ("plain", "packed"):
        converted(tmp_path / name, tmp_path / f"{name}.out")
    assert content(tmp_path / "plain.out") == content(tmp_path / "packed.out")


def test_a_series_is_chosen_by_its_uid(tmp_path: Path) -> None:
    small.dicom(tmp_path / "in", 1, description="DTI AP")
    small.dicom(tmp_path / "in", 2, description="DTI PA")
    with pytest.raises(Failure, match=r"2 diffusion series.*DTI AP.*DTI PA"):
        convert.prepare(tmp_path / "in")
    with pytest.raises(Failure, match=r"no series 1\.2\.3"):
        convert.prepare(tmp_path / "in", series_uid="1.2.3")
    out = converted(tmp_path / "in", tmp_path / "out", series_uid=small.UID.format(2))
    assert metrics(out)["series_description"] == "DTI PA"


def _program(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Put a script in dcm2niix's place; OUT and IN are its folders."""
    path = folder / "dcm2niix"
    body = 'while [ "$1" != -o ]; do shift; done; OUT=$2; IN=$3\n'
    path.write_text(f"#!/bin/sh\n{body}{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(dcm2niix, "find", lambda: path)


REAL = '"{real}" -g i -z n -b y -f converted -o "$OUT" "$IN"'


@pytest.mark.parametrize(
    ("script", "word"),
    [
        ("kill -SEGV $$", r"crashed \(signal 11\)"),
        ("echo 'Error: odd slices'; exit 1", "failed .Error: odd slices"),
        ("exit 0", "made 0 images"),
        (REAL + '; cp "$OUT/converted.nii" "$OUT/converteda.nii"', "made 2 images"),
        (REAL + '; echo "{" > "$OUT/converted.json"', "not JSON"),
        (REAL + '; rm "$OUT/converted.bvec"', "no diffusion gradients"),
        (REAL + '; head -c 3000 "$OUT/converted.nii" > "$OUT/x"; mv "$OUT/x" "$OUT/converted.nii"',
         "is truncated"),
        (REAL + '; cp "$(dirname "$0")/wrong.nii" "$OUT/converted.nii"',
         "made 3 slices, the headers tell of 4"),
        ("echo 'Warning: half of it'; " + REAL + '; echo "0 1000" > "$OUT/converted.bval"',
         "2 b-values"),
    ],
)  # fmt: skip
def test_dcm2niix_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, word: str
) -> None:
    small.dicom(tmp_path / "in")
    nib.save(nib.Nifti1Image(np.zeros((6, 8, 3, 7)), np.eye(4)), tmp_path / "wrong.nii")
    _program(monkeypatch, tmp_path, script.replace("{real}", str(dcm2niix.find())))
    with pytest.raises(Failure, match=word) as caught:
        converted(tmp_path / "in", tmp_path / "out")
    assert caught.value.category is Category.DATA_INVALID
    assert small.UID.format(1) in caught.value.message
    assert "scratch" not in caught.value.message
    assert small.tree(tmp_path / "out") == []


def test_control_characters_in_a_header_do_no_harm(tmp_path: Path) -> None:
    for path in small.dicom(tmp_path / "in"):
        small.rewrite(path, InstitutionName='Hospital \t "A" \x01')
    assert "Hospital" in str(fields(converted(tmp_path / "in", tmp_path / "out")))


def test_its_warnings_are_kept_with_the_original_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sorted(small.dicom(tmp_path / "in"))[0]
    script = f'echo "Warning: odd $IN/000000.dcm"; {REAL.format(real=dcm2niix.find())}'
    _program(monkeypatch, tmp_path, script)
    out = converted(tmp_path / "in", tmp_path / "out")
    assert fields(out)["Warnings"] == [f"Warning: odd {first.name}"]


def test_without_dcm2niix_the_setup_is_at_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "dcm2niix", None)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failure) as caught:
        dcm2niix.find()
    assert caught.value.category is Category.CONFIG


@pytest.mark.shared_data
@pytest.mark.parametrize("number", [6006, 7006, 8006, 9006, 10006])
def test_a_real_series_has_the_reference_gradients(
    tmp_path: Path, shared_data: Path, number: int
) -> None:
    data = shared_data / "dicom" / "toshiba"
    uid = f"1.2.392.200036.9116.4.2.9143.89.{number + 1}"
    out = converted(data / "In", tmp_path / "out", series_uid=uid)
    (reference,) = (data / "Ref").glob(f"{number}_*.bvec")
    _same_gradients(out, reference)
    assert metrics(out)["shape"] == "64x64x40x13"


@pytest.mark.shared_data
def test_a_real_scrambled_gzipped_series_has_the_reference_gradients(
    tmp_path: Path, shared_data: Path
) -> None:
    data = shared_data / "dicom" / "philips"
    out = converted(data / "In", tmp_path / "out")
    (reference,) = (data / "Ref").glob("*_cl.bvec")
    _same_gradients(out, reference)
    assert metrics(out)["shape"] == "112x112x32x17"
    assert metrics(out)["b0_volumes"] == 5
    written = b"".join(content(out).values())
    assert b"PSM" not in written
    assert b"19690714" not in written


def _same_gradients(out: Path, reference: Path) -> None:
    have = gradients.read(out / f"{STEM}.bval", out / f"{STEM}.bvec")
    wanted = gradients.read(reference.with_suffix(".bval"), reference)
    assert np.abs(have.bvals - wanted.bvals).max() <= 1e-5
    assert np.abs(have.bvecs - wanted.bvecs).max() <= 1e-5


def _cut(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


def _with(path: Path, end: str, text: str) -> Path:
    path.with_name(f"sub-01_dwi.{end}").write_text(text)
    return path


def _nan(study: Path) -> Path:
    data = small.series_data()
    data[2, 2, 2, 1] = np.nan
    return small.nifti(study, data=data)


def _series(study: Path, change: Callable[[list[Path]], object]) -> Path:
    change(small.dicom(study))
    return study


def _longer(path: Path) -> Path:
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content + bytes(1 << 22)))
    return path


BAD: dict[str, tuple[Callable[[Path], Path], Category, str]] = {
    "volumes and b-values disagree": (
        lambda s: small.nifti(s, data=small.series_data(8)), Category.DATA_INVALID, "8 volumes"),
    "b-vectors not unit length": (
        lambda s: small.nifti(s, bvecs=BVECS * 0.7), Category.DATA_INVALID, "unit length"),
    "3-D": (
        lambda s: small.nifti(s, data=small.series_data()[..., 0]), Category.DATA_INVALID, "3-D"),
    "NaN in the brain": (_nan, Category.DATA_INVALID, "1 values in the head"),
    "gz truncated": (
        lambda s: _cut(small.nifti(s), 1000), Category.DATA_INVALID, "truncated"),
    "gz cut in its header": (lambda s: _cut(small.nifti(s), 15), Category.DATA_INVALID, ""),
    "nii truncated": (
        lambda s: _cut(small.nifti(s, end=".nii"), 2000), Category.DATA_INVALID, "truncated"),
    "gz that goes on": (lambda s: _longer(small.nifti(s)), Category.DATA_INVALID, "more data"),
    "empty image": (
        lambda s: small.nifti(s, data=np.zeros((6, 5, 4, 7), np.int16)),
        Category.DATA_INVALID, "one value"),
    "too few directions": (
        lambda s: small.nifti(s, bvecs=np.vstack([BVECS[:6], BVECS[1:2]])),
        Category.DATA_INVALID, "5 distinct"),
    "bad sidecar": (
        lambda s: _with(small.nifti(s), "json", "{"), Category.DATA_INVALID, "not a JSON"),
    "NaN in the sidecar": (
        lambda s: _with(small.nifti(s), "json", '{"a": NaN}'), Category.DATA_INVALID, "NaN"),
    "bvec absent": (lambda s: small.nifti(s, bvecs=None), Category.INPUT_MISSING, "no bvec"),
    "bval absent": (lambda s: small.nifti(s, bvals=None), Category.INPUT_MISSING, "no bval"),
    "no such file": (lambda s: s / "no.nii.gz", Category.INPUT_MISSING, "No such file"),
    "DICOM without pixel data": (
        lambda s: _series(s, lambda p: small.rewrite(p[3], PixelData=None)),
        Category.DATA_INVALID, "no pixel data"),
    "a missing slice": (
        lambda s: _series(s, lambda p: p[3].unlink()), Category.DATA_INVALID, "missing"),
    "a truncated DICOM file": (
        lambda s: _series(s, lambda p: _cut(p[3], -20)), Category.DATA_INVALID, "is truncated"),
    "a DICOM file cut in its header": (
        lambda s: _series(s, lambda p: _cut(p[3], 300)), Category.DATA_INVALID, "header"),
    "no gradients": (
        lambda s: [small.dicom(s, description="ep2d", weighted=False), s][-1],
        Category.DATA_INVALID, "no diffusion gradients"),
    "an empty folder": (
        lambda s: [s.mkdir(), s][-1], Category.DATA_INVALID, "no DICOM series"),
}  # fmt: skip


_DRAWN = (
    "volumes and b-values disagree",
    "b-vectors not unit length",
    "too few directions",
    "no gradients",
)


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gives_one_line_its_status_and_no_output(tmp_path: Path, name: str) -> None:
    make, category, word = BAD[name]
    source = make(tmp_path / "study")
    before = small.tree(tmp_path)
    arguments = [source, "--output", tmp_path / "out" / "convert", "--prefix", "sub-01"]
    done = small.tool("dwi-convert", [*arguments, "--unit", "sub-01"])
    assert done.exit_code == OUTCOMES[category].statuses[0], done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"ERROR {category} sub-01 ")
    assert word in done.stderr
    assert done.stdout == ""
    left = [path for path in small.tree(tmp_path) if path not in (*before, "out")]
    drawn = name in _DRAWN
    assert left == ["out/convert-refused.png"] * drawn, "a picture of gradients, nothing else"


def test_mutated_images_give_a_failure_or_an_image_never_anything_else(tmp_path: Path) -> None:
    source, rng = small.nifti(tmp_path, end=".nii"), random.Random(3)
    good = source.read_bytes()
    for number in range(300):
        data = bytearray(good[: rng.choice([len(good), rng.randrange(len(good))])])
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(min(len(data), 360))] = rng.randrange(256)
        path = source if number % 2 else source.with_name("sub-01_dwi.nii.gz")
        path.write_bytes(data if number % 2 else gzip.compress(data, 1))
        try:
            convert.prepare(path)
            image.load(path)
        except Failure as failure:
            assert failure.category is Category.DATA_INVALID


def test_a_header_that_declares_a_petabyte_takes_no_memory(tmp_path: Path) -> None:
    path = small.nifti(tmp_path)
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[40:56] = np.array([4, 32767, 32767, 32767, 7, 1, 1, 1], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(data)))
    with pytest.raises(Failure, match="truncated"):
        image.load(path)


def test_a_check_alone_writes_nothing(tmp_path: Path) -> None:
    source = small.nifti(tmp_path / "study")
    before = small.tree(tmp_path)
    done = small.tool("dwi-convert", [source, "--output", tmp_path / "out", "--dry-run"])
    assert done.exit_code == 0
    assert small.tree(tmp_path) == before


def test_the_tool_takes_the_prefix_from_the_images_name(tmp_path: Path) -> None:
    source = small.nifti(tmp_path / "study", "sub-01_ses-2_run-1_dwi")
    target = tmp_path / "out"
    assert small.tool("dwi-convert", [source, "--output", target]).exit_code == 0
    assert (target / "dwi" / "sub-01_ses-2_desc-converted_dwi.nii.gz").is_file()
    assert small.tool("dwi-convert", [source, "--output", target]).exit_code != 0
    assert small.tool("dwi-convert", [source, "--output", target, "--overwrite"]).exit_code == 0


@pytest.mark.parametrize("prefix", ["", "01", "sub-", "sub-a/b", "sub-01_ses-", "sub-1\n"])
def test_a_prefix_of_another_form_is_refused(tmp_path: Path, prefix: str) -> None:
    small.dicom(tmp_path / "in")
    arguments = [tmp_path / "in", "--output", tmp_path / "out", "--prefix", prefix]
    assert small.tool("dwi-convert", arguments).exit_code == 2
    assert not (tmp_path / "out").exists()
