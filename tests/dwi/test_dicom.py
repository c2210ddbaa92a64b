"""DICOM headers are read right, fast and safely; an incomplete series is seen."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import dicom, dicom_check, dicom_series, files
from dwi import small


def listed(folder: Path) -> list[dicom_series.Series]:
    return dicom_series.list_series(files.below(str(folder)))


def check(folder: Path) -> dicom_check.Expected:
    (series,) = listed(folder)
    return dicom_check.check(series)


def test_series_are_told_apart_by_uid_with_their_descriptions(tmp_path: Path) -> None:
    small.dicom(tmp_path / "a", 2, description="second")
    small.dicom(tmp_path / "b", 1, description="first", volumes=8)
    small.dicom(tmp_path / "a", 11, description="eleventh", compress=True)
    assert [series.choice() for series in listed(tmp_path)] == [
        {"series_uid": small.UID.format(1), "description": "1 first", "files": "32"},
        {"series_uid": small.UID.format(2), "description": "2 second", "files": "28"},
        {"series_uid": small.UID.format(11), "description": "11 eleventh", "files": "28"},
    ]


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("implicit", [True, False])
def test_a_referenced_series_is_not_taken_for_the_files_own(
    tmp_path: Path, implicit: bool, undefined: bool
) -> None:
    (path,) = small.dicom(tmp_path, 3, slices=1, volumes=1, implicit=implicit)
    dataset = pydicom.dcmread(path)
    inner = Dataset()
    inner.SeriesInstanceUID = small.UID.format(99)
    inner.ReferencedImageSequence = Sequence([Dataset()])
    inner["ReferencedImageSequence"].is_undefined_length = undefined
    dataset.ReferencedSeriesSequence = Sequence([inner])
    dataset.ReferencedImageSequence = Sequence([inner])
    for name in ("ReferencedSeriesSequence", "ReferencedImageSequence"):
        dataset[name].is_undefined_length = undefined
        inner.is_undefined_length_sequence_item = undefined
    dataset.save_as(path)
    assert [series.uid for series in listed(tmp_path)] == [small.UID.format(3)]


@pytest.mark.shared_data
def test_the_walker_and_pydicom_agree_on_real_headers(shared_data: Path) -> None:
    paths = files.below(str(shared_data / "dicom"))
    for path in random.Random(1).sample(paths, 60):
        values = dicom.header(path)
        if values is None:
            continue
        with dicom.unpacked(path) as file:
            dataset = pydicom.dcmread(file, stop_before_pixels=True)
        assert dicom.text(values, dicom.SERIES) == dataset.SeriesInstanceUID
        assert dicom.text(values, dicom.CLASS) == dataset.SOPClassUID


def test_maps_and_single_volumes_are_no_candidates(tmp_path: Path) -> None:
    small.dicom(tmp_path, 1, description="dwi")
    small.dicom(tmp_path, 2, description="dwi_SBRef", volumes=1)
    for path in small.dicom(tmp_path, 3, description="dwi_ADC", volumes=2):
        small.rewrite(path, ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"])
    small.dicom(tmp_path, 4, description="bold", volumes=9, weighted=False)
    every = listed(tmp_path)
    assert len(every) == 4
    assert [s.description for s in dicom_series.candidates(every)] == ["dwi"]


def test_without_any_mark_all_series_of_several_volumes_are_candidates(tmp_path: Path) -> None:
    small.dicom(tmp_path, 1, description="ep2d", weighted=False)
    small.dicom(tmp_path, 2, description="t1", volumes=1, weighted=False)
    assert [s.description for s in dicom_series.candidates(listed(tmp_path))] == ["ep2d"]


@pytest.mark.parametrize(("group", "element"), [(0x0019, 0x100C), (0x2001, 0x1003)])
def test_a_vendors_private_b_value_marks_a_series(tmp_path: Path, group: int, element: int) -> None:
    paths = small.dicom(tmp_path, 1, description="ep2d", weighted=False)
    small.dicom(tmp_path, 2, description="bold", weighted=False)
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.add_new((group, 0x0010), "LO", "VENDOR")
        dataset.add_new((group, element), "IS", "1000")
        dataset.save_as(path)
    assert [s.description for s in dicom_series.candidates(listed(tmp_path))] == ["ep2d"]


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    small.dicom(tmp_path, 1)
    (tmp_path / "notes").write_text("no DICOM")
    (tmp_path / "empty").write_bytes(b"")
    assert len(listed(tmp_path)) == 1


@pytest.mark.parametrize("content", [b"", b"text", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICMxy"])
def test_a_broken_dicom_file_is_named(tmp_path: Path, content: bytes) -> None:
    small.dicom(tmp_path, 1)
    (tmp_path / "broken.dcm").write_bytes(content)
    with pytest.raises(Failure, match=r"broken\.dcm") as caught:
        listed(tmp_path)
    assert caught.value.category is Category.DATA_INVALID


def test_a_mutated_header_gives_a_failure_or_a_series_never_anything_else(tmp_path: Path) -> None:
    (path,) = small.dicom(tmp_path, 1, slices=1, volumes=1)
    good, rng = path.read_bytes(), random.Random(7)
    for compress in [False, True] * 150:
        data = bytearray(gzip.compress(good, mtime=0) if compress else good)
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.randint(0, len(data))])
        try:
            for series in listed(tmp_path):
                dicom_check.check(series)
        except Failure as failure:
            assert failure.category is Category.DATA_INVALID


def test_a_complete_series_tells_slices_and_volumes(tmp_path: Path) -> None:
    small.dicom(tmp_path, 1, slices=5, volumes=7)
    assert check(tmp_path) == dicom_check.Expected(pixels=48, slices=5, volumes=7)


def test_a_missing_slice_is_named(tmp_path: Path) -> None:
    paths = small.dicom(tmp_path, 1)
    paths[9].unlink()  # the tenth file: third volume, position 3 mm
    with pytest.raises(Failure, match=r"1 slices are missing: position 3\.00 mm .* number 10"):
        check(tmp_path)


def test_a_slice_missing_in_every_volume_is_seen(tmp_path: Path) -> None:
    for number, path in enumerate(small.dicom(tmp_path, 1, slices=6)):
        if number % 6 == 2:
            path.unlink()
    with pytest.raises(Failure, match=r"missing in every volume, after position 3\.00 mm"):
        check(tmp_path)


def test_an_image_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    paths = small.dicom(tmp_path, 1)
    (tmp_path / "copy.dcm").write_bytes(paths[3].read_bytes())
    with pytest.raises(Failure, match=r"copy\.dcm.*twice|twice.*copy\.dcm"):
        check(tmp_path)


def test_another_matrix_size_is_refused(tmp_path: Path) -> None:
    paths = small.dicom(tmp_path, 1)
    small.rewrite(paths[4], Rows=4, PixelData=bytes(48))
    with pytest.raises(Failure, match=rf"{paths[4].name}: 6 x 4 pixels"):
        check(tmp_path)


def test_no_pixel_data_is_refused(tmp_path: Path) -> None:
    paths = small.dicom(tmp_path, 1)
    small.rewrite(paths[4], PixelData=None)
    with pytest.raises(Failure, match=rf"{paths[4].name}: no pixel data"):
        check(tmp_path)


@pytest.mark.parametrize("compress", [False, True])
def test_a_truncated_file_is_named(tmp_path: Path, compress: bool) -> None:
    path = small.dicom(tmp_path, 1)[4]
    cut = path.read_bytes()[:-10]
    if compress:
        path.unlink()
        path = path.with_suffix(".gz")
    path.write_bytes(gzip.compress(cut) if compress else cut)
    with pytest.raises(Failure, match=rf"{path.name}: is truncated, 86 of 96 bytes"):
        check(tmp_path)


def test_truncated_compressed_pixels_are_seen(tmp_path: Path) -> None:
    paths = small.dicom(tmp_path, 1)
    dataset = pydicom.dcmread(paths[2])
    dataset.compress(pydicom.uid.RLELossless)
    dataset.save_as(paths[2])
    assert check(tmp_path).volumes == 7
    paths[2].write_bytes(paths[2].read_bytes()[:-12])
    with pytest.raises(Failure, match="truncated"):
        check(tmp_path)


def test_a_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom, "UNPACKED_LIMIT", 1 << 20)
    (path,) = small.dicom(tmp_path, 1, slices=1, volumes=1)
    path.with_suffix(".gz").write_bytes(gzip.compress(path.read_bytes() + bytes(1 << 21)))
    path.unlink()
    with pytest.raises(Failure, match="unpacks to more than"):
        check(tmp_path)


def test_linked_folders_that_loop_are_listed_once(tmp_path: Path) -> None:
    small.dicom(tmp_path / "a", 1, slices=2, volumes=2)
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert len(files.below(str(tmp_path))) == 4
