"""A digital head whose diffusion signal is a sum over crossing fibre populations.

It is made to test tractography of the corticospinal tract against truth. One seed is one person
(anatomy and gradient table); `scan` tells that person's scans apart (place, motion, noise).
The head's shape, tissues and background FA are those of `cohortflow.example.head`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core.outcome import Category, Failure
from cohortflow.example import acquire, compartments, head
from cohortflow.example.bundle_truth import Truth
from cohortflow.example.bundles import SIDES
from cohortflow.example.head import Tissue
from cohortflow.example.phantom import FIELD_OF_VIEW, S0, fsl_bvecs

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Brain:
    """One scan and its truth. Arrays share the grid (x, y, z) and must not be changed.

    Attributes
    ----------
    data : ndarray (x, y, z, volumes) int16
        Magnitude image; white matter without weighting is 1000.
    clean : ndarray (x, y, z, volumes) float32
        The same head still, without noise and rounding.
    affine : ndarray (4, 4)
        Voxel indices to world mm (right, anterior, superior).
    bvals : ndarray (volumes,)
        s/mm2.
    bvecs : ndarray (volumes, 3)
        FSL convention: image axes, x negated when the affine's determinant is positive.
    gradients : ndarray (volumes, 3)
        The same directions in world axes.
    mask : ndarray (x, y, z) bool
        Voxels of which half or more is grey matter, white matter or CSF.
    warp : Warp
        The known map from world mm to template mm.
    truth : Truth
    turns : ndarray (volumes, 3, 3)
    shifts : ndarray (volumes, 3)
        Motion of the head, see `cohortflow.example.acquire.random_poses`.
    sigma : float
        Noise a channel; 0 without noise.
    seed, scan : int
        What the scan was drawn from.
    """

    data: NDArray[np.int16]
    clean: NDArray[np.float32]
    affine: Array
    bvals: Array
    bvecs: Array
    gradients: Array
    mask: NDArray[np.bool_]
    warp: head.Warp
    truth: Truth
    turns: Array
    shifts: Array
    sigma: float
    seed: int
    scan: int


def make_brain(
    seed: int,
    *,
    scan: int = 1,
    snr: float = 20.0,
    directions: int = 32,
    b_value: float | Sequence[tuple[float, int]] = 1000.0,
    voxel_size: float = 2.5,
    motion: float = 0.0,
    tilt: tuple[float, float, float] = (0.0, 0.0, 0.0),
    axes: str = "LAS",
    thin: Mapping[str, float] | None = None,
    without: Sequence[str] = (),
    symmetric: bool = False,
    field_of_view: tuple[float, float, float] | None = None,
) -> Brain:
    """Scan a head with crossing bundles.

    Parameters
    ----------
    seed : int
        The person: anatomy and gradient table.
    scan : int
        Which scan of that person: place, motion and noise.
    snr : float
        Signal of white matter at b = 0 over the noise of a channel; ``math.inf`` for none.
    directions : int
        Number of weighted volumes, at least 6; 2 or 3 volumes with b = 0 are added.
    b_value : float or sequence of (float, int)
        s/mm2; or several shells, each a b-value and its number of directions.
    voxel_size : float
        mm, the same along every axis.
    motion : float
        Standard deviation of each volume's translation (mm) and rotation (degrees) an axis.
    tilt : tuple of float
        Rotation of the image axes in the scanner about x, y, z, degrees.
    axes : {"LAS", "RAS"}
        Where the image axes point.
    thin : mapping of str to float, optional
        For ``left`` or ``right`` the volume of the corticospinal tract that is left, 0 to 1. The
        cross-section shrinks about the centre line, the fan too. Other white matter fills the
        rest, with fibres across the tract.
    without : sequence of str
        Sides that have no corticospinal tract at all.
    symmetric : bool
        Make left and right mirror images of each other in the scanner.
    field_of_view : tuple of float, optional
        mm along x, y, z; by default it holds the head down to the medulla.

    Returns
    -------
    Brain

    Raises
    ------
    Failure
        USAGE for arguments that are not as above; CONFIG when the template is missing.
    """
    shells = [(b_value, directions)] if isinstance(b_value, int | float) else list(b_value)
    volumes = _volumes(thin or {}, without)
    if not shells or min(count for _, count in shells) < 6 or axes not in ("LAS", "RAS"):
        raise _usage(f"shells {shells} and axes {axes!r}", "at least 6 directions, LAS or RAS")
    affine, shape = _grid(field_of_view or FIELD_OF_VIEW, voxel_size, tilt, axes)
    person, visit = np.random.SeedSequence(seed), np.random.SeedSequence([seed, scan])
    anatomy_rng, table_rng = (np.random.default_rng(s) for s in person.spawn(2))
    pose_rng, motion_rng, noise_rng = (np.random.default_rng(s) for s in visit.spawn(3))
    warp = head.random_warp(anatomy_rng, pose_rng)
    warp = mirrored_mean(warp) if symmetric else warp
    tables = [acquire.protocol(count, b, table_rng) for b, count in shells]
    bvals, gradients = (np.concatenate(parts) for parts in zip(*tables, strict=True))
    content, truth = compartments.fill(shape, affine, warp, volumes, symmetric=symmetric)
    turns, shifts = acquire.random_poses(len(bvals), motion, motion_rng)
    sigma = S0[Tissue.WHITE] / snr
    clean = np.empty((*shape, len(bvals)), np.float32)
    data = np.empty((*shape, len(bvals)), np.int16)
    near = ndimage.binary_dilation(content.s0().reshape(shape) > 0, iterations=2)
    for index, (bval, gradient) in enumerate(zip(bvals, gradients, strict=True)):
        turn, shift = turns[index], shifts[index]
        clean[..., index] = content.signal(bval, gradient).reshape(shape)
        seen = clean[..., index]
        if motion and index:
            # The head carries its fibres along: in its own axes the gradient turns back.
            seen = content.signal(bval, turn.T @ gradient).reshape(shape)
            seen = acquire.moved(seen, affine, turn, shift, head.CENTRE, near)
        if sigma:
            seen = acquire.rician(seen, sigma, noise_rng)
        data[..., index] = np.rint(seen)
    return Brain(
        data=data,
        clean=clean,
        affine=affine,
        bvals=bvals,
        bvecs=fsl_bvecs(gradients, affine),
        gradients=gradients,
        mask=truth.white + truth.grey + truth.csf >= 0.5,
        warp=warp,
        truth=truth,
        turns=turns,
        shifts=shifts,
        sigma=sigma,
        seed=seed,
        scan=scan,
    )


def _volumes(thin: Mapping[str, float], without: Sequence[str]) -> dict[str, float]:
    """Say which part of each side's tract is there."""
    unknown = {*thin, *without} - set(SIDES)
    wrong = [part for part in thin.values() if not 0 <= part <= 1]
    if unknown or wrong:
        raise _usage(f"sides {sorted(unknown)}, volumes {wrong}", "left or right, and 0 to 1")
    return {side: 0.0 if side in without else float(thin.get(side, 1.0)) for side in SIDES}


def _usage(what: str, ask: str) -> Failure:
    return Failure(Category.USAGE, f"a brain with {what}", f"ask for {ask}")


def _grid(
    extent: tuple[float, float, float], size: float, tilt: tuple[float, float, float], axes: str
) -> tuple[Array, tuple[int, int, int]]:
    """Centre an even number of voxels a side on the head."""
    x, y, z = (2 * round(length / size / 2) for length in extent)
    affine = np.eye(4)
    flip = np.diag([-1.0 if axes == "LAS" else 1.0, 1.0, 1.0])
    affine[:3, :3] = head.rotation(np.array(tilt)) @ flip * size
    affine[:3, 3] = head.CENTRE - affine[:3, :3] @ ((np.array([x, y, z]) - 1) / 2)
    return affine, (x, y, z)


def mirrored_mean(warp: head.Warp) -> head.Warp:
    """Return the mean of a warp and its mirror image: it takes mirrored points to mirrored ones."""
    flip = np.array([-1.0, 1.0, 1.0])
    return replace(
        warp,
        linear=(warp.linear + flip[:, None] * warp.linear * flip) / 2,
        shift=(warp.shift + flip * warp.shift) / 2,
        amplitudes=np.concatenate([warp.amplitudes, warp.amplitudes * flip]) / 2,
        waves=np.concatenate([warp.waves, warp.waves * flip]),
        phases=np.concatenate([warp.phases, warp.phases]),
    )
