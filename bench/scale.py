"""What grows with the number of units: memory on the head node, ledger rows, files.

Two numbers of units are measured; the difference gives what one more unit takes. docs/scale.md
reckons 100,000 units from it.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.timing import ROOT, Table, environment, python, search_path, spend

# Few and many units.
SIZES = {"full": (1_000, 10_000), "small": (200, 2_000), "tiny": (2, 10)}
COLUMNS = ("what", "few", "many", "1,000 more")
STEPS = ("convert", "mask", "tensor", "publish")
PATIENCE = 1_200.0


def measure(folder: Path, size: str) -> Iterator[Table]:
    few, many = SIZES[size]
    kinds: list[tuple[str, Callable[[Path, int], dict[str, float]]]] = [
        ("front door: discover, plan, follow", _front_door),
        ("Nextflow: all units waiting", _nextflow),
        ("report and ledger of a whole run", _afterwards),
    ]
    for title, kind in kinds:
        small, large = (kind(folder / f"{kind.__name__}{n}", n) for n in (few, many))
        rows = [
            (what, f"{before:.1f}", f"{after:.1f}", f"{1000 * (after - before) / (many - few):.2f}")
            for (what, before), after in zip(small.items(), large.values(), strict=True)
        ]
        yield Table(f"{title}; {few:,} and {many:,} units", COLUMNS, rows)


def show(folder: str, size: str) -> None:
    """Print the tables; `folder` is an empty one for what is measured."""
    for table in measure(Path(folder), size):
        print(f"{table.text()}\n", flush=True)


def _front_door(folder: Path, units: int) -> dict[str, float]:
    folder.mkdir()
    spend(python("make", "bids", folder / "study", units // 2))
    spent = spend(python("scale", "plan", folder / "study", folder / "out"))
    plan = folder / "plan.jsonl"
    return {"peak MB": spent.peak, "CPU s": spent.cpu, "plan, MB": plan.stat().st_size / 1e6}


def plan(study: str, out: str) -> None:
    """Do what the front door does, but for Nextflow: plan, write, follow every step."""
    from cohortflow.core import plan as planning
    from cohortflow.front import run
    from cohortflow.front.engine import Event
    from cohortflow.front.progress import Progress

    found = run.planned(run.Request(lane="dwi", study=Path(study), out=Path(out)))
    planning.write(Path(out).with_name("plan.jsonl"), found.shared, found.decisions)
    progress = Progress([unit.id for unit in found.running()], STEPS, Path(out))
    for number, unit in enumerate(progress.units):
        for step in STEPS:
            work = f"{number % 256:02x}/{len(progress.tasks):06x}"
            progress.take(Event("submitted", work, step, unit))
            progress.running.pop(work)
            progress.states[unit, step] = "done"
    progress.line()


def _nextflow(folder: Path, units: int) -> dict[str, float]:
    """Return Nextflow's live heap when each unit's first step waits for its turn.

    One step runs, and sleeps; the work folders of the others tell when they are all in the queue.
    """
    folder.mkdir()
    spend(python("make", "bids", folder / "study", units // 2))
    spend(python("scale", "plan", folder / "study", folder / "out"))
    hold = folder / "hold.config"
    hold.write_text("process.beforeScript = 'exec sleep 100000'\n")
    words = ["nextflow", "-c", hold, "run", ROOT / "main.nf", "-stub-run", "-qs", "1"]
    words += ["-ansi-log", "false", "-work-dir", folder / "work", "--lane", "dwi"]
    words += ["--plan", folder / "plan.jsonl", "--outdir", folder / "out"]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [str(word) for word in words], cwd=folder, env=environment(), stdout=said,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        _until(process, folder, units)
        return {"live heap, MB": _live(process.pid), "resident MB": _resident(process.pid)}
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _until(process: subprocess.Popen[bytes], folder: Path, units: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while sum(1 for _ in (folder / "work").glob("[0-9a-f][0-9a-f]/*")) < units:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError((folder / "said").read_text(errors="replace"))
        time.sleep(1)


def _live(pid: int) -> float:
    """Return the megabytes of what a JVM holds after a full collection."""
    told = subprocess.run(
        ["jcmd", str(pid), "GC.class_histogram"],
        env={**os.environ, "PATH": search_path()}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    total = re.search(r"^Total\s+\d+\s+(\d+)", told.stdout, re.MULTILINE)
    assert total is not None, told.stdout
    return int(total[1]) / 1e6


def _resident(pid: int) -> float:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGESIZE") / 1e6


def _afterwards(folder: Path, units: int) -> dict[str, float]:
    """Report a run that never was, and make its ledger."""
    folder.mkdir()
    out = folder / "out"
    spend(python("make", "batch", out, units, "report"))
    report = spend(["cohortflow", "report", out])
    ledger = spend(["cohortflow", "ledger", "rebuild", out])
    file = out / ".cohortflow" / "ledger.sqlite"
    return {
        "report, peak MB": report.peak, "report, CPU s": report.cpu,
        "report.html, MB": (out / "report.html").stat().st_size / 1e6,
        "ledger, peak MB": ledger.peak, "ledger, CPU s": ledger.cpu,
        "ledger, MB": file.stat().st_size / 1e6, "ledger, rows": _rows(file),
    }  # fmt: skip


def _rows(file: Path) -> float:
    with sqlite3.connect(file) as database:
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        counts = (database.execute(f"SELECT count(*) FROM {name}") for (name,) in names)
        return float(sum(count.fetchone()[0] for count in counts))


def count(out: str) -> None:
    """Print how many files and folders a run left for each task and each unit.

    The output of `cohortflow run` must hold its work folder.
    """
    root = Path(out)
    units = [path.parent for path in root.rglob("_done.json") if ".cohortflow" not in path.parts]
    work = root / ".cohortflow" / "nextflow" / "work"
    tasks = list(work.glob("[0-9a-f][0-9a-f]/*"))
    print(f"{len(units)} units, {len(tasks)} tasks")
    print(f"a task: {sum(_entries(task) for task in tasks) / len(tasks):.1f} inodes")
    print(f"a unit's output: {sum(_entries(unit) for unit in units) / len(units):.1f} inodes")
    bookkeeping = _entries(root / ".cohortflow") - _entries(work)
    print(f"bookkeeping beside the work folder: {bookkeeping} inodes in all")


def _entries(folder: Path) -> int:
    return 1 + sum(1 for _ in folder.rglob("*"))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
