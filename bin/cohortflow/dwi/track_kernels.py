"""The stepping loop of a streamline, compiled; one for all ways to choose a direction.

Positions are in voxel indices, directions in world axes. Random numbers are SplitMix64's (Steele,
Lea, Flood 2014), started from a streamline's own number: they do not depend on who tracks it.

All is in one file: what Numba keeps of a function is made anew when its own file has changed, not
when another one has.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.compiled import compiled

PROBABILISTIC, DETERMINISTIC, PEAKS = 0, 1, 2
"""How a direction is chosen."""

LOW_FA, OUTSIDE, TURNED, TOO_LONG = 0, 1, 2, 3
"""Why a streamline ended at one side."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_1, _2, _3, _4 = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
_UNIT = 1.0 / 9007199254740992.0
_MOST_HALVES = 16  # of a power that is taken by multiplying
_HALF, _NO_LENGTH = np.float32(0.5 - 1e-6), np.float32(1e-6)  # the former but for rounding
_BESIDE = 0.97  # cosine: directions within 14 degrees are beside each other


@compiled
def draw(state: NDArray[Any]) -> float:
    """Return a number from [0, 1) and move the state, uint64 of shape (1,)."""
    state[0] += _GOLDEN
    z = state[0]
    z = (z ^ (z >> _S30)) * _FIRST
    z = (z ^ (z >> _S27)) * _SECOND
    z = z ^ (z >> _S31)
    return float(z >> _S11) * _UNIT


@compiled
def surround(
    at: NDArray[Any], grid: NDArray[Any], index: NDArray[Any], weight: NDArray[Any]
) -> None:
    """Find the eight voxels around a position, and their trilinear weights; 0 outside the grid.

    Parameters
    ----------
    at : ndarray of float64, shape (3,)
        Voxel indices.
    grid : ndarray, shape (x, y, z)
    index : ndarray of uint64, shape (8,)
        Takes the voxels' numbers in the order of the grid.
    weight : ndarray of float64, shape (8,)
    """
    x0, y0, z0 = int(np.floor(at[0])), int(np.floor(at[1])), int(np.floor(at[2]))
    nx, ny, nz = grid.shape
    u, v, w = at[0] - x0, at[1] - y0, at[2] - z0
    within = x0 >= 0 and y0 >= 0 and z0 >= 0 and x0 + 1 < nx and y0 + 1 < ny and z0 + 1 < nz
    for corner in range(8):
        i, j, k = corner & 1, (corner >> 1) & 1, corner >> 2
        x, y, z = x0 + i, y0 + j, z0 + k
        if within or (0 <= x < nx and 0 <= y < ny and 0 <= z < nz):
            index[corner] = (x * ny + y) * nz + z
            weight[corner] = (u if i else 1 - u) * (v if j else 1 - v) * (w if k else 1 - w)
        else:
            index[corner], weight[corner] = 0, 0.0


@compiled
def interpolate(
    volume: NDArray[Any], index: NDArray[Any], weight: NDArray[Any], made: NDArray[Any]
) -> None:
    """Interpolate values (voxels, n), float32, into the first n places."""
    i, j, k, m = index[0], index[1], index[2], index[3]
    p, q, r, t = index[4], index[5], index[6], index[7]
    # As single numbers of four bytes, twice as many are worked on at once.
    a, b = np.float32(weight[0]), np.float32(weight[1])
    c, d = np.float32(weight[2]), np.float32(weight[3])
    e, f = np.float32(weight[4]), np.float32(weight[5])
    g, h = np.float32(weight[6]), np.float32(weight[7])
    for n in range(volume.shape[1]):
        made[n] = (
            (a * volume[i, n] + b * volume[j, n]) + (c * volume[k, n] + d * volume[m, n])
        ) + ((e * volume[p, n] + f * volume[q, n]) + (g * volume[r, n] + h * volume[t, n]))


@compiled
def scalar(volume: NDArray[Any], index: NDArray[Any], weight: NDArray[Any]) -> float:
    """Interpolate a map (voxels,)."""
    value = 0.0
    for corner in range(8):
        value += weight[corner] * volume[index[corner]]
    return value


@compiled
def amplitudes(local: NDArray[Any], basis: NDArray[Any], heights: NDArray[Any]) -> None:
    """Evaluate a distribution in some directions; what is negative is 0.

    Parameters
    ----------
    local : ndarray of float32, shape (n,)
        Coefficients, filled up with 0: n is a multiple of 4.
    basis : ndarray of float32, shape (n, k)
        Harmonics in k directions.
    heights : ndarray of float32, shape (k or more,)
        Takes the amplitudes in its first k places.
    """
    # Directions side by side are what a processor works on at once: their sums are apart.
    number = basis.shape[1]
    for k in range(number):
        heights[k] = 0
    for c in range(0, len(local), 4):
        one, two, three, four = local[c], local[c + 1], local[c + 2], local[c + 3]
        for k in range(number):
            heights[k] += (one * basis[c, k] + two * basis[c + 1, k]) + (
                three * basis[c + 2, k] + four * basis[c + 3, k]
            )
    for k in range(number):
        heights[k] = max(np.float32(0), heights[k])


@compiled
def raised(value: float, power: float) -> float:
    """Raise a number to a power; much faster when that is a small number of halves."""
    halves = int(2 * power)
    if halves != 2 * power or halves < 0 or halves > _MOST_HALVES:
        return float(value**power)
    made = float(np.sqrt(value)) if halves & 1 else 1.0
    for _ in range(halves >> 1):
        made *= value
    return made


@compiled
def choose(
    heights: NDArray[Any], number: int, way: int, least: float, power: float, state: NDArray[Any]
) -> int:
    """Choose one of some directions by a power of its amplitude; -1 when all are below `least`."""
    if way == DETERMINISTIC:
        best = 0
        for k in range(number):
            if heights[k] > heights[best]:
                best = k
        return best if heights[best] > least else -1
    total = 0.0
    for k in range(number):
        if heights[k] > least:
            heights[k] = raised(heights[k], power)
            total += heights[k]
        else:
            heights[k] = 0
    if total <= 0:
        return -1
    wanted = draw(state) * total
    last = -1
    for k in range(number):
        if heights[k] > 0:
            last = k
            wanted -= heights[k]
            if wanted < 0:
                break
    return last


@compiled
def refined(
    heights: NDArray[Any],
    cone: NDArray[Any],
    sphere: NDArray[Any],
    best: int,
    direction: NDArray[Any],
) -> None:
    """Return the mean of directions beside the best one, weighted by how near to it they reach."""
    floor = 0.8 * heights[best]
    x = y = z = 0.0
    for k in range(len(cone)):
        if heights[k] <= floor:
            continue
        cosine = 0.0
        for a in range(3):
            cosine += sphere[cone[k], a] * sphere[cone[best], a]
        if abs(cosine) < _BESIDE:
            continue
        weight = heights[k] - floor
        if cosine < 0:
            weight = -weight
        x += weight * sphere[cone[k], 0]
        y += weight * sphere[cone[k], 1]
        z += weight * sphere[cone[k], 2]
    size = (x * x + y * y + z * z) ** 0.5
    direction[0], direction[1], direction[2] = x / size, y / size, z / size


@compiled
def units(vectors: NDArray[Any], made: NDArray[Any]) -> None:
    """Make vectors (n, 3) one long; those of no length stay 0."""
    for i in range(len(vectors)):
        x, y, z = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        length = np.sqrt(x * x + y * y + z * z)
        if length > 0:
            made[i, 0], made[i, 1], made[i, 2] = x / length, y / length, z / length


@compiled
def nearest_peaks(
    peaks: NDArray[Any],
    index: NDArray[Any],
    weight: NDArray[Any],
    came: NDArray[Any],
    limit: float,
    direction: NDArray[Any],
) -> int:
    """Join the peaks around a position that are nearest to where a streamline comes from.

    Each of the eight voxels around gives the peak nearest to `came`, when it is within the limit
    (a cosine), with the voxel's trilinear weight (Garyfallidis 2012). Returns 0, or -1 when those
    that give none weigh more than half.
    """
    none = np.float32(0)
    total = x = y = z = none
    a, b, c = np.float32(came[0]), np.float32(came[1]), np.float32(came[2])
    for corner in range(8):
        voxel, own = index[corner], np.float32(weight[corner])
        # Chosen by values, not by branches, which a processor would guess wrong half the time.
        best, share, u, v, w = np.float32(limit), none, none, none, none
        for p in range(peaks.shape[1]):
            i, j, k = peaks[voxel, p, 0], peaks[voxel, p, 1], peaks[voxel, p, 2]
            if i == 0 and j == 0 and k == 0:  # the others are none, too
                break
            cosine = i * a + j * b + k * c
            nearer = abs(cosine) >= best
            best = abs(cosine) if nearer else best
            signed = own if cosine >= 0 else -own
            share = signed if nearer else share
            u, v, w = (i if nearer else u), (j if nearer else v), (k if nearer else w)
        total += abs(share)
        x += share * u
        y += share * v
        z += share * w
    size = np.sqrt(x * x + y * y + z * z)
    if total < _HALF or size < _NO_LENGTH:
        return -1
    direction[0], direction[1], direction[2] = x / size, y / size, z / size
    return 0


@compiled
def inside(mask: NDArray[Any], at: NDArray[Any]) -> bool:
    """Tell whether a position lies in a voxel of a mask."""
    x, y, z = round(at[0]), round(at[1]), round(at[2])
    if x < 0 or y < 0 or z < 0:
        return False
    if x >= mask.shape[0] or y >= mask.shape[1] or z >= mask.shape[2]:
        return False
    return bool(mask[x, y, z])


@compiled
def turn(
    way: int,
    came: NDArray[Any],
    last: int,
    field: tuple[Any, ...],
    limits: NDArray[Any],
    state: NDArray[Any],
    work: tuple[Any, ...],
) -> int:
    """Choose the next direction of a distribution into `work`; its number, -1 for none.

    Parameters
    ----------
    last : int
        Number of the direction that the streamline comes from; the whole sphere when negative.
    """
    coefficients, largest, _, _, _, sphere, whole, around, cones, sizes = field
    local, heights, direction, index, weight = work
    interpolate(coefficients, index, weight, local)
    row = len(cones) - 1 if last < 0 else last
    cone = cones[row, : sizes[row]]
    amplitudes(local, whole if last < 0 else around[last], heights)
    least = limits[1] * scalar(largest, index, weight)
    best = choose(heights, len(cone), way, least, limits[3], state)
    if best < 0:
        return -1
    for a in range(3):
        direction[a] = sphere[cone[best], a]
    if way == DETERMINISTIC:
        refined(heights, cone, sphere, best, direction)
        cosine = 0.0
        for a in range(3):
            cosine += direction[a] * came[a]
        # Cones are around directions of the sphere, and `came` lies between them.
        if last >= 0 and abs(cosine) < limits[0]:
            return -1
    return int(cone[best])


@compiled
def follow(
    way: int,
    start: NDArray[Any],
    first: NDArray[Any],
    number: int,
    field: tuple[Any, ...],
    step: NDArray[Any],
    limits: NDArray[Any],
    state: NDArray[Any],
    work: tuple[Any, ...],
    made: NDArray[Any],
) -> tuple[int, int]:
    """Follow a streamline from a position to one side.

    Parameters
    ----------
    way : int
        How directions are chosen.
    start, first : ndarray of float64, shape (3,)
        Voxel indices; unit vector in world axes.
    number : int
        Number of the first direction on the sphere.
    field : tuple
        Coefficients (voxels, n), their largest amplitude (voxels,), peaks (voxels, p, 3),
        FA (voxels,), mask (x, y, z), directions (m, 3), harmonics there (n filled up with 0 to a
        multiple of 4, m), those in the cone around each (m, n filled up, most of a cone or more),
        numbers of the directions in the cone around each and, last, all of them (m + 1, m), and
        how many (m + 1).
    step : ndarray, shape (3, 3)
        A unit vector of the world to a step in voxel indices.
    limits : ndarray, shape (4,)
        Cosine of the largest angle, share of the largest amplitude, least FA, power of the
        amplitude that directions are drawn by.
    state : ndarray of uint64, shape (1,)
    work : tuple
        To work in: n (filled up) coefficients, m amplitudes, a direction, and numbers and weights
        of eight voxels.
    made : ndarray, shape (most, 3)
        Takes the positions after `start`.

    Returns
    -------
    (int, int)
        Number of positions; why it ended.
    """
    peaks, fa, mask = field[2], field[3], field[4]
    direction, index, weight = work[2], work[3], work[4]
    at, came, last = np.empty(3), np.empty(3), number
    for a in range(3):
        at[a] = start[a]
        came[a] = first[a]
    for n in range(len(made)):
        for a in range(3):
            for b in range(3):
                at[a] += step[a, b] * came[b]
        if not inside(mask, at):
            return n, OUTSIDE
        surround(at, mask, index, weight)
        if not scalar(fa, index, weight) >= limits[2]:  # nor where it is not a number
            return n, LOW_FA
        for a in range(3):
            made[n, a] = at[a]
        if way == PEAKS:
            last = nearest_peaks(peaks, index, weight, came, limits[0], direction)
        else:
            last = turn(way, came, last, field, limits, state, work)
        if last < 0:
            return n + 1, TURNED
        cosine = 0.0
        for a in range(3):
            cosine += direction[a] * came[a]
        sign = 1.0 if cosine >= 0 else -1.0
        for a in range(3):
            came[a] = sign * direction[a]
    return len(made), TOO_LONG


@compiled
def begin(
    way: int,
    at: NDArray[Any],
    field: tuple[Any, ...],
    limits: NDArray[Any],
    state: NDArray[Any],
    work: tuple[Any, ...],
) -> int:
    """Choose the direction that a streamline starts in; its number, -1 when there is none."""
    peaks, fa, mask = field[2], field[3], field[4]
    if not inside(mask, at):
        return -1
    surround(at, mask, work[3], work[4])
    if not scalar(fa, work[3], work[4]) >= limits[2]:
        return -1
    if way != PEAKS:
        return turn(way, at, -1, field, limits, state, work)
    voxel = (round(at[0]) * mask.shape[1] + round(at[1])) * mask.shape[2] + round(at[2])
    found = -1
    for a in range(3):
        work[2][a] = peaks[voxel, 0, a]
        if work[2][a] != 0:
            found = 0
    return found


@compiled
def track(
    way: int,
    seeds: NDArray[Any],
    first_number: int,
    random_seed: int,
    field: tuple[Any, ...],
    step: NDArray[Any],
    limits: NDArray[Any],
    lengths: tuple[int, int],
    affine: NDArray[Any],
    made: NDArray[Any],
    counts: NDArray[Any],
    ended: NDArray[Any],
) -> int:
    """Track from each seed to both sides; return the number of all points.

    Parameters
    ----------
    seeds : ndarray, shape (s, 3)
        Voxel indices.
    first_number : int
        The first seed's number among all: starts its random numbers.
    lengths : (int, int)
        Points that a streamline has at least and at most.
    affine : ndarray, shape (4, 4)
        Voxel indices to world mm.
    made : ndarray of float32, shape (s times most, 3)
        Takes the streamlines, one after the other, in world mm.
    counts : ndarray of int64, shape (s,)
        Takes the number of points, 0 for what was discarded.
    ended : ndarray of int64, shape (4,)
        Counts why sides ended.

    Other parameters are those of `follow`.
    """
    least, most = lengths
    work = (
        np.zeros(len(field[6]), np.float32),
        np.zeros(max(field[6].shape[1], field[7].shape[2]), np.float32),
        np.empty(3),
        np.zeros(8, np.uint64),
        np.empty(8),
    )
    one, other = np.empty((most, 3)), np.empty((most, 3))
    ahead, back = np.empty(3), np.empty(3)
    state = np.zeros(1, np.uint64)
    filled = 0
    for s in range(len(seeds)):
        counts[s] = 0
        state[0] = np.uint64(random_seed) * _FIRST + np.uint64(first_number + s) * _SECOND
        at = seeds[s]
        number = begin(way, at, field, limits, state, work)
        if number < 0:
            continue
        for a in range(3):
            ahead[a] = work[2][a]
            back[a] = -work[2][a]
        after, why = follow(way, at, ahead, number, field, step, limits, state, work, one)
        before, because = follow(way, at, back, number, field, step, limits, state, work, other)
        ended[why] += 1
        ended[because] += 1
        total = after + before + 1
        if total < least or total > most:
            continue
        for n in range(before):
            _place(other, before - 1 - n, affine, made, filled + n)
        _place(seeds, s, affine, made, filled + before)
        for n in range(after):
            _place(one, n, affine, made, filled + before + 1 + n)
        counts[s] = total
        filled += total
    return filled


@compiled
def _place(
    given: NDArray[Any], number: int, affine: NDArray[Any], made: NDArray[Any], row: int
) -> None:
    """Put a position into a row of the streamlines, in world mm."""
    x, y, z = given[number, 0], given[number, 1], given[number, 2]
    for a in range(3):
        made[row, a] = affine[a, 0] * x + affine[a, 1] * y + affine[a, 2] * z + affine[a, 3]
