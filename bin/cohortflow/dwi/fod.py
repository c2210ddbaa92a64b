"""Fibre orientation distributions of a series, in the frame and basis that MRtrix3 reads.

The coefficients belong to world axes (right, anterior, superior), not to the image's: that is what
MRtrix3 takes them for. One fibre of the response's own size gives a distribution of integral 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core import threads as pool
from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import deconvolve, harmonics, peaks, response, shells, tensor, tensor_odf
from cohortflow.dwi.response import Response
from cohortflow.dwi.series import Series
from cohortflow.dwi.shells import Plan, directions

Array = NDArray[np.float64]
Map = NDArray[np.float32]

PENALTY = 20.0
"""Weight of negative amplitudes, see `deconvolve.problem`."""
SHARPENING = 4
"""Power of the tensor's orientation distribution."""

PEAKS = 3
"""Directions that are kept of a voxel; one of the tensor's distribution."""

_RIM = 2  # voxels that the mask is eroded by to look for responses


@dataclass(frozen=True)
class Distributions:
    """Orientation distributions on the series' grid; 0 outside the mask.

    Attributes
    ----------
    plan : Plan
    white : ndarray of float32, shape (x, y, z, count)
        Even harmonics in world axes, see `harmonics`.
    grey, csf : ndarray of float32, shape (x, y, z), or None
        Harmonic of degree 0; 1 / sqrt(4 pi) where all is this tissue.
    response : Response or None
    fa : ndarray of float32, shape (x, y, z)
        Of the tensor.
    instead_of : str
        Why it is not the method that the gradients allow; empty when it is.
    """

    plan: Plan
    white: Map
    grey: Map | None
    csf: Map | None
    response: Response | None
    fa: Map
    instead_of: str = ""

    @property
    def fractions(self) -> Map | None:
        """White matter, grey matter and CSF, shape (x, y, z, 3); the sum is 1 in the mask."""
        if self.grey is None or self.csf is None:
            return None
        parts = np.stack([self.white[..., 0], self.grey, self.csf], axis=-1)
        parts = np.maximum(parts, 0)
        total = parts.sum(axis=-1, keepdims=True)
        return np.asarray(np.divide(parts, total, out=np.zeros_like(parts), where=total > 0))


def estimate(
    data: Series, mask: NDArray[np.bool_], method: str = "auto", threads: int = 1
) -> Distributions:
    """Estimate the orientation distributions by the best method that series and mask allow.

    Parameters
    ----------
    data : Series
    mask : ndarray of bool, shape (x, y, z)
    method : str
        Of `shells.METHODS`. With ``auto``, where a response cannot be found for the method that
        the gradients allow (a slab without CSF, for example), the next simpler one is taken.
    threads : int

    Raises
    ------
    Failure
        As `shells.plan` and `compute`.
    """
    chosen = shells.plan(data.gradients, method, name=data.path.name)
    told = ""
    while True:
        try:
            return replace(compute(data, mask, chosen, threads), instead_of=told)
        except Failure as failure:
            if method != "auto" or chosen.method == "tensor":
                raise
            told = told or f"not {chosen.method}: {failure.message}"
            simpler = "csd" if chosen.method == "msmt" else "tensor"
            chosen = shells.plan(data.gradients, simpler, name=data.path.name)


def compute(data: Series, mask: NDArray[np.bool_], chosen: Plan, threads: int = 1) -> Distributions:
    """Estimate the responses, then the orientation distribution in every voxel of a mask.

    Parameters
    ----------
    data : Series
    mask : ndarray of bool, shape (x, y, z)
    chosen : Plan
    threads : int
        The result is the same for any number.

    Raises
    ------
    Failure
        DATA_INVALID when the gradients do not determine a tensor, or too few voxels of white
        matter, grey matter or CSF are found for their responses.
    """
    maps = tensor.compute(data, mask, threads)
    if chosen.method == "tensor":
        white = tensor_odf.compute(data, mask, chosen.lmax, SHARPENING, threads)
        return Distributions(chosen, white, None, None, None, maps.fa)
    answer = responses(data, mask, chosen, maps)
    result = deconvolved(data, mask, chosen, answer, threads)
    if answer.grey is None:
        return Distributions(chosen, result, None, None, answer, maps.fa)
    number = harmonics.count(chosen.lmax)
    tissues = np.maximum(result[..., number:], 0)
    white = np.ascontiguousarray(result[..., :number])
    return Distributions(chosen, white, tissues[..., 0], tissues[..., 1], answer, maps.fa)


def deconvolved(
    data: Series, mask: NDArray[np.bool_], chosen: Plan, answer: Response, threads: int = 1
) -> Map:
    """Deconvolve a series with responses that are known.

    Parameters
    ----------
    data : Series
    mask : ndarray of bool, shape (x, y, z)
    chosen : Plan
        Its method is csd or msmt.
    answer : Response
        Of the plan's shells and degree.
    threads : int
        The result is the same for any number.

    Returns
    -------
    ndarray of float32, shape (x, y, z, coefficients)
        The harmonics in world axes, then grey matter and CSF for msmt; 0 outside the mask.
    """
    forward = _forward(answer, _world(data), chosen.lmax)
    extra = 0 if answer.grey is None else 2
    given = deconvolve.problem(forward, chosen.lmax, PENALTY, extra)
    volumes = np.concatenate([shell.volumes for shell in chosen.shells])
    result = np.zeros((*mask.shape, forward.shape[1]), np.float32)
    levels = np.flatnonzero(mask.any(axis=(0, 1))).tolist()
    pool.each(partial(_level, data.data, mask, volumes, given, result), levels, threads)
    return result


def _level(
    data: Map,
    mask: NDArray[np.bool_],
    volumes: NDArray[np.intp],
    given: deconvolve.Problem,
    result: Map,
    level: int,
) -> None:
    """Deconvolve the voxels of a slice."""
    xs, ys = np.nonzero(mask[:, :, level])
    result[xs, ys, level] = deconvolve.solve(data[:, :, level][xs, ys][:, volumes], given)


def _world(data: Series) -> Array:
    length = np.linalg.norm(data.gradients.bvecs, axis=1, keepdims=True)
    unit = data.gradients.bvecs / np.where(length > 0, length, 1)
    return tensor.to_world(unit, data.affine)


def _forward(found: Response, world: Array, lmax: int) -> Array:
    """Return the signals of each coefficient, shape (volumes of all shells, coefficients)."""
    parts = []
    for number, shell in enumerate(found.shells):
        rows = harmonics.basis(world[shell.volumes], lmax)
        columns = [rows * harmonics.rotational(found.white[number])]
        for tissue in (found.grey, found.csf):
            if tissue is not None:
                full = np.full((len(rows), 1), tissue[number] * np.sqrt(4 * np.pi))
                columns.append(full)
        parts.append(np.hstack(columns))
    return np.vstack(parts)


def responses(data: Series, mask: NDArray[np.bool_], chosen: Plan, maps: tensor.Maps) -> Response:
    """Estimate the responses that a plan needs, in the mask without its rim.

    Raises
    ------
    Failure
        See `compute`.
    """
    world = _world(data)
    inner = ndimage.binary_erosion(mask, iterations=_RIM, border_value=1)
    inner &= ~maps.unphysical & (data.data > 0).all(axis=-1)
    where = np.nonzero(inner)
    fa = maps.fa[where]
    order = np.argsort(-fa, kind="stable")
    order = order[fa[order] >= response.FA_FIBRE][: response.CANDIDATES]
    if len(order) < response.LEAST_FIBRES:
        raise Failure(
            Category.DATA_INVALID,
            f"{data.path.name}: {len(order)} voxels of the mask look like white matter "
            f"(FA >= {response.FA_FIBRE}), a response needs {response.LEAST_FIBRES}",
            "check the mask and the series, or use --fod tensor",
        )
    places = tuple(axis[order] for axis in where)
    signal, axes = data.data[places], tensor.to_world(maps.principal[places], data.affine)
    main = max(chosen.shells, key=lambda shell: (directions(data.gradients, shell), shell.bval))
    part = np.ascontiguousarray(signal[:, main.volumes])
    white, kept, guess = response.single_shell(
        part, main, world[main.volumes], axes, chosen.lmax, PENALTY, data.path.name
    )
    result = Response(chosen.shells, white[np.newaxis], fibres=len(kept))
    if chosen.method == "csd":
        return result
    rows = []
    for shell in chosen.shells:
        degree = chosen.lmax if shell.bval > 0 else 0
        found = response.fit(signal[kept][:, shell.volumes], world[shell.volumes], guess, degree)
        rows.append(np.pad(found, (0, (chosen.lmax - degree) // 2)))
    means = np.stack([data.data[where][:, s.volumes].mean(axis=1) for s in chosen.shells], axis=1)
    decay = np.log(means[:, :1] / means[:, 1:]).mean(axis=1)
    grey, fluid = response.tissues(fa, decay, data.path.name)
    return replace(
        result,
        white=np.stack(rows),
        grey=means[grey].mean(axis=0).astype(np.float64),
        csf=means[fluid].mean(axis=0).astype(np.float64),
        grey_voxels=len(grey),
        csf_voxels=len(fluid),
    )


def directions_of(found: Distributions, mask: NDArray[np.bool_], threads: int = 1) -> Map:
    """Find the directions in which fibres run, see `peaks.peaks`.

    Parameters
    ----------
    found : Distributions
    mask : ndarray of bool, shape (x, y, z)
    threads : int
        The result is the same for any number.

    Returns
    -------
    ndarray of float32, shape (x, y, z, PEAKS, 3)
        World axes, the largest first, as long as their amplitude; 0 where there is none.
    """
    number = 1 if found.plan.method == "tensor" else PEAKS
    result = np.zeros((*mask.shape, PEAKS, 3), np.float32)

    def level(at: int) -> None:
        xs, ys = np.nonzero(mask[:, :, at])
        where, heights = peaks.peaks(found.white[xs, ys, at], number=number)
        result[xs, ys, at, :number] = where * heights[..., np.newaxis]

    pool.each(level, np.flatnonzero(mask.any(axis=(0, 1))).tolist(), threads)
    return result
