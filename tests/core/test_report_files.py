"""The report's files for machines keep their contract, byte for byte, and betray nobody."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortflow.core import importers, report
from cohortflow.core.reporting import clean, files
from core.report_factory import Factory, study

FILES = ("batch_summary.json", "batch_metrics.csv", "rerun.json", "log.jsonl")
ALL = (*FILES, "report.html")


@pytest.fixture
def make(tmp_path: Path) -> Factory:
    out = tmp_path / "out"
    out.mkdir()
    return Factory(out, pictures=False)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "batch_metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def events(out: Path) -> list[dict[str, str | float | None]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_what_they_were(root: Path, tmp_path: Path, name: str) -> None:
    """Set COHORTFLOW_GOLDEN=update to write the expected files anew, then look at the change."""
    golden = root / "tests" / "golden" / "report" / name
    out = study(tmp_path).write()
    report.build(out)
    if os.environ.get("COHORTFLOW_GOLDEN") == "update":
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_bytes((out / name).read_bytes())
    assert (out / name).read_text(encoding="utf-8") == golden.read_text(encoding="utf-8")


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    out = study(tmp_path, pictures=True).write()
    report.build(out)
    first = {name: (out / name).read_bytes() for name in ALL}
    report.build(out)
    assert {name: (out / name).read_bytes() for name in ALL} == first


def test_the_summary_fits_its_schema(root: Path, tmp_path: Path) -> None:
    path = root / "bin" / "cohortflow" / "schemas" / "batch_summary.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    report.build(study(tmp_path).write())
    value = json.loads((tmp_path / "batch_summary.json").read_text(encoding="utf-8"))
    jsonschema.validate(value, schema)
    value["units"][0]["category"] = "TIMEOUT"  # a done unit has no category
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, schema)


def test_no_file_but_the_rerun_list_holds_a_path_of_the_machine(tmp_path: Path) -> None:
    out = tmp_path / "derivatives" / "cohortflow-dwi"
    report.build(study(out, str(tmp_path)).write())
    for name in set(ALL) - {"rerun.json"}:
        assert str(tmp_path) not in (out / name).read_text(encoding="utf-8"), name


def test_a_skipped_unit_has_its_numbers_and_a_failed_one_empty_cells(tmp_path: Path) -> None:
    report.build(study(tmp_path).write())
    table = {row["unit"]: row for row in rows(tmp_path)}
    assert table["sub-20"]["fa_mean"] == "0.42"
    assert table["sub-20"]["seconds_tensor"] == "11.0"
    assert table["sub-14"]["fa_mean"] == ""
    assert table["sub-04"]["motion_mm"] == "", "unknown is an empty cell, never 0"
    assert table["sub-13_ses-02"]["session"] == "02"
    assert len(table) == 22


def test_zero_is_zero_and_unknown_is_empty(make: Factory) -> None:
    make.done("01", spikes=0, drift=-1.5, shift=0.0, unknown=None)
    report.build(make.write())
    (row,) = rows(make.out)
    assert [row[name] for name in ("spikes", "drift", "shift", "unknown")] == [
        "0",
        "-1.5",
        "0.0",
        "",
    ]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "＝"])
def test_a_cell_that_a_spreadsheet_would_run_starts_with_an_apostrophe(
    make: Factory, start: str
) -> None:
    evil = f"{start}cmd|' /C calc'!A0"
    make.done("01", **{"note": evil, evil: 1})
    report.build(make.write())
    for line in csv.reader((make.out / "batch_metrics.csv").open(newline="", encoding="utf-8")):
        for value in line:
            assert not value.lstrip(" ").startswith(files.FORMULA), value


@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_number_stays_the_number_it_is(value: float) -> None:
    assert type(value)(files.cell(value)) == value


@given(st.text())
def test_no_text_can_be_a_formula(text: str) -> None:
    shown = files.cell(text)
    if shown.lstrip(" ").startswith(files.FORMULA):
        float(shown)  # "-1.5" is a number, not a formula


def test_a_metric_named_as_a_column_gets_a_name_of_its_own(make: Factory) -> None:
    make.done("01", status="fine")
    report.build(make.write())
    (row,) = rows(make.out)
    assert (row["status"], row["metric_status"]) == ("done", "fine")


def test_the_rerun_list_is_a_manifest_of_what_is_not_complete(tmp_path: Path) -> None:
    report.build(study(tmp_path).write())
    header, units = importers.read(tmp_path / "rerun.json")
    found = {unit.id: unit for unit in units}
    assert (header.lane, header.dataset) == ("dwi", "/data/study")
    assert list(found) == ["sub-14", "sub-15", "sub-16", "sub-17", "sub-18", "sub-19", "sub-22"]
    assert found["sub-14"].inputs[0].path == "/data/study/sub-14/dwi/sub-14_dwi.nii.gz"


def test_the_rerun_list_keeps_discoverys_refusal_and_tries_the_rest_again(make: Factory) -> None:
    refused = {"category": "DATA_INVALID", "message": "no", "remedy": "do", "choices": []}
    make.planned(make.unit("01", excluded=refused), "invalid", "excluded")
    make.planned(make.unit("02", excluded=refused), "invalid", "failed before")
    make.failed("03")
    report.build(make.write())
    _, units = importers.read(make.out / "rerun.json")
    assert [unit.excluded is not None for unit in units] == [True, False, False]


def test_the_log_is_in_order_of_time_and_keeps_the_traceback_of_a_bug(tmp_path: Path) -> None:
    report.build(study(tmp_path).write())
    found = events(tmp_path)
    times = [str(event["timestamp"]) for event in found]
    assert times == sorted(times)
    assert (found[0]["action"], found[-1]["action"]) == ("run started", "run ended")
    (bug,) = [event for event in found if event["category"] == "SOFTWARE"]
    assert (bug["unit"], bug["step"], bug["status"]) == ("sub-15", "tensor", "failed")
    assert str(bug["traceback"]).startswith("Traceback (most recent call last)")
    assert all(event["traceback"] is None for event in found if event is not bug)
    keys = ["timestamp", "run", "unit", "step", "action", "status", "category", "duration",
            "message", "traceback"]  # fmt: skip
    assert all(list(event) == keys for event in found)


SECRETS = {
    "DATABASE_URL=postgresql://me:hunter2@db.example/x": "hunter2",
    "export HF_TOKEN=hf_abcdefghijklmnopqrstuv": "abcdefghijklmnopqrstuv",
    '{"password": "correct horse"}': "correct",
    "login --api-key s3cr3tvalue now": "s3cr3tvalue",
    "Authorization: Bearer abcdef0123456789": "abcdef0123456789",
    "remote ghp_abcdefghijklmnopqrstuvwxyz0123456789": "ghp_abc",
    "(0010,0010) PN [Doe^Jane]    # 8, 1 PatientName": "Doe",
    "(0010, 0030) Patient's Birth Date   DA: '19700131'": "19700131",
    'json "PatientName": "Doe^Jane"': "Doe",
    "PatientBirthDate=19700131": "19700131",
}


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_and_patients_in_a_log_are_in_no_file(make: Factory, text: str) -> None:
    make.failed("01", exit=70, category="SOFTWARE", message=text, remedy=text, command=text,
                log=f"before\n{text}\nTraceback (most recent call last)\n{text}")  # fmt: skip
    make.done("02", note=text)
    report.build(make.write(command=text))
    for name in ALL:
        content = (make.out / name).read_text(encoding="utf-8")
        assert SECRETS[text] not in content, name
    assert clean.REMOVED in (make.out / "report.html").read_text(encoding="utf-8")


def test_a_secret_parameter_is_not_shown() -> None:
    shown = clean.parameters({"token": "abc", "b0": 50, "deep": {"db_password": "x"}}, str)
    assert shown == {"token": clean.REMOVED, "b0": 50, "deep": {"db_password": clean.REMOVED}}


def test_words_that_only_look_like_secrets_stay() -> None:
    for text in ("skull-stripped with key 3", "the patient moved: 3 mm", "4 key points, basic fit"):
        assert clean.without_secrets(text) == text


def test_a_binary_log_becomes_printable_text(make: Factory) -> None:
    make.failed("01", log="\x00\x1b[31mred\x1b[0m\x07 \ud800\u202e end\n" + "x" * 100_000)
    report.build(make.write())
    text = (make.out / "report.html").read_text(encoding="utf-8")
    assert "\\x00red\\x07 \\ud800\\u202e end" in text
    assert "x" * 1000 not in text
    assert "\x00" not in text


@given(st.text())
def test_printable_is_printable(text: str) -> None:
    assert clean.printable(text).replace("\n", "").isprintable()


def test_a_write_that_fails_leaves_the_old_files_whole(
    make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    make.done("01")
    report.build(make.write())
    before = {path.name: path.read_bytes() for path in make.out.iterdir() if path.is_file()}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        report.build(make.out)
    after = {path.name: path.read_bytes() for path in make.out.iterdir() if path.is_file()}
    assert after == before
