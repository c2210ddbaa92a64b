"""`cohortflow why`: what happened to one unit, from what the last runs wrote."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohortflow.core import lanes, layout, marker, plan, refused
from cohortflow.core.outcome import Category, Failure, one_line


@dataclass(frozen=True)
class Story:
    """What is known of a unit.

    Attributes
    ----------
    unit, run : str
    decision, reason, detail : str
        The plan's words.
    state : str
        ``complete``, ``damaged`` or ``not published``.
    problem, remedy : str
        Why the unit could not run, and what to do; empty when it could.
    choices : list of dict
        Of an ambiguous unit.
    attempts : list of dict
        The unit's records of that run, in order.
    picture : str
        Path of a picture of what was refused; empty when there is none.
    rerun : str
        A command line that tries the unit again.
    """

    unit: str
    run: str
    decision: str
    reason: str
    detail: str
    state: str
    problem: str
    remedy: str
    choices: list[dict[str, str]]
    attempts: list[dict[str, Any]]
    picture: str
    rerun: str


def story(out: Path, unit: str) -> Story:
    """Tell what happened to a unit in the latest run that knew it.

    Raises
    ------
    Failure
        USAGE when no run in this output knew the unit.
    """
    found = _latest_plan(out, unit)
    if found is None:
        raise Failure(
            Category.USAGE,
            f"no run in {out} knew a unit {unit!r}",
            "see the units in batch_summary.json",
        )
    run, head, entry = found
    done = marker.read(out / entry["unit"]["folder"])
    state = "not published" if done is None else "complete"
    if isinstance(done, str):
        state = f"damaged: {done}"
    excluded = entry["unit"].get("excluded") or {}
    attempts = _attempts(out, run, unit)
    return Story(
        unit,
        run,
        entry["decision"],
        entry["reason"],
        entry["detail"],
        state,
        f"{excluded['category']}: {excluded['message']}" if excluded else "",
        excluded.get("remedy", ""),
        excluded.get("choices", []),
        attempts,
        _picture(out, run, unit, attempts, excluded.get("message", "")),
        shlex.join(_command(out, run, head, entry["unit"])),
    )


def _picture(out: Path, run: str, unit: str, attempts: list[dict[str, Any]], message: str) -> str:
    """Return the picture of what the last attempt or, where there is none, the plan refused."""
    failures = [attempt["step"] for attempt in attempts if attempt["category"]]
    step = failures[-1] if failures else None
    return str(refused.find(out, run, unit, step=step, message=message) or "")


def _command(out: Path, run: str, head: dict[str, Any], unit: dict[str, Any]) -> list[str]:
    """Make the command that tries a unit again as that run did, from any folder."""
    facts = _facts(out, run)
    study = facts.get("file") or head["dataset"]
    words = ["cohortflow", "run", head["lane"], study, str(out.absolute())]
    for entity, option in (("subject", "participant"), ("session", "session")):
        if entity in unit.get("entities", {}):
            words.append(f"--{option}-label={unit['entities'][entity]}")
    if _had_manifest(facts):
        words.append(f"--manifest={layout.run_folder(out.absolute(), run) / 'manifest.jsonl'}")
    lane = lanes.get(head["lane"])
    usual = lane.resolve({})
    given = {k: v for k, v in head["parameters"].items() if usual.get(k) != v}
    named = {parameter.name for parameter in lane.parameters if parameter.input}
    given |= {i["role"]: i["path"] for i in unit.get("inputs", []) if i["role"] in named}
    return [*words, *(f"--parameter={k}={v}" for k, v in given.items()), "--rerun-failed"]


def _facts(out: Path, run: str) -> dict[str, Any]:
    try:
        facts = json.loads((layout.run_folder(out, run) / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _had_manifest(facts: Mapping[str, Any]) -> bool:
    """Tell whether a run took its units from a manifest: discovery may not find them again."""
    try:
        return any(word.startswith("--manifest") for word in shlex.split(facts["command"]))
    except (ValueError, KeyError):
        return False


def _latest_plan(out: Path, unit: str) -> tuple[str, dict[str, Any], dict[str, Any]] | None:
    """Find the newest run that decided something about a unit; one that ran it goes first."""
    folder = layout.hidden(out, "runs")
    found = None
    for run in sorted((p.name for p in folder.glob("*") if p.is_dir()), reverse=True):
        path = layout.run_folder(out, run) / "plan.jsonl"
        if not path.is_file():
            continue
        lines = plan.read(path)
        head = next(lines)
        entry = next((line for line in lines if line["unit"]["id"] == unit), None)
        if entry is not None and (found is None or entry["decision"] == "run"):
            found = (run, head, entry)
            if entry["decision"] == "run" or entry["reason"] == "excluded":
                return found
    return found


def _attempts(out: Path, run: str, unit: str) -> list[dict[str, Any]]:
    path = layout.run_folder(out, run) / "records.jsonl"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        values = [json.loads(line) for line in file]
    return [value for value in values if value["unit"] == unit]


def text(told: Story) -> str:
    """Write a story for a terminal."""
    detail = f": {told.detail}" if told.detail and told.detail not in told.problem else ""
    lines = [
        f"{told.unit}: {told.state}",
        f"  run {told.run}: {told.decision} ({told.reason}){detail}",
    ]
    for attempt in told.attempts:
        status = attempt["category"] or "ok"
        lines.append(
            f"  {attempt['step']:<10} attempt {attempt['attempt']}  {status}  "
            f"{attempt['seconds']:.1f} s  {attempt['work']}"
        )
    if told.problem:
        lines += ["", told.problem]
        lines += ["  " + "  ".join(f"{k}={v}" for k, v in one.items()) for one in told.choices]
        lines += [f"What to do: {told.remedy}"]
    failures = [attempt for attempt in told.attempts if attempt["category"]]
    if failures:
        last = failures[-1]
        lines += ["", f"{last['category']}: {last['message']}", f"What to do: {last['remedy']}"]
        lines += ["", "The command:", *(f"  {row}" for row in last["command"].splitlines())]
        lines += [
            "",
            "The end of its log:",
            *(f"  {_plain(row)}" for row in last["log"].splitlines()),
        ]
    if told.picture:
        lines += ["", f"What was refused: {told.picture}"]
    if told.state != "complete":
        lines += ["", "Try it again:", f"  {told.rerun}"]
    return "\n".join(lines)


def _plain(row: str) -> str:
    """Escape what would move a terminal's cursor or change its colours."""
    return one_line(row.expandtabs())
