"""Publishing: a unit's outputs appear in one step, complete and with their marker, or not at all.

The order is: lock, stage on the output's filesystem, compare with the lane's list, flush, write
the marker last, swap the folder into place, flush the parent, drop the old version, unlock. A
crash at any point leaves the old complete version or the new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cohortflow import __version__
from cohortflow.core import failed, fingerprint, layout, marker, runs, save
from cohortflow.core.lanes import Lane
from cohortflow.core.manifest import Unit
from cohortflow.core.outcome import Category, Failure

_BLOCK = 1 << 20


@contextmanager
def locked(out: Path, unit: str) -> Iterator[None]:
    """Hold a unit's lock; only flock decides, the file stays.

    Raises
    ------
    Failure
        TEMPORARY when another process publishes the same unit.
    """
    folder = layout.hidden(out, "locks")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{unit}.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Failure(
                Category.TEMPORARY, f"{unit} is being published by {file.read().strip() or '?'}"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} since {runs.now()}")
        file.flush()
        yield


def publish(
    out: Path,
    lane: Lane,
    planned: Mapping[str, Any],
    folders: Sequence[Path],
    timings: Mapping[str, float],
) -> Path:
    """Publish one unit.

    Parameters
    ----------
    out : Path
        The output folder.
    lane : Lane
    planned : mapping
        The unit's line of the plan.
    folders : sequence of Path
        The steps' folders, in the order of the pipeline.
    timings : mapping of str to float
        Seconds of each step.

    Returns
    -------
    Path
        The unit's folder.

    Raises
    ------
    Failure
        SOFTWARE when the files are not those that the lane declares; TEMPORARY when the unit is
        locked; OUTPUT_WRITE when its folder holds another published unit.
    OSError
        When the output cannot be written; what was published before is untouched.
    """
    unit = Unit.model_validate(planned["unit"])
    target = out / unit.folder
    with locked(out, unit.id):
        _repair(out, unit)
        _refuse_nested(target, unit)
        staging = layout.hidden(out, "work", f"{unit.id}.{secrets.token_hex(4)}")
        staging.mkdir(parents=True)
        try:
            outputs = _stage(folders, staging, lambda path: lane.is_handed_on(path, unit.id))
            _check(outputs, lane, unit, {**planned["parameters"], **unit.options})
            value = _marker(planned, unit, outputs, timings)
            _flush(staging)
            save.write_text(staging / marker.NAME, value.model_dump_json(indent=2) + "\n")
            _promote(staging, target, out, unit)
            failed.forget(out, unit.id)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return target


def repair(out: Path, units: Iterable[Unit]) -> None:
    """Clear up what publishes of some units left that did not live to their end.

    Parameters
    ----------
    out : Path
    units : iterable of Unit
        Units of this output; what stands in the staging folder of any other is left alone.
    """
    left = layout.hidden(out, "work")
    names = {path.name.partition(".")[0] for path in left.glob("*")} if left.is_dir() else set()
    for unit in units:
        if unit.id.partition(".")[0] in names:
            with locked(out, unit.id):
                _repair(out, unit)


def _repair(out: Path, unit: Unit) -> None:
    """Clear up what a publish of this unit left that did not live to its end."""
    target = out / unit.folder
    work = layout.hidden(out, "work")
    ours = re.compile(re.escape(unit.id) + r"\.[0-9a-f]{8}(\.old)?")
    for left in sorted(work.glob("*"), reverse=True):  # an `.old` before its staging
        if not ours.fullmatch(left.name):
            continue
        if left.suffix == ".old" and not target.exists():
            left.rename(target)
            continue
        if left.suffix == ".old" or isinstance(marker.read(left), marker.Marker):
            _keep_foreign(left, out, unit)
        shutil.rmtree(left, ignore_errors=True)


def _refuse_nested(target: Path, unit: Unit) -> None:
    """Refuse to replace a folder that holds a published unit of its own (an older layout)."""
    for other in target.rglob(marker.NAME):
        if other.parent != target:
            raise Failure(
                Category.OUTPUT_WRITE,
                f"{unit.folder} holds the published unit {other.parent.relative_to(target)}",
                "use another output folder, or remove that unit from this one",
            )


def _stage(
    folders: Sequence[Path], staging: Path, left: Callable[[str], bool]
) -> list[marker.Output]:
    """Copy the steps' files into one tree, hashing on the way; metrics are merged.

    What `left` tells to be for other steps alone stays behind.
    """
    outputs: dict[str, marker.Output] = {}
    metrics: dict[str, Any] = {}
    for folder in folders:
        for source in sorted(p for p in folder.rglob("*") if not p.is_dir()):
            name = source.relative_to(folder).as_posix()
            if name == "metrics.json":
                metrics.update(json.loads(source.read_text(encoding="utf-8")))
                continue
            if left(name):
                continue
            if name in outputs:
                raise Failure(Category.SOFTWARE, f"two steps wrote {name}")
            outputs[name] = _copy(source, staging / name, name)
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (staging / "metrics.json").write_text(text, encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    outputs["metrics.json"] = marker.Output(
        path="metrics.json", bytes=len(text.encode()), sha256=digest
    )
    return [outputs[name] for name in sorted(outputs)]


def _copy(source: Path, target: Path, name: str) -> marker.Output:
    """Copy one file (a copy, never a hard link: an edit must not reach Nextflow's cache)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(_BLOCK):
            digest.update(block)
            size += len(block)
            writer.write(block)
    return marker.Output(path=name, bytes=size, sha256=digest.hexdigest())


def _check(
    outputs: Sequence[marker.Output], lane: Lane, unit: Unit, parameters: Mapping[str, str]
) -> None:
    found = {output.path for output in outputs}
    missing = lane.missing(found, unit.id, parameters)
    extra = lane.unexpected(found, unit.id)
    if missing or extra:
        parts = [f"{', '.join(missing)} missing"] if missing else []
        parts += [f"{', '.join(extra)} not declared"] if extra else []
        raise Failure(Category.SOFTWARE, f"outputs of {unit.id}: {'; '.join(parts)}")
    empty = [output.path for output in outputs if output.bytes == 0]
    if empty:
        raise Failure(Category.SOFTWARE, f"outputs of {unit.id}: {', '.join(empty)} empty")


def _marker(
    planned: Mapping[str, Any],
    unit: Unit,
    outputs: list[marker.Output],
    timings: Mapping[str, float],
) -> marker.Marker:
    dataset = Path(planned["dataset"])
    inputs = [
        i.model_copy(update={"path": Path(i.path).relative_to(dataset).as_posix()})
        if Path(i.path).is_relative_to(dataset)
        else i.model_copy(update={"path": Path(i.path).name})
        for i in unit.inputs
    ]
    return marker.Marker(
        unit=unit.id,
        lane=planned["lane"],
        run=planned["run"],
        pipeline_version=__version__,
        code=planned["code"],
        parameters=planned["parameters"],
        options=unit.options,
        inputs=inputs,
        input_fingerprint=fingerprint.inputs(unit.inputs),
        outputs=outputs,
        timings=dict(timings),
        finished=runs.now(),
    )


def _flush(folder: Path) -> None:
    """Flush every file and folder of a tree, leaves first."""
    for root, _, files in os.walk(folder, topdown=False):
        for name in files:
            save.fsync_path(Path(root, name))
        save.fsync_path(Path(root))


def _promote(staging: Path, target: Path, out: Path, unit: Unit) -> None:
    """Swap the staged folder into place; foreign files of the old one are moved, not deleted."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        _keep_foreign(target, out, unit)  # first, so that what a crash leaves can be dropped
    if not target.exists():
        staging.rename(target)
        _flush_parents(target, out)
        return
    save.exchange(staging, target)
    _flush_parents(target, out)
    _keep_foreign(staging, out, unit)  # what came meanwhile


def _flush_parents(target: Path, out: Path) -> None:
    """Flush the folders above a unit's, which may be new themselves, up to the output."""
    for parent in target.parents:
        save.fsync_path(parent)
        if parent == out:
            return


def _keep_foreign(old: Path, out: Path, unit: Unit) -> None:
    """Move what no marker listed from the old folder to `.cohortflow/kept/<unit>/<time>/`."""
    known = marker.read(old)
    listed = {marker.NAME}
    if isinstance(known, marker.Marker):
        listed |= {output.path for output in known.outputs}
    foreign = [
        p
        for p in (old.rglob("*") if old.is_dir() else [old])
        if (p.is_symlink() or not p.is_dir()) and p.relative_to(old).as_posix() not in listed
    ]
    kept = layout.hidden(out, "kept", unit.id, runs.new_id())
    for source in foreign:
        place = kept / source.relative_to(old)
        place.parent.mkdir(parents=True, exist_ok=True)
        source.rename(place)
