"""What failed attempts leave: the newest three, with their logs, until the unit is published."""

from __future__ import annotations

from pathlib import Path

from cohortflow.core import failed
from cohortflow.core.outcome import Category


def verdict(number: int = 0, category: Category = Category.SOFTWARE) -> failed.Verdict:
    return failed.Verdict(
        unit="sub-01",
        run="r",
        step="one",
        category=category,
        message=f"message {number}",
        remedy="mend it",
        fingerprint="00",
        time=f"2026-11-21T10:00:{number:02d}Z",
    )


def test_the_folder_tells_time_and_category_and_holds_the_logs(out: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("words")
    made = failed.keep(out, verdict(), {"command.err": log, "command.out": tmp_path / "none"})
    assert made == out / ".cohortflow/failed/sub-01/20261121T100000Z-SOFTWARE"
    assert {p.name for p in made.iterdir()} == {"command.err", "failure.json"}
    assert (made / "command.err").read_text() == "words"


def test_the_newest_three_are_kept(out: Path) -> None:
    for number in (3, 1, 4, 0, 2):
        failed.keep(out, verdict(number), {})
    kept = sorted(p.name for p in (out / ".cohortflow/failed/sub-01").iterdir())
    assert kept == [f"20261121T10000{number}Z-SOFTWARE" for number in (2, 3, 4)]
    assert failed.last(out, "sub-01") == verdict(4)


def test_the_same_failure_is_kept_once(out: Path) -> None:
    made = failed.keep(out, verdict(), {})
    (made / "note").write_text("mine")
    assert failed.keep(out, verdict(), {}) == made
    assert (made / "note").exists()


def test_units_do_not_mix(out: Path) -> None:
    failed.keep(out, verdict(), {})
    assert failed.last(out, "sub-0") is None
    assert failed.last(out, "sub-02") is None


def test_a_damaged_verdict_is_passed_over(out: Path) -> None:
    failed.keep(out, verdict(1), {})
    made = failed.keep(out, verdict(2), {})
    (made / "failure.json").write_text("{")
    (made.parent / "20271121T100000Z-x").mkdir()
    assert failed.last(out, "sub-01") == verdict(1)


def test_a_published_unit_is_forgiven(out: Path) -> None:
    failed.keep(out, verdict(), {})
    failed.forget(out, "sub-01")
    failed.forget(out, "never-failed")
    assert failed.last(out, "sub-01") is None
