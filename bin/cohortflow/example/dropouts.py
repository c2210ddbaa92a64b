"""A scan with slices that lost signal, and with distortions by eddy currents; both known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.example import acquire
from cohortflow.example.head import Tissue
from cohortflow.example.phantom import S0, Phantom

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Spoilt:
    """A scan and what was done to it.

    Attributes
    ----------
    scan : Phantom
        Whose data lost signal, are distorted and noisy.
    kept : ndarray of float64, shape (slices, volumes)
        Share of the signal that each slice (along z) kept, 1 for most.
    eddy : ndarray of float64, shape (volumes, 4)
        Displacement along the image's y axis, see `distorted`.
    """

    scan: Phantom
    kept: Array
    eddy: Array


def spoil(
    scan: Phantom,
    *,
    snr: float,
    share: float = 0.0,
    left: tuple[float, float] = (0.3, 0.7),
    among: float = 1.0,
    eddy: float = 0.0,
    seed: int = 1,
) -> Spoilt:
    """Spoil a scan without noise, then add noise.

    Parameters
    ----------
    scan : Phantom
        With ``snr=math.inf``.
    snr : float
        As for `make_phantom`.
    share : float
        Of the slices that hold brain, of weighted volumes: those that lose signal.
    left : tuple of float
        The signal that is left of a slice is drawn evenly from this range.
    among : float
        Share of the weighted volumes in which slices may lose signal.
    eddy : float
        Distortions are proportional to the gradient, as eddy currents are: standard deviation
        of the displacement in mm at 50 mm from the centre, for each of its three slopes; the
        shift's is the same.
    seed : int
    """
    rng = np.random.default_rng([scan.seed, scan.scan, seed])
    weighted = np.flatnonzero(scan.bvals > 0)
    data = scan.data.astype(np.float32)
    slopes = np.zeros((len(scan.bvals), 4))
    if eddy:
        # a gradient's components have a standard deviation of 1/sqrt(3)
        response = rng.normal(0, eddy, (3, 4)) * np.array([1, 0.02, 0.02, 0.02])
        slopes = scan.gradients @ response
        for volume in weighted:
            data[..., volume] = distorted(data[..., volume], scan.affine, slopes[volume])
    kept = np.ones((data.shape[2], len(scan.bvals)))
    holds = np.flatnonzero(scan.mask.any(axis=(0, 1)))
    chosen = rng.permutation(weighted)[: max(1, round(among * len(weighted)))]
    lost = rng.random((len(holds), len(chosen))) < share
    drawn = rng.uniform(*left, lost.shape)
    kept[np.ix_(holds, chosen)] = np.where(lost, drawn, 1)
    data *= kept[None, None].astype(np.float32)
    sigma = S0[Tissue.WHITE] / snr
    for number in range(data.shape[3]):
        data[..., number] = acquire.rician(data[..., number], sigma, rng)
    noisy = replace(scan, data=np.rint(data).astype(np.int16), sigma=sigma)
    return Spoilt(noisy, kept, slopes)


def distorted(volume: NDArray[np.float32], affine: Array, slopes: Array) -> NDArray[np.float32]:
    """Displace a volume along its y axis, as eddy currents of phase encoding along it do.

    Parameters
    ----------
    volume : ndarray of float32, shape (x, y, z)
    affine : ndarray, shape (4, 4)
    slopes : ndarray, shape (4,)
        Shift in mm, then mm for each mm along the image axes x, y and z from the grid's centre.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        Signal at y appears at ``y + shift + slopes . (x, y, z)``, thinned as it is stretched.
    """
    size = np.linalg.norm(affine[:3, :3], axis=0)
    centre = (np.array(volume.shape) - 1) / 2
    moved = np.eye(3)
    moved[1] += slopes[1:] * size / size[1]
    back = np.linalg.inv(moved)
    shift = np.array([0, slopes[0] / size[1], 0])
    offset = centre - back @ (centre + shift)
    found = ndimage.affine_transform(volume, back, offset, order=3, mode="nearest")
    return np.asarray(np.clip(found / np.linalg.det(moved), 0, None), np.float32)
