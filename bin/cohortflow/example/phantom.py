"""A digital head phantom: a diffusion scan whose anatomy, tensors and noise are known.

One seed is one person (anatomy and gradient table); `scan` tells that person's scans apart
(place in the scanner, motion, noise).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohortflow.core.outcome import Category, Failure
from cohortflow.example import acquire, head, tracts
from cohortflow.example.head import Tissue

Array = NDArray[np.floating]

#: Field of view in mm when no shape is given: x, y, z.
FIELD_OF_VIEW = (180.0, 216.0, 156.0)
#: Signal without diffusion weighting, as in a T2-weighted image.
S0 = {
    Tissue.AIR: 0.0,
    Tissue.SKULL: 60.0,
    Tissue.SCALP: 450.0,
    Tissue.EYE: 2800.0,
    Tissue.CSF: 3500.0,
    Tissue.GREY: 1450.0,
    Tissue.WHITE: 1000.0,
}
#: Mean diffusivity, mm2/s.
MD = {
    Tissue.AIR: 0.0,
    Tissue.SKULL: 0.5e-3,
    Tissue.SCALP: 1.0e-3,
    Tissue.EYE: 2.8e-3,
    Tissue.CSF: 3.0e-3,
    Tissue.GREY: 0.85e-3,
    Tissue.WHITE: 0.75e-3,
}
#: FA and MD (mm2/s) defined for the tracts, the same in every voxel of one.
TRACT_FA = {"cst_left": 0.70, "cst_right": 0.70, "callosum": 0.78}
TRACT_MD = 0.75e-3


@dataclass(frozen=True)
class Phantom:
    """One scan and its truth. Arrays share the grid (x, y, z) and must not be changed.

    Attributes
    ----------
    data : ndarray (x, y, z, volumes) int16
        Magnitude image; white matter without weighting is 1000.
    affine : ndarray (4, 4)
        Voxel indices to world mm (right, anterior, superior).
    bvals : ndarray (volumes,)
        s/mm2; 0 or `b_value`.
    bvecs : ndarray (volumes, 3)
        FSL convention: image axes, x negated when the affine's determinant is positive.
    gradients : ndarray (volumes, 3)
        The same directions in world axes.
    mask : ndarray (x, y, z) bool
        Everything inside the skull: grey, white, CSF in ventricles and around the brain.
    tissue : ndarray (x, y, z) uint8
        See `cohortflow.example.head.Tissue`.
    s0 : ndarray (x, y, z) float32
        Signal without weighting and noise.
    tensors : ndarray (x, y, z, 6) float32
        Dxx, Dxy, Dxz, Dyy, Dyz, Dzz in world axes, mm2/s.
    fa, md : ndarray (x, y, z) float32
        Of `tensors`; 0 outside `mask`. MD in mm2/s.
    tracts : dict of str to ndarray (x, y, z) bool
        ``cst_left``, ``cst_right``, ``callosum`` and ``csf``; disjoint.
    turns : ndarray (volumes, 3, 3)
        Rotation of the head in each volume; the b-vectors are not corrected for it.
    shifts : ndarray (volumes, 3)
        Its translation, mm, see `cohortflow.example.acquire.random_poses`.
    warp : Warp
        The known map from world mm to template mm.
    sigma : float
        Noise a channel; 0 without noise.
    seed, scan : int
        What the scan was drawn from.
    """

    data: NDArray[np.int16]
    affine: Array
    bvals: Array
    bvecs: Array
    gradients: Array
    mask: NDArray[np.bool_]
    tissue: NDArray[np.uint8]
    s0: NDArray[np.float32]
    tensors: NDArray[np.float32]
    fa: NDArray[np.float32]
    md: NDArray[np.float32]
    tracts: dict[str, NDArray[np.bool_]]
    turns: Array
    shifts: Array
    warp: head.Warp
    sigma: float
    seed: int
    scan: int


def make_phantom(
    seed: int,
    *,
    scan: int = 1,
    snr: float = 30.0,
    directions: int = 24,
    b_value: float = 1000.0,
    voxel_size: float = 2.5,
    shape: tuple[int, int, int] | None = None,
    motion: float = 0.15,
    tilt: tuple[float, float, float] = (0.0, 0.0, 0.0),
    axes: str = "LAS",
) -> Phantom:
    """Scan a head phantom.

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
    b_value : float
        s/mm2.
    voxel_size : float
        mm, the same along every axis.
    shape : tuple of int, optional
        Number of voxels; by default the field of view holds the head down to the medulla.
    motion : float
        Standard deviation of each volume's translation (mm) and rotation (degrees) an axis.
    tilt : tuple of float
        Rotation of the image axes in the scanner about x, y, z, degrees.
    axes : {"LAS", "RAS"}
        Where the image axes point. LAS (negative determinant) is what dcm2niix writes.

    Returns
    -------
    Phantom

    Raises
    ------
    Failure
        USAGE for fewer than 6 directions or other axes; CONFIG when the template is missing.
    """
    if directions < 6 or axes not in ("LAS", "RAS"):
        raise Failure(
            Category.USAGE,
            f"a phantom with {directions} directions and axes {axes!r}",
            "ask for at least 6 directions, and LAS or RAS",
        )
    size = shape or tuple(2 * round(extent / voxel_size / 2) for extent in FIELD_OF_VIEW)
    affine = _affine((size[0], size[1], size[2]), voxel_size, tilt, axes)
    person, visit = np.random.SeedSequence(seed), np.random.SeedSequence([seed, scan])
    anatomy_rng, table_rng = (np.random.default_rng(s) for s in person.spawn(2))
    pose_rng, motion_rng, noise_rng = (np.random.default_rng(s) for s in visit.spawn(3))
    warp = head.random_warp(anatomy_rng, pose_rng)
    truth = _anatomy((size[0], size[1], size[2]), affine, warp)
    bvals, gradients = acquire.protocol(directions, b_value, table_rng)
    turns, shifts = acquire.random_poses(len(bvals), motion, motion_rng)
    sigma = S0[Tissue.WHITE] / snr
    near = ndimage.binary_dilation(truth.s0 > 0, iterations=2)
    data = np.empty((*truth.s0.shape, len(bvals)), np.int16)
    for index, (bval, gradient) in enumerate(zip(bvals, gradients, strict=True)):
        turn, shift = turns[index], shifts[index]
        # The head carries its tensors along: in its own axes the gradient turns the other way.
        clean = acquire.signal(truth.s0, truth.tensors, bval, turn.T @ gradient)
        if motion and index:
            clean = acquire.moved(clean, affine, turn, shift, head.CENTRE, near)
        if sigma:
            clean = acquire.rician(clean, sigma, noise_rng)
        data[..., index] = np.rint(clean)
    return Phantom(
        data=data,
        affine=affine,
        bvals=bvals,
        bvecs=fsl_bvecs(gradients, affine),
        gradients=gradients,
        mask=truth.mask,
        tissue=truth.tissue,
        s0=truth.s0,
        tensors=truth.tensors,
        fa=truth.fa,
        md=truth.md,
        tracts=truth.tracts,
        turns=turns,
        shifts=shifts,
        warp=warp,
        sigma=sigma,
        seed=seed,
        scan=scan,
    )


def fsl_bvecs(gradients: Array, affine: Array) -> Array:
    """Turn world directions (n, 3) into FSL's: image axes, x negated if the determinant is > 0."""
    linear = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    bvecs = gradients @ linear
    if np.linalg.det(linear) > 0:
        bvecs = bvecs * np.array([-1.0, 1.0, 1.0])
    return np.asarray(bvecs + 0.0)  # no negative zeros


@dataclass(frozen=True)
class _Truth:
    """The still head on the image grid."""

    mask: NDArray[np.bool_]
    tissue: NDArray[np.uint8]
    s0: NDArray[np.float32]
    tensors: NDArray[np.float32]
    fa: NDArray[np.float32]
    md: NDArray[np.float32]
    tracts: dict[str, NDArray[np.bool_]]


def _affine(
    shape: tuple[int, int, int], size: float, tilt: tuple[float, float, float], axes: str
) -> Array:
    """Centre the grid on the head; tilt it; point its x axis left or right."""
    flip = np.diag([-1.0 if axes == "LAS" else 1.0, 1.0, 1.0])
    affine = np.eye(4)
    affine[:3, :3] = head.rotation(np.array(tilt)) @ flip * size
    affine[:3, 3] = head.CENTRE - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _anatomy(shape: tuple[int, int, int], affine: Array, warp: head.Warp) -> _Truth:
    """Fill the grid with the warped head: tissue, tracts, tensors."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    points = warp(world)
    template = head.load_template()
    tissue, white, template_fa = head.tissues(template, points)
    brain = tissue >= Tissue.CSF
    solid = np.flatnonzero(tissue >= Tissue.GREY)
    fibres = tracts.field(points[solid], head.edges_at(template, points[solid]))
    inside = {name: _spread(mask, solid, len(world)) for name, mask in fibres.inside.items()}
    values = np.zeros((3, len(world)))  # S0, MD, FA
    for kind in Tissue:
        values[:, tissue == kind] = np.array([[S0[kind]], [MD[kind]], [0.0]])
    for row, table in enumerate((S0, MD)):
        grey, wm = table[Tissue.GREY], table[Tissue.WHITE]
        values[row, solid] = grey + (wm - grey) * white[solid]
    values[2, solid] = np.clip(template_fa[solid], 0.05, 0.75)
    for name, mask in inside.items():
        values[:, mask] = np.array([[S0[Tissue.WHITE]], [TRACT_MD], [TRACT_FA[name]]])
        tissue[mask] = Tissue.WHITE
    axis = np.linalg.solve(warp.jacobian(world[solid]), fibres.directions[..., None])[..., 0]
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    tensors = np.zeros((len(world), 6), np.float32)
    tensors[:, [0, 3, 5]] = values[1][:, None]
    tensors[solid] = _sticks(axis, values[2, solid], values[1, solid])
    inside["csf"] = tissue == Tissue.CSF
    md = np.where(brain, values[1], 0)
    return _Truth(
        mask=brain.reshape(shape),
        tissue=tissue.reshape(shape),
        s0=values[0].reshape(shape).astype(np.float32),
        tensors=tensors.reshape(*shape, 6),
        fa=values[2].reshape(shape).astype(np.float32),
        md=md.reshape(shape).astype(np.float32),
        tracts={name: mask.reshape(shape) for name, mask in inside.items()},
    )


def _sticks(axis: Array, fa: Array, md: Array) -> Array:
    """Build tensors (n, 6) with cylindrical symmetry about `axis` of the given FA and MD.

    With eigenvalues md (1 + 2 k), md (1 - k), md (1 - k), FA is ``3 k / sqrt(3 + 6 k^2)``.
    """
    k = fa / np.sqrt(3 - 2 * fa**2)
    across, extra = md * (1 - k), 3 * md * k
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    columns = [extra * axis[:, i] * axis[:, j] + across * (i == j) for i, j in pairs]
    return np.stack(columns, axis=1)


def _spread(mask: NDArray[np.bool_], where: NDArray[np.intp], size: int) -> NDArray[np.bool_]:
    """Put values of some voxels back among all."""
    full = np.zeros(size, bool)
    full[where] = mask
    return full
