"""Registration of a reversed pair at one resolution: Gauss-Newton for displacement and movement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cohortflow.dwi import pair_kernels, pair_sample
from cohortflow.dwi.pair_kernels import Numbers, Values, add_rows, dots

CLOSE_ENOUGH = 0.01
"""Voxels: a step of no more than this anywhere ends the search."""
_HALVINGS = 8
_SOLVED = 0.02  # of the right-hand side's length
_SOLVER_STEPS = 60


@dataclass(frozen=True)
class Pair:
    """Two images of one resolution, phase-encode axis last.

    Attributes
    ----------
    up, down : ndarray of float32 (p, q, n)
        In units in which tissue is about 1.
    signs : tuple of float
        How far each is displaced by a displacement of 1.
    to_mm : ndarray of float64 (3, 4)
        Voxel indices to mm about the middle of the whole image, along its axes.
    moves : bool
        Whether the head may have moved between the two.
    """

    up: Values
    down: Values
    signs: tuple[float, float]
    to_mm: Numbers
    moves: bool


@dataclass(frozen=True)
class Movement:
    """Where a point of the first image's head lies in the second: ``turn @ x + shift``, mm."""

    turn: Numbers
    shift: Numbers


STILL = Movement(np.eye(3), np.zeros(3))


@dataclass(frozen=True)
class _State:
    """The pair at one displacement and movement."""

    displacement: Values
    movement: Movement
    residual: Values
    by_value: Values
    by_slope: Values
    by_movement: Values | None
    bands: Values
    gradient: Numbers
    energy: float


@dataclass(frozen=True)
class Strength:
    """How much the displacement's smoothness weighs: see `pair_kernels.smoothness`."""

    smooth: float
    barrier: float


class Level:
    """One resolution's images, prepared for sampling."""

    def __init__(self, pair: Pair, strength: Strength) -> None:
        self.pair = pair
        self.strength = strength
        self.coefficients = [
            np.asarray(ndimage.spline_filter(image, 3, np.float32, mode="mirror"), np.float32)
            for image in (pair.up, pair.down)
        ]
        size = np.diag(pair.to_mm[:, :3])
        # The slope in mm of displacement a mm, whatever the shape of the voxels.
        self.weights = strength.smooth * (size[2] / size) ** 2
        self.reach = max(abs(sign) for sign in pair.signs)

    def register(
        self, displacement: Values, movement: Movement, steps: int
    ) -> tuple[Values, Movement]:
        """Improve a displacement (p, q, n) and a movement by up to so many Gauss-Newton steps."""
        state = self._state(displacement, movement)
        for _ in range(steps):
            change, turn = self._step(state)
            found = self._search(state, change, turn)
            if found is None:
                break
            state, share = found
            if share * np.abs(change).max() < CLOSE_ENOUGH:
                break
        return state.displacement, state.movement

    def undone(self, displacement: Values, movement: Movement) -> tuple[Values, Values, Values]:
        """Return both images without distortion, and where both are known (1, else 0)."""
        first, second, inside, *_ = self._sampled(displacement, movement)
        return first, second, inside

    def _sampled(
        self, displacement: Values, movement: Movement
    ) -> tuple[Values, Values, Values, list[Values], Values, Values]:
        slope = slope_of(displacement)
        images, gradients, stretched = [], [], []
        known = np.ones(displacement.shape, bool)
        maps = (np.eye(3, 4), self._matrix(movement))
        for coefficients, matrix, sign in zip(
            self.coefficients, maps, self.pair.signs, strict=True
        ):
            value, gradient, inside = pair_sample.sample(
                coefficients, matrix, displacement, float(sign)
            )
            images.append(value)
            gradients.append(gradient)
            stretched.append(1 + np.float32(sign) * slope)
            known &= inside
        mask = known.astype(np.float32)
        plus, minus = self.pair.signs
        by_value = mask * (
            np.float32(plus) * gradients[0][2] * stretched[0]
            - np.float32(minus) * gradients[1][2] * stretched[1]
        )
        by_slope = mask * (np.float32(plus) * images[0] - np.float32(minus) * images[1])
        return (
            images[0] * stretched[0],
            images[1] * stretched[1],
            mask,
            [-(mask * stretched[1]) * gradients[1][axis] for axis in range(3)],
            by_value,
            by_slope,
        )

    def _state(self, displacement: Values, movement: Movement) -> _State:
        first, second, mask, movable, by_value, by_slope = self._sampled(displacement, movement)
        residual = (first - second) * mask
        bands, gradient, energy = pair_kernels.likeness(residual, by_value, by_slope)
        energy += pair_kernels.smoothness(
            displacement, self.weights, self.strength.barrier, self.reach, bands, gradient
        )
        columns = self._columns(movable, movement) if self.pair.moves else None
        return _State(
            displacement, movement, residual, by_value, by_slope, columns, bands, gradient, energy
        )

    def _matrix(self, movement: Movement) -> Numbers:
        """Return voxel indices of the first image to those of the second, (3, 4)."""
        linear, origin = self.pair.to_mm[:, :3], self.pair.to_mm[:, 3]
        back = np.linalg.inv(linear)
        offset = back @ (movement.turn @ origin + movement.shift - origin)
        return np.column_stack([back @ movement.turn @ linear, offset])

    def _columns(self, movable: list[Values], movement: Movement) -> Values:
        """Return the residual's derivative by the movement, (5, p, q, n).

        Turns about the three axes (radians), shifts along the first two (mm): a shift along the
        phase-encode axis cannot be told from a displacement that is the same everywhere.
        """
        sizes = np.diag(self.pair.to_mm[:, :3])
        index = np.meshgrid(*map(np.arange, movable[0].shape), indexing="ij", sparse=True)
        mm = [index[a] * sizes[a] + self.pair.to_mm[a, 3] for a in range(3)]
        turned = [sum(movement.turn[a, b] * mm[b] for b in range(3)) for a in range(3)]
        by_mm = [movable[axis] / np.float32(sizes[axis]) for axis in range(3)]
        made = np.empty((5, *movable[0].shape), np.float32)
        for axis in range(3):
            b, c = (axis + 1) % 3, (axis + 2) % 3
            made[axis] = by_mm[c] * turned[b] - by_mm[b] * turned[c]
        made[3], made[4] = by_mm[0], by_mm[1]
        return made

    def _step(self, state: _State) -> tuple[Numbers, Numbers]:
        """Solve the Gauss-Newton equations: a step of the displacement and of the movement.

        The movement's five unknowns are eliminated first (Schur complement).
        """
        right = -state.gradient
        if state.by_movement is None:
            return _solve(state.bands, self.weights, right, None), np.zeros(5)
        columns = state.by_movement.reshape(5, -1).astype(np.float64)
        inverse = np.linalg.pinv(np.stack([dots(columns, column) for column in columns]))
        pull = dots(columns, state.residual.ravel().astype(np.float64))
        rows = [_back(state, column.reshape(right.shape)).ravel() for column in columns]
        mixed = _Mixed(np.stack(rows), inverse)
        add_rows(mixed.rows, inverse @ pull, right.reshape(-1))
        change = _solve(state.bands, self.weights, right, mixed)
        return change, -inverse @ (pull + dots(mixed.rows, change.reshape(-1)))

    def _search(self, state: _State, change: Numbers, turn: Numbers) -> tuple[_State, float] | None:
        """Halve a step until it lowers the energy; None when none does."""
        share = 1.0
        for _ in range(_HALVINGS):
            moved = Movement(
                Rotation.from_rotvec(share * turn[:3]).as_matrix() @ state.movement.turn,
                state.movement.shift + share * np.array([turn[3], turn[4], 0.0]),
            )
            tried = self._state(np.asarray(state.displacement + share * change, np.float32), moved)
            if tried.energy < state.energy:
                return tried, share
            share /= 2
        return None


@dataclass(frozen=True)
class _Mixed:
    """What the movement's elimination takes from the equations of the displacement.

    Attributes
    ----------
    rows : ndarray (5, voxels)
    inverse : ndarray (5, 5)
        The matrix is less by ``rows.T @ inverse @ rows``.
    """

    rows: Numbers
    inverse: Numbers


def _back(state: _State, values: Numbers) -> Numbers:
    """Apply the transposed derivative of the residual by the displacement, see `slope_of`."""
    out = state.by_value * values
    half = state.by_slope * values / 2
    out[..., 2:] += half[..., 1:-1]
    out[..., :-2] -= half[..., 1:-1]
    out[..., 1] += 2 * half[..., 0]
    out[..., 0] -= 2 * half[..., 0]
    out[..., -1] += 2 * half[..., -1]
    out[..., -2] -= 2 * half[..., -1]
    return np.asarray(out, np.float64)


def _solve(bands: Values, weights: Numbers, right: Numbers, mixed: _Mixed | None) -> Numbers:
    """Solve by conjugate gradients; the preconditioner solves each line's equations exactly."""
    factors = pair_kernels.factorise(bands)
    found = np.zeros(right.shape)
    rest = right.copy()
    bound = _SOLVED * np.sqrt(_dot(rest, rest))
    near = pair_kernels.solve_lines(factors, rest)
    search = near.copy()
    size = _dot(rest, near)
    for _ in range(_SOLVER_STEPS):
        if np.sqrt(_dot(rest, rest)) <= bound or size <= 0:
            break
        image = pair_kernels.multiply(bands, weights, search)
        if mixed is not None:
            shares = mixed.inverse @ dots(mixed.rows, search.reshape(-1))
            add_rows(mixed.rows, -shares, image.reshape(-1))
        step = size / _dot(search, image)
        found += step * search
        rest -= step * image
        near = pair_kernels.solve_lines(factors, rest)
        size, before = _dot(rest, near), size
        search = near + (size / before) * search
    return found


def _dot(one: Numbers, other: Numbers) -> float:
    return float(dots(one.reshape(1, -1), other.reshape(-1))[0])


def slope_of(displacement: Values) -> Values:
    """Return the slope along the last axis: central differences, one-sided at the ends."""
    return np.asarray(np.gradient(displacement, axis=-1), np.float32)
