"""Collect what the supervisors recorded in the tasks' folders, and keep what failed.

A task's folder holds the supervisor's record and Nextflow's own files; a folder of one run is
told from others by the run's id in the record.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cohortflow.core import (
    failed,
    lanes,
    launched,
    layout,
    names,
    outcome,
    plan,
    refused,
    runs,
    save,
)
from cohortflow.core.manifest import Unit
from cohortflow.core.outcome import Category
from cohortflow.core.supervise import RECORD, REFUSED_REMEDY

_ERROR_LINE = re.compile(r"^ERROR ([A-Z_]+) (\S+) (.*)$", re.MULTILINE)
# What a container engine or a shell says when it cannot start something.
_NOT_STARTED = {125, 126, 127}
# A scheduler that says so accepts the same task later.
_PASSING = re.compile(r"submit ?limit|submit ?job|timed out|contact|temporar", re.IGNORECASE)
_TAIL_LINES = 40
_SAID_LINES = 20
_TAIL_BYTES = 64 * 1024
_HEAD_STEPS = {"sweep", "probe", "discover", "plan", "report"}


@dataclass(frozen=True)
class TaskRecord:
    """One attempt of one task; a line of `records.jsonl`.

    `log` is the end of what a failed attempt printed, `said` the end of what a good one printed on
    standard error.
    """

    schema_version: int
    run: str
    unit: str
    step: str
    attempt: int
    exit: int | None
    category: Category | None
    started: str
    seconds: float
    peak_memory_bytes: int | None
    work: str
    command: str
    message: str | None
    remedy: str | None
    log: str
    said: str = ""


def seconds(record: Path) -> float:
    """Return the seconds that a supervisor's record states; 0 when there is none."""
    try:
        return float(json.loads(record.read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def collect(work: Path, run: str, since: float) -> Iterator[TaskRecord]:
    """Yield the records of a run's tasks.

    Parameters
    ----------
    work : Path
        Nextflow's work folder.
    run : str
        The run's id.
    since : float
        POSIX time of the run's start: older folders are not read.
    """
    for folder in _task_folders(work, since):
        value = _supervised(folder) or launched.task(folder)
        if value is not None and value.get("run") == run and value.get("step") not in _HEAD_STEPS:
            yield _task_record(folder, value)


def _task_folders(work: Path, since: float) -> Iterator[Path]:
    """Yield the task folders (`ab/cdef…`) that were touched since a time."""
    if not work.is_dir():
        return
    for first in sorted(os.scandir(work), key=lambda e: e.name):
        if len(first.name) == 2 and first.is_dir(follow_symlinks=False):
            for second in sorted(os.scandir(first.path), key=lambda e: e.name):
                if second.is_dir(follow_symlinks=False) and second.stat().st_mtime >= since - 60:
                    yield Path(second.path)


def _supervised(folder: Path) -> dict[str, Any] | None:
    try:
        value = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(value, dict):
        return None
    refused = launched.refusal(folder) if value.get("reason") == "refused" else ""
    return value | {"refused": refused}


def _task_record(folder: Path, value: dict[str, Any]) -> TaskRecord:
    log = tail(folder)
    category = _category(value, log)
    message, remedy = _explained(log, category, value)
    return TaskRecord(
        schema_version=1,
        run=value["run"],
        unit=value["unit"],
        step=value["step"],
        attempt=value["attempt"],
        exit=value["exit"],
        category=category,
        started=value["started"],
        seconds=value["seconds"],
        peak_memory_bytes=value["peak_memory_bytes"] or None,
        work=f"{folder.parent.name}/{folder.name}",
        command=_command(folder),
        message=message,
        remedy=remedy,
        log=log if category else "",
        said="" if category else tail(folder, (".command.err",), _SAID_LINES),
    )


def _category(value: dict[str, Any], log: str) -> Category | None:
    """Name how an attempt ended, from the supervisor's reason before its status."""
    if value.get("reason") in {"signal", "engine"}:
        return Category.INTERRUPTED
    if value.get("reason") in {"time", "budget"}:
        return Category.TIMEOUT
    if value.get("refused"):
        return Category.TEMPORARY if _PASSING.search(value["refused"]) else Category.CONFIG
    if value.get("reason") == "start" and value["exit"] in _NOT_STARTED:
        return Category.CONFIG
    said = any(m[1] == Category.OUT_OF_MEMORY for m in _ERROR_LINE.finditer(log))
    by_memory = value.get("reason") == "memory" or (said and value["exit"] == 137)
    return outcome.category_of(value["exit"], out_of_memory=by_memory)


def _explained(
    log: str, category: Category | None, value: dict[str, Any]
) -> tuple[str | None, str | None]:
    """Return the tool's own message and remedy, or the category's."""
    if category is None:
        return None, None
    policy = outcome.OUTCOMES[category]
    if value.get("refused"):
        remedy = policy.remedy if category is Category.TEMPORARY else REFUSED_REMEDY
        return _sentence(value["refused"]), remedy
    lines = [m for m in _ERROR_LINE.finditer(log) if m.group(1) == category]
    if lines:
        message, _, remedy = lines[-1].group(3).rpartition(": ")
        return (message or remedy), (remedy if message else policy.remedy)
    if value.get("reason") == "budget":
        return (
            f"the unit's time is spent: {sum(value.get('spent', {}).values()):.0f} s in its steps",
            "rerun with a longer --unit-timeout",
        )
    if category is Category.TIMEOUT:
        return f"ended after {value['seconds']:.0f} s, its limit", policy.remedy
    words = next((t for t in reversed(log.splitlines()) if t.strip()), "no output").strip()[:200]
    if category is Category.CONFIG:
        return f"the step could not be started: {words}", policy.remedy
    if category is Category.SOFTWARE:
        return f"exit status {value['exit']}: {words}", policy.remedy
    return policy.meaning, policy.remedy


def _sentence(text: str) -> str:
    """Join a program's lines to one."""
    lines = (line.strip() for line in text.splitlines())
    return outcome.one_line("; ".join(line for line in lines if line))


def tail(
    folder: Path,
    names: Sequence[str] = (".command.out", ".command.err"),
    most: int = _TAIL_LINES,
) -> str:
    """Return the last lines that a task printed, standard error after standard output."""
    lines: list[str] = []
    for name in names:
        try:
            with (folder / name).open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - _TAIL_BYTES))
                lines += file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            continue
    return "\n".join(lines[-most:])


def _command(folder: Path) -> str:
    try:
        lines = (folder / ".command.sh").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(line for line in lines[1:] if not line.startswith("{"))


def save_all(
    out: Path, run: str, work: Path, since: float, *, ended: bool = True
) -> list[TaskRecord]:
    """Write a run's `records.jsonl`.

    Parameters
    ----------
    out : Path
    run : str
    work : Path
        Nextflow's work folder.
    since : float
        POSIX time of the run's start.
    ended : bool
        Whether the run came to its own end, so that a unit that stands still has failed.

    Returns
    -------
    list of TaskRecord
        In the order of their start.
    """
    found = sorted(collect(work, run, since), key=lambda r: (r.started, r.unit, r.step, r.attempt))
    found = _without_output(found, work) if ended else [_stopped(record) for record in found]
    text = "".join(json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in found)
    save.write_text(layout.run_folder(out, run) / "records.jsonl", text)
    return found


def _stopped(record: TaskRecord) -> TaskRecord:
    """Say of a step without a status that it was interrupted: its run did not end by itself."""
    if record.category is not Category.LOST or record.exit is not None:
        return record
    policy = outcome.OUTCOMES[Category.INTERRUPTED]
    return replace(
        record, category=Category.INTERRUPTED, message=policy.meaning, remedy=policy.remedy
    )


def _without_output(found: list[TaskRecord], work: Path) -> list[TaskRecord]:
    """Mark the steps that ended with status 0, but without the output that they declare.

    Of their unit no attempt failed, it was not published, and the step's folder, which has the
    step's name, is not there.
    """
    final = {(record.unit, record.step): record for record in found}
    settled = {unit for (unit, step), record in final.items() if step == "publish"}
    settled |= {unit for (unit, _), record in final.items() if record.category}
    last = {record.unit: record for record in found if record.unit not in settled}
    return [
        _no_output(r, work)
        if last.get(r.unit) is r and not (work / r.work / r.step).exists()
        else r
        for r in found
    ]


def _no_output(record: TaskRecord, work: Path) -> TaskRecord:
    return replace(
        record,
        category=Category.SOFTWARE,
        message=f"{record.step} ended with status 0, but its declared output is missing",
        remedy=outcome.OUTCOMES[Category.SOFTWARE].remedy,
        log=tail(work / record.work),
        said="",
    )


def keep_failures(
    out: Path, found: list[TaskRecord], identities: dict[str, str], work: Path
) -> None:
    """Keep log, command, verdict and picture of the last attempt of each step that failed."""
    last = {(record.unit, record.step): record for record in found}
    for record in last.values():
        if record.category is None or record.unit not in identities:
            continue
        folder = work / record.work
        verdict = failed.Verdict(
            unit=record.unit,
            run=record.run,
            step=record.step,
            category=record.category,
            message=record.message or "",
            remedy=record.remedy or "",
            fingerprint=identities[record.unit],
            time=record.started,
        )
        left = ("command.sh", "command.out", "command.err", "command.run")
        files = {name: folder / f".{name}" for name in left}
        files["record.json"] = folder / RECORD
        computed = _computed(folder)
        if picture := refused.of_task(folder):
            files[refused.NAME] = picture
            computed.remove(picture)
        failed.keep(out, verdict, files, computed)


def _computed(folder: Path) -> list[Path]:
    """List what a task made: neither its inputs nor Nextflow's own files."""
    own = (".command", ".exitcode", RECORD)
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return []
    return [p for p in found if not _is_input(p) and not p.name.startswith(own)]


def _is_input(path: Path) -> bool:
    """Tell whether Nextflow put something into a task's folder: a link, or a folder of links."""
    if path.is_symlink() or not path.is_dir():
        return path.is_symlink()
    try:
        inner = list(path.iterdir())
    except OSError:
        return False
    return bool(inner) and all(one.is_symlink() for one in inner)


def adopt(out: Path, plan_file: Path, work: Path) -> str:
    """Make the run folder of a run that had no front door, from its plan and work folder.

    Parameters
    ----------
    out : Path
        The output folder.
    plan_file : Path
        The plan that the pipeline ran.
    work : Path
        Nextflow's work folder.

    Returns
    -------
    str
        The run's id.
    """
    lines = plan.read(plan_file)
    head = next(lines)
    folder = layout.run_folder(out, names.name(head["run"]))
    folder.mkdir(parents=True, exist_ok=True)
    identities: dict[str, str] = {}
    excluded: list[Unit] = []
    with (folder / "manifest.jsonl").open("w", encoding="utf-8") as file:
        wanted = {"schema_version": 1} | {
            key: head[key] for key in ("lane", "dataset", "generated_by")
        }
        file.write(json.dumps(wanted, ensure_ascii=False) + "\n")
        for entry in lines:
            file.write(json.dumps(entry["unit"], ensure_ascii=False) + "\n")
            if "identity" in entry:
                identities[entry["unit"]["id"]] = entry["identity"]
            if entry["reason"] == "excluded":
                excluded.append(Unit.model_validate(entry["unit"]))
    save.write_bytes(folder / "plan.jsonl", plan_file.read_bytes())
    began = datetime.fromisoformat(head["started"]).timestamp()
    found = save_all(out, head["run"], work, began)
    keep_failures(out, found, identities, work)
    refused.draw(lanes.get(head["lane"]), Path(head["dataset"]), excluded, folder)
    facts = {"run": head["run"], "started": head["started"], "finished": runs.now()}
    engine = {"engine": "nextflow", "command": "nextflow run main.nf", "interrupted": False}
    save.write_json(folder / "run.json", facts | engine)
    return str(head["run"])
