"""A small box of voxels whose fibres and tissues are known: to test spherical deconvolution.

Fibres are cylindrically symmetric tensors in random directions, those of a crossing in a random
plane; grey matter and CSF are isotropic. Signals of what a voxel holds add up, each with its share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortflow.example import acquire

Array = NDArray[np.floating]

#: Along and across a fibre, mm2/s: as in white matter of adults.
ALONG, ACROSS = 1.7e-3, 0.3e-3
#: Grey matter and CSF, mm2/s.
GREY, CSF = 0.8e-3, 3.0e-3
#: Signal without weighting of white matter, grey matter and CSF.
S0 = (1000.0, 1300.0, 3000.0)

KINDS = ("single", "crossing 90", "crossing 60", "grey", "csf", "mixed")
"""What a voxel can hold; ``mixed`` is a single fibre with grey matter and CSF."""


@dataclass(frozen=True)
class Fibres:
    """A scan of the box and its truth; voxels in any order on the grid (x, y, z).

    Attributes
    ----------
    data : ndarray (x, y, z, n) float32
    affine : ndarray (4, 4)
        Oblique; its determinant is negative for axes LAS, positive for RAS.
    bvals : ndarray (n,)
    gradients : ndarray (n, 3)
        World axes.
    kind : ndarray (x, y, z) int
        Number in `KINDS`.
    directions : ndarray (x, y, z, 2, 3)
        Unit vectors of the fibres in world axes; 0 where there are fewer.
    fractions : ndarray (x, y, z, 3)
        White matter, grey matter and CSF: the shares of the voxel's volume, sum 1.
    sigma : float
        Noise a channel.
    """

    data: NDArray[np.float32]
    affine: Array
    bvals: Array
    gradients: Array
    kind: NDArray[np.int64]
    directions: Array
    fractions: Array
    sigma: float

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The whole box."""
        return np.ones(self.kind.shape, dtype=bool)


def make(
    seed: int,
    *,
    shells: Sequence[tuple[float, int]] = ((3000.0, 60),),
    zeros: int = 4,
    snr: float = 25.0,
    shape: tuple[int, int, int] = (12, 12, 8),
    shares: Sequence[float] = (0.4, 0.2, 0.2, 0.08, 0.08, 0.04),
    axes: str = "LAS",
    across: float = ACROSS,
) -> Fibres:
    """Scan a box.

    Parameters
    ----------
    seed : int
    shells : sequence of (float, int)
        b-value (s/mm2) and number of directions.
    zeros : int
        Volumes without weighting.
    snr : float
        Signal of white matter without weighting over the noise of a channel; ``math.inf``: none.
    shape : tuple of int
    shares : sequence of float
        Of each of `KINDS`.
    axes : {"LAS", "RAS"}
    across : float
        Diffusivity across a fibre, mm2/s.
    """
    truth_rng, table_rng, noise_rng = map(
        np.random.default_rng, np.random.SeedSequence(seed).spawn(3)
    )
    voxels = math.prod(shape)
    kind = np.repeat(np.arange(len(KINDS)), np.rint(np.multiply(shares, voxels)).astype(int))
    kind = np.resize(kind, voxels)[truth_rng.permutation(voxels)]
    directions = _directions(kind, truth_rng)
    fractions = _fractions(kind, truth_rng)
    bvals, gradients = _protocol(shells, zeros, table_rng)
    clean = _signal(bvals, gradients, kind, directions, fractions, across)
    sigma = S0[0] / snr
    data = acquire.rician(clean, sigma, noise_rng) if sigma else clean.astype(np.float32)
    return Fibres(
        data=data.reshape(*shape, -1),
        affine=_affine(axes),
        bvals=bvals,
        gradients=gradients,
        kind=kind.reshape(shape),
        directions=directions.reshape(*shape, 2, 3),
        fractions=fractions.reshape(*shape, 3),
        sigma=sigma,
    )


def _directions(kind: NDArray[np.int64], rng: np.random.Generator) -> Array:
    frames = np.linalg.qr(rng.normal(size=(len(kind), 3, 3)))[0]
    angle = np.deg2rad(np.where(kind == KINDS.index("crossing 60"), 60.0, 90.0))[:, None]
    made = np.zeros((len(kind), 2, 3))
    crossing = (kind == 1) | (kind == 2)
    fibre = crossing | (kind == 0) | (kind == KINDS.index("mixed"))
    made[fibre, 0] = frames[fibre, :, 0]
    both = frames[:, :, 0] * np.cos(angle) + frames[:, :, 1] * np.sin(angle)
    made[crossing, 1] = both[crossing]
    return made


def _fractions(kind: NDArray[np.int64], rng: np.random.Generator) -> Array:
    made = np.zeros((len(kind), 3))
    made[kind <= 2, 0] = 1
    made[kind == KINDS.index("grey"), 1] = 1
    made[kind == KINDS.index("csf"), 2] = 1
    mixed = kind == KINDS.index("mixed")
    made[mixed] = rng.dirichlet((1.5, 1.5, 1.5), int(mixed.sum()))
    return made


def _protocol(
    shells: Sequence[tuple[float, int]], zeros: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    bvals = np.concatenate([np.zeros(zeros), *(np.full(n, b) for b, n in shells)])
    tables = [acquire.sphere_directions(n, rng) for _, n in shells]
    return bvals, np.concatenate([np.zeros((zeros, 3)), *tables])


def _signal(
    bvals: Array,
    gradients: Array,
    kind: NDArray[np.int64],
    directions: Array,
    fractions: Array,
    across: float,
) -> Array:
    cosines = np.einsum("vfi,ni->vfn", directions, gradients)
    fibres = np.exp(-bvals * (across + (ALONG - across) * cosines**2))
    crossing = ((kind == 1) | (kind == 2))[:, None]
    white = np.where(crossing, fibres.mean(axis=1), fibres[:, 0])
    parts = (white, np.exp(-bvals * GREY)[None], np.exp(-bvals * CSF)[None])
    made = sum(
        s0 * fractions[:, [i]] * part for i, (s0, part) in enumerate(zip(S0, parts, strict=True))
    )
    return np.asarray(made)


def _affine(axes: str) -> Array:
    from cohortflow.example.head import rotation

    affine = np.eye(4)
    flip = np.diag([-1.0 if axes == "LAS" else 1.0, 1.0, 1.0])
    affine[:3, :3] = rotation(np.array([15.0, -10.0, 20.0])) @ flip * 2.0
    return affine
