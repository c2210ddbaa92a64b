"""Response functions: the signal of one fibre, of grey matter and of CSF, from the scan itself.

White matter: the voxels that look most like one fibre, found anew with the response that they give
until they stay the same (Tournier et al. 2013, doi:10.1002/nbm.3017), among those of the highest
FA. Grey matter and CSF: by FA and by how much the signal decays, after Dhollander et al. 2016
(ISMRM workshop "Breaking the barriers of diffusion MRI", 5), in fewer steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import deconvolve, harmonics, peaks
from cohortflow.dwi.shells import Shell

Array = NDArray[np.float64]

FA_FIBRE = 0.4
"""A voxel of lower FA is no candidate for a single fibre."""
CANDIDATES, FIBRES, LEAST_FIBRES = 1500, 300, 30
"""Voxels of highest FA that are looked at, how many of them are used, and how few suffice."""
FA_WHITE = 0.2
"""Above it, a voxel is neither grey matter nor CSF."""
LEAST_TISSUE = 20
"""Voxels of grey matter and of CSF that are needed."""

_ROUNDS = 10
_SAME = 0.99  # share of the voxels that are chosen again
_GREY_SHARE = 0.05


@dataclass(frozen=True)
class Response:
    """Responses in units of the series' signal.

    Attributes
    ----------
    shells : tuple of Shell
    white : ndarray of float64, shape (shells, lmax / 2 + 1)
        Zonal harmonics of even degree of a fibre along their axis.
    grey, csf : ndarray of float64, shape (shells,), or None
        Isotropic signals.
    fibres, grey_voxels, csf_voxels : int
        Voxels that were used.
    """

    shells: tuple[Shell, ...]
    white: Array
    grey: Array | None = None
    csf: Array | None = None
    fibres: int = 0
    grey_voxels: int = 0
    csf_voxels: int = 0

    @property
    def ratio(self) -> float:
        """Signal across a fibre over that along it, at the highest b-value."""
        lmax = 2 * (self.white.shape[1] - 1)
        across, along = harmonics.zonal(np.array([0.0, 1.0]), lmax) @ self.white[-1]
        return float(across / max(along, 1e-3 * across))


def fit(
    signal: NDArray[np.float32], directions: Array, axes: NDArray[np.floating], lmax: int
) -> Array:
    """Fit one response to the signals of all voxels, each turned to its fibre's direction.

    Parameters
    ----------
    signal : ndarray, shape (voxels, n)
    directions : ndarray, shape (n, 3)
        Unit vectors of the gradients.
    axes : ndarray, shape (voxels, 3)
        Unit vectors of the fibres.

    Returns
    -------
    ndarray of float64, shape (lmax / 2 + 1,)
    """
    table = harmonics.zonal(axes @ directions.T, lmax).reshape(-1, lmax // 2 + 1)
    return np.asarray(np.linalg.lstsq(table, signal.reshape(-1).astype(np.float64))[0])


def fibres(
    signal: NDArray[np.float32],
    directions: Array,
    axes: NDArray[np.floating],
    lmax: int,
    solve: Callable[[Array], Array],
) -> tuple[NDArray[np.intp], NDArray[np.floating]]:
    """Choose the voxels that look most like a single fibre.

    Parameters
    ----------
    signal : ndarray of float32, shape (candidates, n)
        Of the shell with the most directions, the candidates in falling order of FA.
    directions : ndarray, shape (n, 3)
    axes : ndarray, shape (candidates, 3)
        First guess of the fibres' directions.
    lmax : int
    solve : callable
        Returns the orientation distributions of all candidates, given a response.

    Returns
    -------
    chosen : ndarray of int
        Indices, ascending.
    axes : ndarray, shape (chosen, 3)
        Their fibres' directions.
    """
    number = min(FIBRES, max(LEAST_FIBRES, len(signal) // 3))
    chosen, guess = np.arange(number), np.asarray(axes[:number])
    for _ in range(_ROUNDS):
        found = fit(signal[chosen], directions, guess, lmax)
        where, heights = peaks.peaks(solve(found), number=2, least=0.0, share=0.0)
        first, second = heights[:, 0], heights[:, 1]
        single = np.divide(second, first, out=np.ones_like(first), where=first > 0)
        score = np.sqrt(np.maximum(first, 0)) * (1 - single) ** 2
        best = np.sort(np.argsort(-score, kind="stable")[:number])
        again = len(np.intersect1d(best, chosen))
        chosen, guess = best, where[best, 0]
        if again >= _SAME * number:
            break
    return chosen, guess


def single_shell(
    signal: NDArray[np.float32],
    shell: Shell,
    directions: Array,
    axes: NDArray[np.floating],
    lmax: int,
    penalty: float,
    name: str,
) -> tuple[Array, NDArray[np.intp], NDArray[np.floating]]:
    """Estimate the response of a shell of the series of a `name`.

    See `fibres` for the candidates' `signal` and `axes`.

    Returns
    -------
    response : ndarray of float64, shape (lmax / 2 + 1,)
    chosen, axes : ndarray
        As `fibres`.

    Raises
    ------
    Failure
        DATA_INVALID when what is found is no fibre's response.
    """
    table = harmonics.basis(directions, lmax)

    def solve(found: Array) -> Array:
        forward = table * harmonics.rotational(found)
        return deconvolve.solve(signal, deconvolve.problem(forward, lmax, penalty))

    chosen, guess = fibres(signal, directions, axes, lmax, solve)
    found = fit(signal[chosen], directions, guess, lmax)
    if not (found[0] > 0 > found[1]):
        raise Failure(
            Category.DATA_INVALID,
            f"{name}: the voxels of highest FA show no fibres at b={shell.bval:g}: their signal is "
            "not lowest along their direction",
            "check the b-vectors and the mask, or use --fod tensor",
        )
    return found, chosen, guess


def tissues(
    fa: NDArray[np.floating], decay: NDArray[np.floating], name: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Choose voxels of grey matter and of CSF.

    Parameters
    ----------
    fa : ndarray, shape (voxels,)
    decay : ndarray, shape (voxels,)
        Mean over the shells of ln(S0 / S).
    name : str
        Of the series, for the error.

    Returns
    -------
    grey, csf : ndarray of int
        Indices: of the voxels that are not white and decay no faster than the threshold of Otsu
        1979, but more than the median of white matter, those nearest to their median; of the rest,
        the upper half without its highest twentieth.

    Raises
    ------
    Failure
        DATA_INVALID when there are not enough.
    """
    dark = np.flatnonzero(fa <= FA_WHITE)
    between = otsu(decay[dark]) if len(dark) else 0.0
    white = decay[fa > FA_WHITE]
    lowest = float(np.median(white)) if len(white) else -np.inf
    fluid = dark[decay[dark] > between]
    grey = dark[(decay[dark] <= between) & (decay[dark] > lowest)]
    if min(len(fluid), len(grey)) >= LEAST_TISSUE:
        number = max(LEAST_TISSUE, round(_GREY_SHARE * len(grey)))
        distance = np.abs(decay[grey] - np.median(decay[grey]))
        grey = grey[np.argsort(distance, kind="stable")[:number]]
        low, high = np.quantile(decay[fluid], (0.5, 0.95))
        fluid = fluid[(decay[fluid] >= low) & (decay[fluid] <= high)]
    if min(len(fluid), len(grey)) < LEAST_TISSUE // 2:
        raise Failure(
            Category.DATA_INVALID,
            f"{name}: {len(grey)} voxels of grey matter and {len(fluid)} of CSF were found in the "
            f"mask, their responses need {LEAST_TISSUE} of each",
            "use a mask of the whole brain, or --fod csd",
        )
    return np.sort(grey), np.sort(fluid)


def otsu(values: NDArray[np.floating]) -> float:
    """Return the threshold that separates two classes best (Otsu 1979), from 256 bins."""
    counts, edges = np.histogram(values, bins=256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = sums / below - (sums[-1] - sums) / above
        between = np.nan_to_num(below * above * gap**2)
    return float(edges[int(np.argmax(between)) + 1])
