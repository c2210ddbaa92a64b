"""Find the units of a study: by discovery or from a manifest, narrowed to what was asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from cohortflow import __version__
from cohortflow.core import importers, refresh
from cohortflow.core.lanes import Lane, Selection
from cohortflow.core.manifest import Header, Unit
from cohortflow.core.outcome import Category, Failure


def selection(
    lane: Lane, participants: tuple[str, ...], sessions: tuple[str, ...], filter_file: Path | None
) -> Selection:
    """Make a selection; labels may be given as one text with spaces or commas, as BIDS Apps do.

    Raises
    ------
    Failure
        As the lane's reader of filter files says; USAGE for labels or a filter file that mean
        nothing to the lane.
    """
    if not lane.bids and (participants or sessions):
        raise Failure(
            Category.USAGE,
            f"lane {lane.name} has no subjects and sessions",
            "choose units with --manifest",
        )
    if filter_file is None:
        return Selection(_labels(participants), _labels(sessions))
    if lane.filters is None:
        raise Failure(
            Category.USAGE,
            f"lane {lane.name} takes no --bids-filter-file",
            "choose units with --manifest",
        )
    return Selection(_labels(participants), _labels(sessions), lane.filters(filter_file))


def place(lane: Lane, named: Path) -> tuple[Path, Path | None]:
    """Return the study that a path names, and the file in it where it names one.

    Raises
    ------
    Failure
        USAGE for a file where the lane takes a folder only.
    """
    if not named.is_file():
        return named, None
    if not lane.takes_file:
        raise Failure(
            Category.USAGE,
            f"{named} is a file, and lane {lane.name} takes a folder",
            "name the study's folder",
        )
    return named.absolute().parent, named.absolute()


def _labels(given: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(label for text in given for label in text.replace(",", " ").split())


def units(
    lane: Lane, study: Path, listed: Path | None, chosen: Selection
) -> tuple[Header, Iterator[Unit]]:
    """Return the header and the units of a study, or of `listed`, a manifest.

    Relative paths in a manifest of JSON are below the study; in another form, beside the manifest.

    Raises
    ------
    Failure
        As discovery and the manifest's reader say.
    """
    if listed is not None and chosen.file:
        raise Failure(
            Category.USAGE,
            f"--manifest and a study of one file, {chosen.file.name}, exclude each other",
            "name the study's folder",
        )
    if listed is not None and chosen.filters:
        raise Failure(
            Category.USAGE,
            "--manifest and --bids-filter-file exclude each other",
            "write the choice into the manifest, as series_uid or as paths",
        )
    if listed is None:
        header = Header(
            lane=lane.name,
            dataset=str(study.absolute()),
            generated_by=f"cohortflow {__version__}",
        )
        return header, lane.discover(study.absolute(), chosen)
    header, found = importers.read(listed, lane.name, study, chosen.parameters)
    if header.lane != lane.name:
        raise Failure(
            Category.USAGE,
            f"{listed} is of lane {header.lane}, not {lane.name}",
            f"run `cohortflow run {header.lane}`",
        )
    wanted = _asked(found, chosen)
    base = Path(header.dataset)
    return header, (refresh.unit(unit, lane, base, chosen.parameters) for unit in wanted)


def _asked(units: Iterable[Unit], chosen: Selection) -> Iterator[Unit]:
    """Yield the units that have one of the labels asked for.

    Raises
    ------
    Failure
        USAGE at the end, for a label that no unit has.
    """
    kinds = (("subject", "sub-", chosen.participants), ("session", "ses-", chosen.sessions))
    labels = {name: {one.removeprefix(prefix) for one in asked} for name, prefix, asked in kinds}
    unseen = {name: set(asked) for name, asked in labels.items()}
    for unit in units:
        for name, asked in unseen.items():
            asked.discard(unit.entities.get(name, ""))
        if all(not asked or unit.entities.get(name) in asked for name, asked in labels.items()):
            yield unit
    for name, prefix, _ in kinds:
        if unseen[name]:
            shown = ", ".join(prefix + label for label in sorted(unseen[name]))
            raise Failure(
                Category.USAGE,
                f"the manifest has no {shown}",
                "use labels as the manifest has them",
            )
