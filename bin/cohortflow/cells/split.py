"""Which cells are for training and which for testing: by donor, by cell, or by age.

Everything is decided from the identifiers alone, with a keyed hash, so the same seed gives the
same split on any machine and in any order, and the decision for a block of cells needs no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohortflow.cells import h5ad, obs, subset
from cohortflow.cells.keyed import (
    NOTHING,
    Hashes,
    at_most,
    by_name,
    count,
    hashes,
    shuffled,
    threshold,
)
from cohortflow.cells.split_file import DonorPart, Split, read, write
from cohortflow.core.outcome import Category, Failure

__all__ = [
    "NOTHING",
    "DonorPart",
    "Hashes",
    "Split",
    "by_age",
    "by_cell",
    "by_donor",
    "hashes",
    "is_test",
    "read",
    "threshold",
    "write",
]


@dataclass(frozen=True)
class Wish:
    """How a file is to be split.

    Attributes
    ----------
    by : {"donor", "cell", "age"}
        By donor a file without donors is split by cell, and says so.
    test_size : float
        Share of the cells; 0 leaves all in train.
    seed : int
    donor_column : str
        Column of obs; the first of `obs.DONORS` that is there when empty.
    """

    by: str = "donor"
    test_size: float = 0.05
    seed: int = 42
    donor_column: str = ""


def of_file(source: Path, wish: Wish) -> Split:
    """Decide which cells of a file are for testing; refuse cells without a name of their own.

    Raises
    ------
    Failure
        As `h5ad.opened`, `obs.cells` and `obs.refuse_bad_names` say.
    """
    with h5ad.opened(source) as file:
        cells = obs.cells(file)
        obs.refuse_bad_names(cells, file)
        column = obs.donor_column(cells, wish.donor_column, file) if wish.by == "donor" else None
        if column is not None:
            counts = obs.counted(column, cells.rows)
            return by_donor(counts, column.name, test_size=wish.test_size, seed=wish.seed)
        hashed = np.concatenate([hashes(wish.seed, names) for names in obs.names(cells)])
        stage = cells.column(obs.STAGE)
        if wish.by == "age" and stage is not None:
            codes, labels = obs.coded(stage, cells.rows)
            return by_age(
                hashed, codes, labels, column=obs.STAGE, test_size=wish.test_size, seed=wish.seed
            )
        made = by_cell(hashed, test_size=wish.test_size, seed=wish.seed)
        lacks = {"donor": "column of donors", "age": f"column {obs.STAGE}"}.get(wish.by)
        note = f"obs has no {lacks}, so the split is by cell" if lacks else ""
        return replace(made, note=note or made.note)


def by_donor(
    counts: Mapping[str | None, int], column: str, *, test_size: float, seed: int
) -> Split:
    """Send whole donors to test or train, as near to the test size as whole donors allow.

    With two donors or more each part has at least one. Of these sets of donors the one is taken
    whose number of cells is nearest to ``test_size * cells``, the larger on equal distance (see
    `subset.nearest`, also for numbers of cells that are too large for it to be exact). The seed
    decides which, where several sets are equally near, and only there.

    Parameters
    ----------
    counts : mapping of str or None to int
        Cells of each donor; those without a donor, key None, are one group of their own. Donors
        without a cell are left out.
    column : str
        Where the donors come from.
    test_size : float
        In [0, 1); 0 leaves everything in train.
    seed : int

    Raises
    ------
    Failure
        USAGE for another test size, DATA_INVALID for a donor that UTF-8 cannot hold.
    """
    share = _share(test_size)
    donors = shuffled(seed, [donor for donor, cells in counts.items() if cells])
    sizes = [int(counts[donor]) for donor in donors]
    chosen: set[str | None] = set()
    if share and len(donors) > 1:
        chosen = {donors[index] for index in subset.nearest(sizes, share * sum(sizes))}
    parts = tuple(
        DonorPart(donor, int(counts[donor]), "test" if donor in chosen else "train")
        for donor in sorted(donors, key=by_name)
    )
    return Split(
        by="donor",
        column=column,
        seed=seed,
        test_size=float(test_size),
        cells=sum(sizes),
        test_cells=sum(part.cells for part in parts if part.part == "test"),
        note="one donor only: no test part" if share and len(donors) == 1 else "",
        donors=parts,
        thresholds={},
    )


def by_cell(hashes: Hashes, *, test_size: float, seed: int) -> Split:
    """Send the cells with the smallest hashes to test.

    Their number is ``test_size * cells``, rounded (halves up), at least one and at most all but
    one. Cells of the same id have the same hash and stay together, so the number can differ by
    as many as share an id. Takes 17 bytes a cell, the hashes included.

    Parameters
    ----------
    hashes : ndarray of uint64, shape (cells,)
        Of the cell ids, with the same seed, in any order.
    test_size : float
        In [0, 1); 0 leaves everything in train.
    seed : int

    Raises
    ------
    Failure
        USAGE for another test size.
    """
    share = _share(test_size)
    wanted = _wanted(len(hashes), share)
    limit = threshold(hashes, wanted)
    if wanted and not 0 < count(hashes, limit) < len(hashes):
        # only where cells share an id: take the nearest threshold that leaves both parts a cell
        limit = int(hashes.min()) if count(hashes, limit) == 0 else int(hashes.max()) - 1
        limit = limit if 0 < count(hashes, limit) < len(hashes) else NOTHING
    return _by_hash("cell", None, hashes, {None: (hashes, limit)}, share, test_size, seed)


def by_age(
    hashes: Hashes,
    codes: NDArray[np.integer],
    labels: Sequence[str],
    *,
    column: str,
    test_size: float,
    seed: int,
) -> Split:
    """Send the cells with the smallest hashes of every age to test: each age in proportion.

    The number of test cells is that of `by_cell`; it is divided among the ages by the method of
    largest remainders, so that each age has its exact share rounded down or up.

    Parameters
    ----------
    hashes : ndarray of uint64, shape (cells,)
        Of the cell ids, with the same seed.
    codes : ndarray of int, shape (cells,)
        Index of each cell's age in `labels`; -1 for none, which is a stratum of its own.
    labels : sequence of str
        The ages, each once.
    column : str
        Where the ages come from.
    test_size : float
        In [0, 1); 0 leaves everything in train.
    seed : int

    Raises
    ------
    Failure
        USAGE for another test size; DATA_INVALID for labels that stand twice or for codes that
        do not fit to cells and labels.
    """
    share = _share(test_size)
    _check_strata(len(hashes), codes, labels, column)
    names: list[str | None] = [None, *labels]
    counts = np.bincount(codes.astype(np.intp) + 1, minlength=len(names))
    there = {name: int(n) for name, n in zip(names, counts, strict=True) if n}
    strata = {}
    for name, wanted in _divided(there, share, seed).items():
        own = hashes[codes == names.index(name) - 1]
        strata[name] = (own, threshold(own, wanted))
    return _by_hash("age", column, hashes, strata, share, test_size, seed)


def is_test(
    split: Split, ids: Sequence[str], groups: Sequence[str | None] | None = None
) -> NDArray[np.bool_]:
    """Tell which cells of a block are test.

    Parameters
    ----------
    split : Split
    ids : sequence of str
        Cell ids of the block; not looked at by donor.
    groups : sequence of str or None, optional
        Donor or age of each cell; not looked at by cell.

    Returns
    -------
    ndarray of bool, shape (cells,)

    Raises
    ------
    Failure
        DATA_INVALID for a donor or an age that the split does not know.
    """
    if split.by == "cell":
        return at_most(hashes(split.seed, ids), split.thresholds[None])
    if groups is None:
        raise TypeError(f"a split by {split.by} needs the {split.by} of each cell")
    if split.by == "donor":
        parts = {part.donor: part.part == "test" for part in split.donors}
        return np.array(_looked_up(split, parts, groups), dtype=np.bool_)
    number = {name: index for index, name in enumerate(split.thresholds)}
    of_cells = np.array(_looked_up(split, number, groups), dtype=np.intp)
    limits = np.array([max(limit, 0) for limit in split.thresholds.values()], dtype=np.uint64)
    some = np.array([limit != NOTHING for limit in split.thresholds.values()], dtype=np.bool_)
    return np.asarray((hashes(split.seed, ids) <= limits[of_cells]) & some[of_cells])


def _looked_up(
    split: Split, table: Mapping[str | None, int], groups: Sequence[str | None]
) -> list[int]:
    try:
        return [table[group] for group in groups]
    except KeyError as error:
        raise Failure(
            Category.DATA_INVALID,
            f"{split.column}: {error.args[0]!r} is not in the split, "
            "the file changed since the split was made",
            "split it again",
        ) from None


def _share(test_size: float) -> Fraction:
    """Return the test size as it is written, 0.05 as 1/20, so that halves are halves."""
    if not 0 <= test_size < 1:
        raise Failure(
            Category.USAGE,
            f"test size {test_size}: is not a share of the cells",
            "give a number from 0 up to but not including 1",
        )
    return Fraction(str(float(test_size)))


def _wanted(cells: int, share: Fraction) -> int:
    if not share or cells < 2:
        return 0
    return min(max(floor(cells * share + Fraction(1, 2)), 1), cells - 1)


def _divided(counts: Mapping[str | None, int], share: Fraction, seed: int) -> dict[str | None, int]:
    """Divide the wanted number of test cells among strata by largest remainders."""
    exact = {name: count * share for name, count in counts.items()}
    wanted = {name: floor(number) for name, number in exact.items()}
    left = _wanted(sum(counts.values()), share) - sum(wanted.values())
    # the sort is stable: among equal remainders the order of the hash decides
    for name in sorted(shuffled(seed, counts), key=lambda n: wanted[n] - exact[n])[:left]:
        wanted[name] += 1
    return wanted


def _check_strata(
    cells: int, codes: NDArray[np.integer], labels: Sequence[str], column: str
) -> None:
    fits = len(codes) == cells and (not cells or -1 <= codes.min() <= codes.max() < len(labels))
    if not fits or len(set(labels)) != len(labels):
        raise Failure(
            Category.DATA_INVALID,
            f"{column}: its codes and categories do not fit to each other or to the cells",
            "write the column again",
        )


def _by_hash(
    by: str,
    column: str | None,
    hashes: Hashes,
    strata: Mapping[str | None, tuple[Hashes, int]],
    share: Fraction,
    test_size: float,
    seed: int,
) -> Split:
    test_cells = sum(count(own, limit) for own, limit in strata.values())
    note = ""
    if share and len(hashes) and test_cells in {0, len(hashes)}:
        what = "one cell only" if len(hashes) == 1 else "too many cells share an id"
        note = f"{what}: no {'train' if test_cells else 'test'} part"
    ordered = sorted(strata, key=by_name)
    return Split(
        by=by,
        column=column,
        seed=seed,
        test_size=float(test_size),
        cells=len(hashes),
        test_cells=test_cells,
        note=note,
        donors=(),
        thresholds={name: strata[name][1] for name in ordered},
    )
