"""csttool's results become a table that hides nothing: numbers where there are any, else why."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cohortflow.commands.import_csttool import command
from cohortflow.core import marker
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import csttool, csttool_table
from cohortflow.dwi.csttool_metrics import METRICS


def scalar(mean: float) -> dict[str, Any]:
    """Return a block of one scalar of one side."""
    return {
        "mean": mean,
        "std": 0.05,
        "median": mean,
        "mean_point_weighted": mean + 0.01,
        "profile": [mean] * 20,
        "pontine": mean - 0.1,
        "plic": mean + 0.1,
        "precentral": mean,
    }


def index(left: float, right: float) -> dict[str, float]:
    total = left + right
    return {"laterality_index": (left - right) / total if total else 0.0}


def report(left: float = 0.5, right: float = 0.4, counts: tuple[int, int] = (300, 200)) -> Any:
    """Return a subject's metrics as csttool writes them; a side without streamlines is zeros."""
    sides = {}
    for side, mean, count in (("left", left, counts[0]), ("right", right, counts[1])):
        empty = count == 0
        sides[side] = {
            "morphology": {
                "n_streamlines": count,
                "mean_length": 0.0 if empty else 110.5,
                "tract_volume": 0.0 if empty else 9000.0,
            },
            "fa": scalar(0.0 if empty else mean),
            "md": scalar(0.0 if empty else 0.0008),
        }
    asymmetry = {
        "volume": index(9000.0 * bool(counts[0]), 9000.0 * bool(counts[1])),
        "streamline_count": index(*counts),
        "mean_length": index(1, 1),
        "fa": index(left, right),
        "fa_plic": index(left, right),
    }
    return {
        "subject_id": "sub-01",
        "processing_date": "2026-05-01 10:00:00",
        "csttool_version": "0.4.0",
        "processing": {"preprocessing": {"status": "Skipped (External Preprocessing Used)"}},
        "metrics": {**sides, "asymmetry": asymmetry},
    }


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def done(folder: Path, place: str) -> None:
    """Write csttool's marker, which never lists an output."""
    value = {"csttool_version": "0.4.0", "duration_seconds": 61.5, "outputs": {}}
    write(folder / place / "_done.json", value)


def nested(folder: Path, subject: str, session: str, value: Any) -> Path:
    """Write a subject's metrics where csttool's batch puts them: the folder twice."""
    place = f"sub-{subject}/ses-{session}" if session else f"sub-{subject}"
    name = place.replace("/", "_")
    return write(folder / place / place / "reports" / f"{name}_metrics.json", value)


def said(subject: str, session: str | None, status: str, **more: Any) -> dict[str, Any]:
    return {"subject_id": subject, "session_id": session, "status": status, **more}


def summary(folder: Path, *results: dict[str, Any]) -> None:
    write(folder / "batch_summary.json", {"schema_version": "1.0.0", "results": list(results)})


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    """Return a batch with one of everything that csttool leaves behind."""
    folder = tmp_path / "csttool"
    summary(
        folder,
        said("sub-01", "ses-01", "success", duration_seconds=61.5),
        said("sub-02", None, "success"),
        said("sub-03", None, "failed", error_category="PIPELINE_FAILED", error="disk, full"),
        said("sub-04", None, "skipped"),
        said("sub-05", None, "skipped"),
    )
    header = "subject_id,session_id,status,error_category,left_fa_mean\n"
    blank = "".join(f"sub-0{n},{'ses-01' if n == 1 else ''},success,,\n" for n in range(1, 6))
    write(folder / "batch_metrics.csv", header + blank)
    done(folder, "sub-01/ses-01")
    nested(folder, "01", "01", report())
    done(folder, "sub-02")
    steps = {"import": {"success": False, "error": "NIfTI file does not exist: x.nii.gz"}}
    failed = {"failed_steps": ["import"], "step_results": steps}
    write(folder / "sub-02" / "sub-02_pipeline_report.json", failed)
    left = folder / "sub-03" / "_failed_attempts" / "20260501_PIPELINE_FAILED" / "_work"
    write(left / "metrics" / "sub-03_bilateral_metrics.json", report())
    done(folder, "sub-04")
    nested(folder, "04", "", report(0.6, 0.5))
    done(folder, "sub-05")
    return folder


def read(folder: Path) -> dict[str, csttool.Result]:
    return {result.unit: result for result in csttool.read(folder)}


def test_each_subject_and_session_has_one_result(batch: Path) -> None:
    units = [result.unit for result in csttool.read(batch)]
    assert units == ["sub-01_ses-01", "sub-02", "sub-03", "sub-04", "sub-05"]


def test_numbers_are_found_where_the_batch_nested_them(batch: Path) -> None:
    found = read(batch)["sub-01_ses-01"]
    assert found.file == "sub-01/ses-01/sub-01/ses-01/reports/sub-01_ses-01_metrics.json"
    assert (found.status, found.note, found.seconds) == ("success", "", 61.5)
    assert found.metrics["left_fa_mean"] == 0.5
    assert found.metrics["right_fa_mean"] == 0.4
    assert found.metrics["left_fa_std"] == 0.05
    assert found.metrics["left_fa_mean_point_weighted"] == 0.51
    assert found.metrics["left_md_plic"] == pytest.approx(0.1008)
    assert found.metrics["fa_laterality_index"] == pytest.approx(1 / 9)
    assert found.metrics["fa_plic_laterality_index"] == pytest.approx(1 / 9)
    assert found.metrics["left_n_streamlines"] == 300
    assert found.metrics["right_mean_length_mm"] == 110.5
    assert found.metrics["left_tract_volume_mm3"] == 9000.0
    assert str(found.metrics["left_fa_profile"]).split(";") == ["0.5"] * 20
    assert "left_rd_mean" not in found.metrics, "what csttool did not write is unknown"


def test_a_batch_that_did_not_preprocess_says_so(batch: Path) -> None:
    assert read(batch)["sub-01_ses-01"].preprocessing.startswith("Skipped")


def test_success_without_numbers_is_said_and_why(batch: Path) -> None:
    found = read(batch)["sub-02"]
    assert found.status == "success"
    assert found.metrics == {}
    assert found.note == (
        "csttool says success, no numbers (import: NIfTI file does not exist: x.nii.gz)"
    )


def test_a_failed_attempt_gives_a_reason_and_no_numbers(batch: Path) -> None:
    found = read(batch)["sub-03"]
    assert found.note == "csttool says failed: PIPELINE_FAILED: disk, full"
    assert found.metrics == {}


def test_a_skipped_subject_has_the_numbers_of_its_earlier_run(batch: Path) -> None:
    found = read(batch)
    assert found["sub-04"].metrics["left_fa_mean"] == 0.6
    assert found["sub-05"].note == "csttool says skipped, no numbers"


def test_a_result_that_the_summary_does_not_name_is_listed(batch: Path) -> None:
    done(batch, "sub-07")
    nested(batch, "08", "a", report())
    found = read(batch)
    assert (found["sub-07"].status, found["sub-07"].metrics) == ("success", {})
    assert found["sub-08_ses-a"].metrics["left_fa_mean"] == 0.5
    for unit in ("sub-07", "sub-08_ses-a"):
        assert found[unit].note.endswith("not in batch_summary.json")


def test_without_a_summary_the_folders_are_enough(batch: Path) -> None:
    for name in ("batch_summary.json", "batch_metrics.csv"):
        (batch / name).unlink()
    found = read(batch)
    assert set(found) == {"sub-01_ses-01", "sub-02", "sub-04", "sub-05"}
    assert found["sub-01_ses-01"].note == ""


def test_an_id_without_prefix_is_the_same_unit(tmp_path: Path) -> None:
    summary(tmp_path, said("001", None, "success"))
    path = tmp_path / "001/sub-001/reports/sub-001_metrics.json"
    write(path, report())
    (found,) = csttool.read(tmp_path)
    assert (found.unit, found.metrics["left_fa_mean"]) == ("sub-001", 0.5)


def test_two_spellings_of_one_unit_are_two_rows_that_say_so(tmp_path: Path) -> None:
    summary(tmp_path, said("01", None, "failed"), said("sub-01", None, "failed"))
    found = csttool.read(tmp_path)
    assert [result.unit for result in found] == ["sub-01", "sub-01"]
    assert all("another row is of the same unit" in result.note for result in found)


def test_a_side_without_streamlines_is_unknown_not_zero(tmp_path: Path) -> None:
    nested(tmp_path, "01", "", report(right=0.0, counts=(300, 0)))
    (found,) = csttool.read(tmp_path)
    assert found.metrics["left_fa_mean"] == 0.5
    assert found.metrics["right_n_streamlines"] == 0
    assert found.metrics["right_tract_volume_mm3"] == 0
    assert found.metrics["streamline_count_laterality_index"] == 1
    assert found.metrics["volume_laterality_index"] == 1
    unknown = {"right_fa_mean", "right_mean_length_mm", "right_fa_profile", "fa_laterality_index"}
    assert not unknown & set(found.metrics)
    assert "no streamlines right" in found.note


def test_of_several_results_the_newest_is_shown_and_it_is_said(tmp_path: Path) -> None:
    nested(tmp_path, "01", "", report())
    old = {**report(0.1), "processing_date": "2025-01-01 00:00:00"}
    write(tmp_path / "sub-01" / "metrics" / "sub-01_bilateral_metrics.json", old)
    (found,) = csttool.read(tmp_path)
    assert found.metrics["left_fa_mean"] == 0.5
    assert "2 files have numbers, the newest is shown" in found.note


def test_a_subjects_own_table_is_read_where_there_is_no_json(tmp_path: Path) -> None:
    text = "subject_id,left_fa_mean,left_n_streamlines,right_fa_mean\nsub-01,0.5,300,\n"
    write(tmp_path / "sub-01" / "metrics" / "sub-01_metrics_summary.csv", text)
    (found,) = csttool.read(tmp_path)
    assert dict(found.metrics) == {"left_fa_mean": 0.5, "left_n_streamlines": 300}


def test_the_batchs_table_is_read_where_there_is_nothing_else(tmp_path: Path) -> None:
    text = "subject_id,session_id,status,left_fa_mean\nsub-01,,success,0.5\n"
    write(tmp_path / "batch_metrics.csv", text)
    (found,) = csttool.read(tmp_path)
    assert (dict(found.metrics), found.file) == ({"left_fa_mean": 0.5}, "batch_metrics.csv")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"metrics": 3}', '{"metrics": {"left": {"fa": {"mean": NaN}}}}', "\0"]
)
def test_a_damaged_file_is_named_and_the_rest_is_read(batch: Path, text: str) -> None:
    write(nested(batch, "02", "", {}), text)
    found = read(batch)
    assert "sub-02_metrics.json has no numbers that can be read" in found["sub-02"].note
    assert found["sub-02"].metrics == {}
    assert found["sub-04"].metrics


@pytest.mark.parametrize("text", ["", "{", '{"results": 3}', '{"results": [1, {}]}'])
def test_a_damaged_summary_does_not_hide_the_folders(batch: Path, text: str) -> None:
    (batch / "batch_summary.json").write_text(text)
    assert read(batch)["sub-04"].metrics["left_fa_mean"] == 0.6


@pytest.mark.parametrize("name", ["", "dwi/notes.csv", "batch_summary.json"])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    if name:
        write(tmp_path / name, "{}")
    with pytest.raises(Failure, match="no results of csttool") as caught:
        csttool.read(tmp_path)
    assert caught.value.category is Category.INPUT_MISSING


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return an output of cohortflow with two complete units and one damaged one."""
    folder = tmp_path / "out"
    for unit, fa in (("sub-01_ses-01", 0.52), ("sub-09", 0.3), ("sub-04", 0.1)):
        place = folder / unit.replace("_", "/")
        metrics = {"left_fa_mean": fa, "volumes": 7, "snr_b0": None, "shape": "6x6", "ok": True}
        write(place / "metrics.json", metrics)
        value = marker.Marker(
            unit=unit,
            lane="dwi",
            run="r",
            pipeline_version="0.1.0",
            code={},
            parameters={},
            options={},
            inputs=[],
            input_fingerprint="",
            outputs=[marker.Output(path="metrics.json", bytes=2 if unit == "sub-04" else
                                   (place / "metrics.json").stat().st_size, sha256="")],
            timings={},
            finished="",
        )  # fmt: skip
        write(place / "_done.json", value.model_dump_json())
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def table(text: str) -> dict[str, dict[str, str]]:
    return {row["unit"]: row for row in csv.DictReader(io.StringIO(text))}


def test_the_table_has_csttools_names_for_all_its_numbers(batch: Path) -> None:
    ended = run(batch)
    assert ended.exit_code == 0, ended.output
    assert "5 rows, 3 of csttool's without numbers" in ended.stderr
    shown = table(ended.stdout)
    assert shown["sub-01_ses-01"]["csttool_left_fa_mean"] == "0.5"
    assert shown["sub-02"]["csttool_left_fa_mean"] == ""
    assert shown["sub-02"]["note"].startswith(csttool.NO_NUMBERS.format("success"))
    assert {f"csttool_{name}" for name in METRICS} <= set(shown["sub-02"])
    for name in ("left_fa_mean", "right_ad_std", "md_laterality_index", "left_n_streamlines",
                 "right_mean_length_mm", "left_tract_volume_mm3", "left_fa_mean_point_weighted",
                 "right_rd_precentral", "volume_laterality_index"):  # fmt: skip
        assert name in METRICS


def test_our_numbers_stand_beside_with_the_difference(batch: Path, out: Path) -> None:
    ended = run(batch, "--compare", out)
    assert ended.exit_code == 0, ended.output
    shown = table(ended.stdout)
    row = shown["sub-01_ses-01"]
    assert (row["csttool_left_fa_mean"], row["cohortflow_left_fa_mean"]) == ("0.5", "0.52")
    assert float(row["difference_left_fa_mean"]) == pytest.approx(0.02)
    assert row["cohortflow_volumes"] == "7.0"
    columns = list(row)
    at = columns.index("csttool_left_fa_mean")
    assert columns[at + 1 : at + 3] == ["cohortflow_left_fa_mean", "difference_left_fa_mean"]
    assert not {"cohortflow_shape", "cohortflow_ok", "cohortflow_snr_b0"} & set(columns)


def test_who_has_no_number_has_no_difference(batch: Path, out: Path) -> None:
    shown = table(run(batch, "--compare", out).stdout)
    assert shown["sub-02"]["cohortflow_status"] == "not done"
    assert shown["sub-02"]["difference_left_fa_mean"] == ""
    damaged = shown["sub-04"]
    assert (damaged["cohortflow_status"], damaged["cohortflow_left_fa_mean"]) == ("not done", "")
    only_ours = shown["sub-09"]
    assert only_ours["note"] == "csttool has no such subject or session"
    assert (only_ours["cohortflow_status"], only_ours["cohortflow_left_fa_mean"]) == ("done", "0.3")
    assert only_ours["difference_left_fa_mean"] == ""


def test_json_has_the_same_rows(batch: Path, out: Path) -> None:
    rows = json.loads(run(batch, "--compare", out, "--json").stdout)
    assert rows == csttool_table.rows(csttool.read(batch), csttool_table.ours(out))
    assert len({tuple(row) for row in rows}) == 1, "every row has the same columns"
    assert rows[1]["csttool_left_fa_mean"] is None


def test_a_file_is_replaced_only_when_asked(batch: Path, tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    assert run(batch, "--output", target).exit_code == 0
    assert target.read_text() == run(batch).stdout
    target.write_text("mine")
    refused = run(batch, "--output", target)
    assert (refused.exit_code, target.read_text()) == (2, "mine")
    assert run(batch, "--output", target, "--overwrite").exit_code == 0
    assert target.read_text() != "mine"


def test_a_folder_without_results_exits_3_with_one_line(tmp_path: Path) -> None:
    ended = run(tmp_path)
    assert ended.exit_code == 3
    assert len(ended.stderr.splitlines()) == 1


def test_a_cell_that_a_spreadsheet_would_run_is_text(tmp_path: Path) -> None:
    summary(tmp_path, said("=cmd()", None, "failed", error="=1+1"))
    text = run(tmp_path).stdout
    assert "'=cmd()" in text


def test_the_batch_itself_is_left_as_it_was(batch: Path, tmp_path: Path) -> None:
    before = shutil.copytree(batch, tmp_path / "before")
    run(batch)
    assert {p.relative_to(batch): p.read_bytes() for p in batch.rglob("*") if p.is_file()} == {
        p.relative_to(before): p.read_bytes() for p in Path(before).rglob("*") if p.is_file()
    }
