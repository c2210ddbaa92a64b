"""`cohortflow why` for every way in which a unit can end."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from cohortflow.core.outcome import Category, Failure
from cohortflow.front import why
from core.report_factory import Factory, study
from front.factories import front


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return study(tmp_path / "out").write()


def told(out: Path, unit: str) -> str:
    result = front("why", out, unit)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_unit_that_is_done(out: Path) -> None:
    story = why.story(out, "sub-01")
    assert (story.state, story.decision, story.reason) == ("complete", "run", "new")
    assert [a["step"] for a in story.attempts] == ["convert", "mask", "tensor", "publish"]
    text = told(out, "sub-01")
    assert text.startswith("sub-01: complete\n")
    assert "Try it again" not in text


def test_a_unit_that_failed_in_a_step(out: Path) -> None:
    text = told(out, "sub-14")
    assert text.startswith("sub-14: not published\n")
    for words in (
        "tensor     attempt 1  DATA_INVALID",
        "33 volumes, 32 b-values",
        "What to do: give one b-value for each volume",
        "The command:\n  dwi-tensor ",
        "The end of its log:\n  INFO reading\n",
        "Try it again:\n  cohortflow run dwi ",
    ):
        assert words in text


def test_a_bug_is_told_with_its_traceback(out: Path) -> None:
    assert "ZeroDivisionError: float division by zero" in told(out, "sub-15")


def test_a_step_that_vanished_without_a_word(out: Path) -> None:
    assert "LOST" in told(out, "sub-17")


def test_an_ambiguous_unit_shows_what_to_choose_from(out: Path) -> None:
    text = told(out, "sub-18")
    assert "2 diffusion series in sub-18/dwi: one must be chosen" in text
    assert "series_uid=1.2.840.113619.2.312.1001  description=DTI 32 dir AP  files=520" in text
    assert "What to do: give its series_uid in a manifest" in text


def test_an_excluded_unit_says_what_to_do(out: Path) -> None:
    assert "What to do: add the file, or run datalad get" in told(out, "sub-19")


def test_a_planned_unit_that_never_started(out: Path) -> None:
    story = why.story(out, "sub-22")
    assert (story.state, story.attempts) == ("not published", [])
    assert "Try it again" in told(out, "sub-22")


def test_an_unknown_unit_is_a_wrong_call(out: Path) -> None:
    with pytest.raises(Failure, match="sub-99") as caught:
        why.story(out, "sub-99")
    assert caught.value.category is Category.USAGE


@pytest.mark.parametrize(
    ("damage", "said"),
    [("marker", "_done.json cannot be read"), ("file", "metrics.json is missin")],
)
def test_a_damaged_unit_says_what_is_wrong(out: Path, damage: str, said: str) -> None:
    if damage == "marker":
        (out / "sub-01" / "_done.json").write_text("{")
    else:
        (out / "sub-01" / "metrics.json").unlink()
    text = told(out, "sub-01")
    assert text.startswith("sub-01: damaged: ")
    assert said in text
    assert "Try it again" in text


def test_the_latest_run_that_ran_the_unit_tells(tmp_path: Path) -> None:
    first = Factory(tmp_path / "out", run="20261101T100000Z-0001", pictures=False)
    unit = first.done("01")
    first.failed("02", message="of the first run")
    first.write()
    second = Factory(first.out, run="20261102T100000Z-0001", pictures=False)
    second.planned(unit, "skip", "up to date")
    second.failed("02", message="of the second run")
    second.write()
    third = Factory(first.out, run="20261103T100000Z-0001", pictures=False)
    third.planned(unit, "skip", "up to date")
    third.planned(third.unit("02"), "invalid", "failed before")
    third.write()
    assert why.story(first.out, "sub-01").run == first.run
    assert len(why.story(first.out, "sub-01").attempts) == 4
    assert why.story(first.out, "sub-02").run == second.run
    assert "of the second run" in told(first.out, "sub-02")
    assert "of the first run" not in told(first.out, "sub-02")


def test_a_run_without_a_plan_is_passed_over(out: Path) -> None:
    (out / ".cohortflow" / "runs" / "20991231T000000Z-ffff").mkdir()
    assert why.story(out, "sub-01").state == "complete"


def test_a_run_that_was_killed_before_its_records_still_tells(out: Path) -> None:
    next((out / ".cohortflow" / "runs").glob("*/records.jsonl")).unlink()
    assert why.story(out, "sub-14").attempts == []


@pytest.mark.parametrize("place", ["/data/a b", "/data/it's $(x)", "/data/é"])
def test_the_command_to_run_it_again_survives_a_shell(tmp_path: Path, place: str) -> None:
    make = Factory(tmp_path / "o u t", study=place, pictures=False)
    make.failed("07")
    words = shlex.split(why.story(make.write(), "sub-07").rerun)
    assert words[:5] == ["cohortflow", "run", "dwi", place, str(tmp_path / "o u t")]
    assert {"--participant-label=07", "--rerun-failed"} <= set(words)


def test_the_command_is_good_from_any_folder(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f" {out} " in why.story(Path("out"), "sub-14").rerun


def test_a_unit_of_a_manifest_is_run_again_by_manifest_and_parameters(tmp_path: Path) -> None:
    make = Factory(tmp_path / "out", pictures=False)
    unit = make.unit("07", "b")
    make.planned(unit, "run", "new")
    out = make.write(command="cohortflow run dwi /data/study out --manifest 'my units.csv'")
    plan = make.folder / "plan.jsonl"
    head, *rest = plan.read_text().splitlines()
    head = json.dumps(json.loads(head) | {"parameters": {"gradient_check": "warn"}})
    plan.write_text("\n".join([head, *rest]) + "\n")
    words = shlex.split(why.story(out, "sub-07_ses-b").rerun)
    assert f"--manifest={make.folder / 'manifest.jsonl'}" in words
    assert {"--session-label=b", "--parameter=gradient_check=warn"} <= set(words)


def test_a_log_cannot_move_the_cursor(tmp_path: Path) -> None:
    make = Factory(tmp_path / "out", pictures=False)
    make.failed("07", log="\x1b[2J\x1b[31mred\rover\x07\n\tindented")
    text = why.text(why.story(make.write(), "sub-07"))
    assert "\x1b" not in text
    assert "\r" not in text
    assert "indented" in text


def test_as_json_it_has_the_same_facts(out: Path) -> None:
    value = json.loads(front("why", out, "sub-18", "--json").stdout)
    assert value["state"] == "not published"
    assert [choice["files"] for choice in value["choices"]] == ["520", "520"]
    assert value["remedy"] == "give its series_uid in a manifest"


def test_a_file_and_its_gene_table_are_named_again(tmp_path: Path) -> None:
    make = Factory(tmp_path / "out", study="/data/cells")
    inputs = [
        {"role": "h5ad", "path": "/data/cells/a b.h5ad"},
        {"role": "hgnc", "path": "/t/h.tsv"},
    ]
    make.planned({"id": "a_b", "folder": "a_b", "inputs": inputs}, "run", "new")
    make.record("a_b", "convert", exit=65, category="DATA_INVALID", message="bad", remedy="mend it")
    out = make.write(file="/data/cells/a b.h5ad")
    plan = make.folder / "plan.jsonl"
    head, *lines = plan.read_text().splitlines()
    facts = json.loads(head) | {"lane": "cells", "parameters": {"top_genes": "9"}}
    plan.write_text("\n".join([json.dumps(facts), *lines]) + "\n")
    words = shlex.split(why.story(out, "a_b").rerun)
    assert words[:5] == ["cohortflow", "run", "cells", "/data/cells/a b.h5ad", str(out)]
    assert {"--parameter=top_genes=9", "--parameter=hgnc=/t/h.tsv"} <= set(words)
