"""A toy brain of boxes in which every way that a streamline can take is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from cohortflow.core import save
from cohortflow.dwi import streamlines
from cohortflow.dwi.regions import Region
from cohortflow.dwi.streamlines import Streamlines

SHAPE = (34, 30, 50)
SIZE = 3.0
AFFINE = np.diag([-SIZE, SIZE, SIZE, 1.0])
AFFINE[:3, 3] = [48.0, -45.0, -66.0]
"""World and template are one here; the first image axis points to the left."""

# x, y, z of two corners in mm.
BOXES: dict[Region, tuple[tuple[float, ...], tuple[float, ...]]] = {
    Region.BRAINSTEM: ((-10, -10, -66), (10, 10, -18)),
    Region.CAPSULE_LEFT: ((-30, -8, 0), (-18, 8, 12)),
    Region.CAPSULE_RIGHT: ((18, -8, 0), (30, 8, 12)),
    Region.MOTOR_LEFT: ((-40, -15, 55), (-3, 15, 75)),
    Region.MOTOR_RIGHT: ((3, -15, 55), (40, 15, 75)),
    Region.CALLOSUM: ((-6, -20, 20), (6, 20, 28)),
    Region.THALAMUS_LEFT: ((-15, -12, 0), (-3, 12, 14)),
    Region.THALAMUS_RIGHT: ((3, -12, 0), (15, 12, 14)),
    Region.CEREBELLUM: ((-30, -45, -60), (30, -20, -20)),
}


def coordinates() -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    return (index @ AFFINE[:3, :3].T + AFFINE[:3, 3]).astype(np.float32)


def labels() -> np.ndarray:
    where = coordinates()
    made = np.zeros(SHAPE, np.uint8)
    for region, (low, high) in BOXES.items():
        made[((where >= low) & (where <= high)).all(axis=-1)] = region
    return made


def line(*waypoints: tuple[float, float, float], step: float = 0.75) -> np.ndarray:
    """Return points along a polyline."""
    corners = np.asarray(waypoints, float)
    lengths = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(lengths)])
    at = np.linspace(0, along[-1], max(2, int(along[-1] / step) + 1))
    return np.stack([np.interp(at, along, corners[:, axis]) for axis in range(3)], axis=1)


def tract(side: str, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Return a streamline of the tract, shifted by some mm, from below."""
    sign = -1 if side == "left" else 1
    way = [(sign * 5, 0, -60), (sign * 6, 0, -20), (sign * 24, 0, 2), (sign * 24, 0, 60)]
    return line(*[(a + x, b + y, c) for a, b, c in way])


def bundle(side: str, number: int = 60, seed: int = 1) -> list[np.ndarray]:
    """Return streamlines of the tract that lie beside each other."""
    rng = np.random.default_rng(seed)
    return [tract(side, *rng.uniform(-2.5, 2.5, 2)) for _ in range(number)]


def pack(lines: list[np.ndarray]) -> Streamlines:
    """Put lines into one set; every five have one seed."""
    lengths = np.array([len(points) for points in lines], np.int64)
    return Streamlines(
        points=np.concatenate(lines).astype(np.float32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        seed=(np.arange(len(lines)) // 5).astype(np.int32),
    )


@dataclass(frozen=True)
class Folders:
    """What the steps before made of the toy."""

    tensor: Path
    register: Path
    rois: Path
    track: Path

    @property
    def made(self) -> list[str]:
        folders = (self.tensor, self.register, self.rois)
        return [word for folder in folders for word in ("--made", str(folder))]


def write(folder: Path, candidates: Streamlines, *, fa: np.ndarray | None = None) -> Folders:
    """Write the toy as files of sub-01."""
    stem = "sub-01_space-orig_model-DTI_param"
    maps = {"FA": np.full(SHAPE, 0.5) if fa is None else fa}
    maps |= {"MD": np.full(SHAPE, 8e-4), "RD": np.full(SHAPE, 6e-4), "AD": np.full(SHAPE, 1.2e-3)}
    for name, values in maps.items():
        _image(folder / "tensor", f"{stem}-{name}_dwimap", values.astype(np.float32))
    points = "sub-01_from-orig_to-MNI152NLin6Asym_mode-points_xfm"
    _image(folder / "register", points, coordinates())
    _image(folder / "rois", "sub-01_space-orig_desc-rois_dseg", labels())
    track = folder / "track" / "dwi"
    track.mkdir(parents=True)
    path = track / "sub-01_desc-candidates_tractogram.trk"
    streamlines.write_trk(path, candidates, AFFINE, SHAPE)
    return Folders(*(folder / name for name in ("tensor", "register", "rois", "track")))


def write_told(folder: Path) -> tuple[Path, Path]:
    """Write sidecars and numbers that the methods are told from; return their folders."""
    done = [{"Name": "denoise", "Window": [5, 5, 5]}, {"Name": "correct", "Correct": "motion"}]
    for name in ("orient", "fod"):
        (folder / name / "dwi").mkdir(parents=True)
    save.write_json(
        folder / "orient" / "dwi" / "sub-01_desc-preproc_dwi.json", {"Preprocessing": done}
    )
    used = {"Method": "csd", "BValues": [0, 1000], "Directions": 32, "SphericalHarmonicDegree": 6}
    save.write_json(
        folder / "fod" / "dwi" / "sub-01_space-orig_model-CSD_param-FOD_dwimap.json",
        {"Model": {"Parameters": used}},
    )
    numbers = {"track_method": "probabilistic", "track_seeds_per_voxel": 100, "track_step_mm": 0.75,
               "track_angle_degrees": 20, "track_fa_threshold": 0.15}  # fmt: skip
    save.write_json(folder / "track" / "metrics.json", numbers)
    save.write_json(
        folder / "register" / "metrics.json",
        {"register_correlation": 0.87, "register_atlas": "of-toys"},
    )
    return folder / "orient", folder / "fod"


def _image(folder: Path, name: str, values: np.ndarray) -> None:
    (folder / "dwi").mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(values, AFFINE)
    image.set_sform(AFFINE, 1)
    nib.save(image, folder / "dwi" / f"{name}.nii.gz")
