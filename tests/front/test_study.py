"""Which units a run takes: from discovery, or from a manifest in any of its forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cohortflow.core import report
from dwi.small import UID, nifti
from front.factories import ambiguous, dry, front, rows, study, unit, units, write_lines

IMAGE = "sub-01/dwi/sub-01_dwi.nii.gz"


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return study(tmp_path / "study", "sub-01", "sub-02")


def reasons(found: list[dict[str, Any]]) -> dict[str, str]:
    return {row["unit"]: row["category"] for row in found if not row["valid"]}


def validated(study: Path, path: Path) -> list[dict[str, Any]]:
    place = (study, study.parent / "out")
    return rows(front("run", "dwi", *place, "--manifest", path, "--validate-only", "--json"))


def write_form(form: str, folder: Path, two: Path) -> Path:
    """Write one manifest of sub-01 and sub-02 in each form, with paths that are relative."""
    folder.mkdir()
    images = [two / f"sub-{n}" / "dwi" / f"sub-{n}_dwi.nii.gz" for n in ("01", "02")]
    below = [path.relative_to(two) for path in images]
    beside = [Path("../study") / path for path in below]
    listed = [unit("sub-01", below[0]), unit("sub-02", below[1])]
    if form == "lines":
        return write_lines(folder / "units.jsonl", two, *listed)
    path = folder / f"units.{'csv' if form == 'csv' else 'json'}"
    header = {"lane": "dwi", "dataset": str(two), "generated_by": "me"}
    subjects = [{"id": "sub-01", "nifti": str(beside[0]), "options": {"denoise": True}},
                {"id": "02", "nifti": str(beside[1])}]  # fmt: skip
    text = {
        "json": json.dumps(header | {"units": listed}, indent=1),
        "csv": f"subject,dwi\n01,{beside[0]}\nsub-02,{beside[1]}\n",
        "csttool": json.dumps({"name": "old", "options": {}, "subjects": subjects}),
    }[form]
    path.write_text(text)
    return path


@pytest.mark.parametrize("form", ["lines", "json", "csv", "csttool"])
def test_every_form_gives_the_units_that_discovery_finds(
    two: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)  # where the command is called does not matter
    path = write_form(form, tmp_path / "lists", two)
    assert dry(two, "--manifest", path) == dry(two)
    assert units(dry(two, "--manifest", path, "--participant-label", "02")) == ["sub-02"]


@pytest.mark.parametrize("form", ["lines", "csv"])
def test_a_label_that_the_manifest_has_not_is_refused(two: Path, tmp_path: Path, form: str) -> None:
    path = write_form(form, tmp_path / "lists", two)
    words = ("--manifest", path, "--participant-label", "02", "77", "--dry-run")
    result = front("run", "dwi", two, tmp_path / "out", *words)
    assert result.exit_code == 2
    assert "sub-77" in result.stderr
    assert "sub-02" not in result.stderr


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "subject,dwi,colour\n01,x,red\n", "'colour'"),
        ("a.jsonl", json.dumps(unit("sub-01", IMAGE, options={"serie_uid": "1"})), "'serie_uid'"),
        ("a.jsonl", json.dumps(unit("sub-01", IMAGE, colour="red")), "colour"),
        ("a.jsonl", json.dumps(unit("sub-01") | {"inputs": [{"role": "t1w", "path": "x"}]}),
         "'t1w'"),
        ("a.json", {"units": [unit("sub-01", IMAGE, options={"serie_uid": "1"})]}, "'serie_uid'"),
        ("a.json", {"lane": "mea", "units": []}, "lane mea"),
    ],
)  # fmt: skip
def test_what_is_misspelt_is_named_and_nothing_runs(
    two: Path, tmp_path: Path, name: str, text: str | dict[str, Any], said: str
) -> None:
    path = tmp_path / name
    header: dict[str, Any] = {"lane": "dwi", "dataset": str(two), "generated_by": "me"}
    if isinstance(text, dict):
        path.write_text(json.dumps(header | text))
    else:
        path.write_text(text if name == "a.csv" else f"{json.dumps(header)}\n{text}\n")
    result = front("run", "dwi", two, tmp_path / "out", "--manifest", path)
    assert result.exit_code == 2
    assert said in result.stderr
    assert str(path) in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../sub-x", "sub-a b", "sub-a\nb", "sub-é", "sub-..", "-rf", ""])
def test_an_unsafe_name_excludes_its_unit_alone(two: Path, tmp_path: Path, name: str) -> None:
    safe = {"folder": "sub-x", "entities": {"subject": "x"}}
    for bad in (
        unit("sub-x", IMAGE, **(safe | {"id": name})),
        unit("sub-x", IMAGE, **(safe | {"folder": name})),
        unit("sub-x", IMAGE, **(safe | {"entities": {"subject": name}})),
        unit("sub-x", **(safe | {"entities": {"subject": name}})),
    ):
        path = write_lines(tmp_path / "units.jsonl", two, bad, unit("sub-01", IMAGE))
        assert reasons(validated(two, path)) == {bad["id"]: "DATA_INVALID"}


@pytest.mark.parametrize("label", ["../x", "a b", "..", "é", "$(x)"])
def test_an_unsafe_label_in_a_table_excludes_its_row_alone(
    two: Path, tmp_path: Path, label: str
) -> None:
    path = tmp_path / "units.csv"
    path.write_text(f"subject,dwi\n{label},study/{IMAGE}\n01,study/{IMAGE}\n", encoding="utf-8")
    assert reasons(validated(two, path)) == {f"sub-{label}": "DATA_INVALID"}


def test_a_file_name_with_a_line_break_excludes_its_unit_alone(two: Path, tmp_path: Path) -> None:
    for end in ("nii.gz", "bval", "bvec"):
        source = two / f"sub-01/dwi/sub-01_dwi.{end}"
        (two / f"a\nb.{end}").write_bytes(source.read_bytes())
    bad = unit("sub-03", "a\nb.nii.gz")
    path = write_lines(tmp_path / "units.jsonl", two, bad, unit("sub-01", IMAGE))
    assert reasons(validated(two, path)) == {"sub-03": "DATA_INVALID"}


def test_a_missing_file_in_a_table_is_named_below_the_table(two: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / "units.csv"
    path.write_text("subject,dwi\n01,none.nii.gz\n")
    (found,) = validated(two, path)
    assert found["category"] == "INPUT_MISSING"
    assert str(tmp_path / "lists" / "none.nii.gz") in found["message"]


def test_a_unit_without_inputs_is_looked_for_in_the_study(two: Path, tmp_path: Path) -> None:
    listed = [unit("sub-02"), unit("sub-09"), unit("sub-8", entities={}), unit("other", "x.nii.gz")]
    path = write_lines(tmp_path / "units.jsonl", two, *listed)
    found = validated(two, path)
    assert [row["unit"] for row in found if row["valid"]] == ["sub-02"]
    assert set(reasons(found).values()) == {"INPUT_MISSING"}


def rerun_list(two: Path, out: Path) -> Path:
    """Return the rerun list of a run that could start nothing."""
    assert front("run", "dwi", two, out).exit_code == 3
    report.build(out)
    return out / "rerun.json"


def test_a_unit_of_a_rerun_list_whose_cause_was_mended_runs(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    for label in ("01", "02"):
        nifti(folder, f"sub-{label}_dwi", bvecs=None)
    path = rerun_list(folder, tmp_path / "out")
    assert [one["id"] for one in json.loads(path.read_text())["units"]] == ["sub-01", "sub-02"]
    nifti(folder, "sub-02_dwi")
    assert units(dry(folder, "--manifest", path)) == ["sub-02"]


@pytest.mark.parametrize("keep_excluded", [False, True])
def test_a_series_written_into_a_rerun_list_decides(tmp_path: Path, keep_excluded: bool) -> None:
    folder = ambiguous(tmp_path / "study")
    (folder / "sub-03" / "dwi" / "sub-03_dwi.bvec").unlink()
    path = rerun_list(folder, tmp_path / "out")
    content = json.loads(path.read_text())
    chosen = next(one for one in content["units"] if one["id"] == "sub-02")
    chosen["options"]["series_uid"] = UID.format(2)
    if not keep_excluded:
        del chosen["excluded"]
    path.write_text(json.dumps(content))
    assert units(dry(folder, "--manifest", path)) == ["sub-02"]
    chosen["options"]["series_uid"] = UID.format(7)
    path.write_text(json.dumps(content))
    result = front("run", "dwi", folder, tmp_path / "out", "--manifest", path, "--dry-run")
    assert result.exit_code == 3
    assert UID.format(2) in result.stdout, "a wrong choice shows the right ones"


def test_an_image_written_into_a_rerun_list_decides(tmp_path: Path) -> None:
    folder = ambiguous(tmp_path / "study")
    (folder / "sub-03" / "dwi" / "sub-03_dwi.bvec").unlink()
    path = rerun_list(folder, tmp_path / "out")
    content = json.loads(path.read_text())
    chosen = next(one for one in content["units"] if one["id"] == "sub-01")
    choice = chosen["excluded"]["choices"][0]["path"]
    chosen["inputs"] = [{"role": "dwi", "path": choice}]
    path.write_text(json.dumps(content))
    assert units(dry(folder, "--manifest", path)) == ["sub-01"]
