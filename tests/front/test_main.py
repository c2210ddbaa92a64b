"""The command line: BIDS-App spelling, exit statuses, error lines, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from cohortflow.core import report
from cohortflow.core.report import Summary
from cohortflow.front import run
from cohortflow.main import main
from core.report_factory import study as finished_batch
from front.factories import ambiguous, dry, front, rows, study, units
from pipeline.driving import tree


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = ("sub-01", "sub-02", "sub-03_ses-a", "sub-03_ses-b")
    return study(tmp_path_factory.mktemp("three") / "study", *names)


@pytest.fixture(scope="module")
def unclear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ambiguous(tmp_path_factory.mktemp("unclear") / "study")


@pytest.mark.parametrize(
    "words",
    [
        "dwi STUDY OUT participant --participant-label 01 02",
        "dwi STUDY OUT --participant-label 01 02",
        "dwi STUDY OUT participant --participant_label sub-01 sub-02",
        "dwi STUDY OUT participant --participant-label=01 --participant_label=sub-02",
        "dwi STUDY OUT participant --participant-label=01 02",
        "dwi STUDY OUT --participant-label 01 02 participant",
        "dwi STUDY OUT --participant-label 01 --limit 5 --participant-label 02",
        "dwi STUDY OUT --participant-label 01,02",
        "--participant-label 01 02 dwi STUDY OUT participant",
        "--participant_label 01 02 -- dwi STUDY OUT",
        "dwi --participant-label 01 --participant-label 02 STUDY OUT participant",
    ],
)
def test_participants_are_named_as_a_bids_app_takes_them(
    three: Path, tmp_path: Path, words: str
) -> None:
    places = {"STUDY": str(three), "OUT": str(tmp_path / "out")}
    given = [places.get(word, word) for word in words.split()]
    result = front("run", "--dry-run", "--json", *given)
    assert result.exit_code == 0, result.output
    assert units(rows(result)) == ["sub-01", "sub-02"]


@pytest.mark.parametrize("label", ["a", "ses-a"])
def test_sessions_are_named_in_the_same_way(three: Path, label: str) -> None:
    assert units(dry(three, "--session-label", label)) == ["sub-03_ses-a"]
    both = dry(three, "--participant-label", "03", "--session_label", "a", "b")
    assert units(both) == ["sub-03_ses-a", "sub-03_ses-b"]


def test_words_after_two_hyphens_are_taken_as_they_are(
    three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = front("run", "--dry-run", "--json", "--", "dwi", three, "--my_out")
    assert result.exit_code == 0, result.output


def test_a_filter_file_decides_an_ambiguous_study(unclear: Path, tmp_path: Path) -> None:
    assert units(dry(unclear)) == ["sub-03"]
    path = tmp_path / "filter.json"
    path.write_text(json.dumps({"bold": {"task": "rest"}, "dwi": {"direction": "AP"}}))
    assert "sub-01" in units(dry(unclear, "--bids-filter-file", path))
    path.write_text(json.dumps({"dwi": {"SeriesNumber": 2}}))
    assert "sub-02" in units(dry(unclear, "--bids_filter_file", path))


def test_all_units_usable_exits_0(three: Path, tmp_path: Path) -> None:
    for words in (["run", "--dry-run"], ["run", "--validate-only"], ["plan"]):
        assert front(*words, "dwi", three, tmp_path / "out").exit_code == 0


def test_some_units_invalid_exits_1_when_validating_and_0_when_planning(
    unclear: Path, tmp_path: Path
) -> None:
    place = ("dwi", unclear, tmp_path / "out")
    assert front("run", "--validate-only", *place).exit_code == 1
    assert front("run", "--dry-run", *place).exit_code == 0
    assert front("plan", *place).exit_code == 0


@pytest.mark.parametrize("words", [["run", "--dry-run"], ["run", "--validate-only"], ["plan"]])
def test_no_usable_unit_exits_3(unclear: Path, tmp_path: Path, words: list[str]) -> None:
    only = ("dwi", unclear, tmp_path / "out", "--participant-label", "01", "02")
    assert front(*words, *only).exit_code == 3


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("run", 2, "LANE"),
        ("run nope STUDY OUT", 2, "'nope'"),
        ("run dwi NOWHERE OUT", 2, "STUDY"),
        ("run dwi STUDY OUT group", 2, "'group'"),
        ("run dwi STUDY STUDY", 2, "inside each other"),
        ("run dwi STUDY OUT --jobs 0", 2, "--jobs"),
        ("run dwi STUDY OUT --limit none", 2, "--limit"),
        ("run dwi STUDY OUT --nope", 2, "--nope"),
        ("run dwi STUDY OUT --parameter x", 2, "NAME=VALUE"),
        ("run dwi STUDY OUT --parameter x=1", 2, "'x'"),
        ("run dwi STUDY OUT --parameter gradient_check=x", 2, "gradient_check"),
        ("run dwi STUDY OUT --manifest NOWHERE", 2, "--manifest"),
        ("run dwi STUDY OUT --participant-label 99", 2, "sub-99"),
        ("run dwi EMPTY OUT", 3, "INPUT_MISSING"),
        ("plan dwi EMPTY OUT", 3, "INPUT_MISSING"),
        ("why EMPTY sub-01", 2, "sub-01"),
        ("report EMPTY", 3, "no run"),
        ("report NOWHERE", 2, "OUT"),
        ("nope", 2, "nope"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_is_one_line_on_stderr_and_writes_nothing(
    three: Path, tmp_path: Path, words: str, status: int, said: str, as_json: bool
) -> None:
    (tmp_path / "empty").mkdir()
    names = {"STUDY": three, "OUT": tmp_path / "out", "EMPTY": tmp_path / "empty",
             "NOWHERE": tmp_path / "nowhere"}  # fmt: skip
    given = [names.get(word, word) for word in words.split()]
    before = tree(tmp_path), tree(three)
    result = front(*given, *(["--json"] if as_json and words != "nope" else []))
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("ERROR ")
    assert said in result.stderr
    assert (tree(tmp_path), tree(three)) == before


@pytest.mark.parametrize("option", ["--dry-run", "--validate-only"])
def test_looking_at_an_ambiguous_study_shows_the_choices(
    unclear: Path, tmp_path: Path, option: str
) -> None:
    text = front("run", "dwi", unclear, tmp_path / "out", option).stdout
    assert "dir-AP" in text
    assert "1.2.826.0.1.3680043.10.1.2" in text


def test_validation_as_json_has_category_remedy_and_choices(unclear: Path, tmp_path: Path) -> None:
    result = front("run", "dwi", unclear, tmp_path / "out", "--validate-only", "--json")
    first, second, third = rows(result)
    assert (first["unit"], first["valid"], first["category"]) == ("sub-01", False, "DATA_INVALID")
    assert len(second["choices"]) == 2
    assert second["remedy"]
    assert third == {"unit": "sub-03", "valid": True}


def test_a_plan_is_a_unit_a_line_and_a_count_for_other_programs(
    unclear: Path, tmp_path: Path
) -> None:
    lines = front("plan", "dwi", unclear, tmp_path / "out").stdout.splitlines()
    assert lines[0].split("\t") == ["unit", "decision", "reason", "detail"]
    assert lines[3].split("\t") == ["sub-03", "run", "new", ""]
    assert lines[4:] == ["1 run, 0 skip, 2 invalid"]


def test_the_limit_counts_units_that_run(three: Path) -> None:
    assert units(dry(three, "--limit", "2")) == ["sub-01", "sub-02"]


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    return finished_batch(tmp_path / "out").write()


@pytest.mark.parametrize("words", ["why OUT sub-14 --json", "report OUT --json", "doctor --json"])
def test_json_is_all_that_stdout_has(batch: Path, words: str) -> None:
    result = front(*[str(batch) if word == "OUT" else word for word in words.split()])
    assert result.exit_code in {0, 1}
    assert json.loads(result.stdout)


def summary(out: Path, problems: int) -> Summary:
    """Return a summary of two units done and some that have problems."""
    built = report.build(out)
    changed: Summary = type(built)(
        **{**vars(built), "problems": [f"SOFTWARE sub-{n:03} broke: tell" for n in range(problems)]}
    )
    return changed


@pytest.mark.parametrize("status", [0, 1, 3, 130])
def test_run_leaves_with_the_status_of_its_result(
    three: Path, batch: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run.Result(summary(batch, 0), status)
    monkeypatch.setattr(run, "run", lambda *_: result)
    ended = front("run", "dwi", three, batch.parent / "new", "--json")
    assert ended.exit_code == status
    assert json.loads(ended.stdout)["status"] == status


def test_many_problems_are_cut_short_and_lead_to_the_report_and_to_why(
    three: Path, batch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run.Result(summary(batch, 500), 1, "the engine's own words")
    monkeypatch.setattr(run, "run", lambda *_: result)
    ended = front("run", "dwi", three, batch.parent / "new")
    lines = ended.stdout.splitlines()
    assert len(lines) < 50
    assert "480 more" in ended.stdout
    assert sum(line.startswith("✗ SOFTWARE sub-") for line in lines) == 20
    done = sum(line.startswith("✓ sub-") for line in lines)
    assert done == len(result.summary.done) > 0
    assert str(batch / "report.html") in ended.stdout
    assert f"cohortflow why {batch} UNIT" in ended.stdout
    assert "the engine's own words" in ended.stderr


def _commands() -> list[Any]:
    return [pytest.param(command, id=name) for name, command in main.commands.items()]


@pytest.mark.parametrize("command", _commands())
def test_every_command_and_option_explains_itself(command: click.Command) -> None:
    assert command.help
    assert "Example:" in (command.epilog or "")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
    result = front(command.name, "--help")
    assert result.exit_code == 0
    assert max(len(line) for line in result.stdout.splitlines()) <= 80


def test_the_list_of_commands_is_not_cut_off() -> None:
    assert "..." not in front("--help").stdout.split("Commands:")[1]


def test_lanes_shows_steps_and_parameters() -> None:
    text = front("lanes").stdout
    assert "convert, denoise, unring, correct, mask, bias, orient, tensor, fod" in text
    assert "--parameter gradient_check=correct (correct|refuse|warn|off)" in text


def test_the_doctor_fits_a_terminal() -> None:
    lines = front("doctor").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    found = json.loads(front("doctor", "--json").stdout)
    assert [line.split()[0] for line in lines[1:] if line[0] != " "] == [
        finding["status"] for finding in found
    ]
    assert "this environment" in "".join(lines)
