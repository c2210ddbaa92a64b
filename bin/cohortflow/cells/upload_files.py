"""What is sent of a dataset: its files, each checked to be whole, with size and checksum."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cohortflow.core.outcome import Category, Failure

README = "README.md"
TABLES = ("genes.tsv", "ages.tsv", "split.json")
DATA = "data/"
_SHARD = re.compile(r"(?P<split>train|test)-(?P<number>\d{5})-of-(?P<total>\d{5})\.parquet")
_ENDS = 12  # the mark at the begin of a parquet file; the footer's length and the mark at its end


@dataclass(frozen=True)
class File:
    """One file of a dataset.

    Attributes
    ----------
    path : str
        Its place in the repository.
    source : Path
        Where it is read.
    size : int
        In bytes.
    sha256 : str
        Checksum, 64 hexadecimal digits.
    """

    path: str
    source: Path
    size: int
    sha256: str


def belongs(path: str) -> bool:
    """Say whether a path of a repository is one that a dataset may have; all others are foreign."""
    return path in (README, *TABLES) or path.startswith(DATA)


def collect(dataset: Path, also: Sequence[Path] = ()) -> tuple[File, ...]:
    """Return the files of a dataset in the order of their paths, after checking all of them.

    Parameters
    ----------
    dataset : Path
        Folder with ``README.md``, ``data/`` and perhaps the tables of `TABLES`.
    also : sequence of Path
        More of the tables, or folders that hold them; nothing else of such a folder is taken.

    Raises
    ------
    Failure
        INPUT_MISSING when the folder is none of a dataset, DATA_INVALID when a shard is broken or
        missing, USAGE when a table is given twice or is none.
    OSError
        When a file cannot be read.
    """
    if not (dataset / README).is_file() or not (dataset / DATA).is_dir():
        raise Failure(
            Category.INPUT_MISSING,
            f"{dataset}: has no {README} beside a folder {DATA}",
            "name a folder that cells-convert made",
        )
    shards = _shards(dataset / DATA)
    for shard in shards:
        _check_whole(shard)
    sources = {README: dataset / README} | {DATA + shard.name: shard for shard in shards}
    return tuple(
        _file(path, source) for path, source in sorted((sources | _tables(dataset, also)).items())
    )


def _tables(dataset: Path, also: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    given = [table for path in also for table in _given(path)]
    for table in [*_inside(dataset), *given]:
        if table.name in found:
            raise Failure(
                Category.USAGE,
                f"{table}: {found[table.name]} is to be sent as {table.name} too",
                "name one of them",
            )
        found[table.name] = table
    return found


def _inside(folder: Path) -> list[Path]:
    return [folder / name for name in TABLES if (folder / name).is_file()]


def _given(path: Path) -> list[Path]:
    tables = _inside(path) if path.is_dir() else [path]
    if not tables or tables[0].name not in TABLES:
        raise Failure(
            Category.USAGE, f"{path}: is none of {', '.join(TABLES)}", "send no other files"
        )
    return tables


def _shards(folder: Path) -> list[Path]:
    """Return the shards of both splits; each must be the whole set that its names promise."""
    sets: dict[tuple[str, int], set[int]] = defaultdict(set)
    shards = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in shards:
        match = _SHARD.fullmatch(path.name)
        if not match or not path.is_file():
            raise Failure(
                Category.DATA_INVALID, f"{path}: is no shard of a dataset", "convert again"
            )
        sets[match["split"], int(match["total"])].add(int(match["number"]))
    splits = [split for split, _ in sets]
    if "train" not in splits or len(set(splits)) < len(splits):
        problem = "shards of two sets are mixed" if "train" in splits else "has no train shard"
        raise Failure(Category.DATA_INVALID, f"{folder}: {problem}", "convert again")
    for (split, total), numbers in sets.items():
        _check_complete(folder, split, total, numbers)
    return shards


def _check_complete(folder: Path, split: str, total: int, numbers: Iterable[int]) -> None:
    wrong = sorted(set(range(total)) ^ set(numbers))
    if wrong:
        problem = "is missing" if wrong[0] < total else "is one too many"
        name = f"{split}-{wrong[0]:05d}-of-{total:05d}.parquet"
        raise Failure(Category.DATA_INVALID, f"{folder / name}: {problem}", "convert again")


def _check_whole(path: Path) -> None:
    """Refuse a parquet file whose footer cannot be read or promises more bytes than there are."""
    from pyarrow import ArrowException, parquet

    with path.open("rb") as file:
        try:
            footer = parquet.read_metadata(file)
        except (ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise  # the disk's fault, not the file's
            reason = str(error).partition("\n")[0]
            raise Failure(
                Category.DATA_INVALID, f"{path}: is not whole parquet: {reason}", "convert again"
            ) from error
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    stored = sum(
        group.column(number).total_compressed_size
        for group in groups
        for number in range(group.num_columns)
    )
    if path.stat().st_size < stored + footer.serialized_size + _ENDS:
        raise Failure(
            Category.DATA_INVALID, f"{path}: is shorter than its footer says", "convert again"
        )


def _file(path: str, source: Path) -> File:
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return File(path, source, file.tell(), digest.hexdigest())
