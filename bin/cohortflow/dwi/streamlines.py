"""Streamlines: points in world mm, packed; their files, and the voxels that they visit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortflow.core.compiled import compiled
from cohortflow.core.outcome import Category, Failure, failure_of
from cohortflow.dwi import coordinates
from cohortflow.dwi.coordinates import OnGrid
from cohortflow.dwi.grids import Grid

_FINE = 0.2  # of a voxel: steps in which a streamline is followed through voxels


@dataclass(frozen=True)
class Streamlines:
    """Streamlines of one series.

    Attributes
    ----------
    points : ndarray of float32, shape (total, 3)
        World mm (right, anterior, superior).
    offsets : ndarray of int64, shape (n + 1,)
        Streamline i is ``points[offsets[i]:offsets[i + 1]]``.
    seed : ndarray of int32, shape (n,)
        Number of the seed voxel that it was started from.
    """

    points: NDArray[np.float32]
    offsets: NDArray[np.int64]
    seed: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.seed)

    def lengths(self) -> NDArray[np.float64]:
        """Return the length of each streamline, mm, shape (n,)."""
        steps = np.linalg.norm(np.diff(self.points.astype(np.float64), axis=0), axis=1)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        return np.asarray(along[self.offsets[1:] - 1] - along[self.offsets[:-1]])

    def take(self, index: NDArray[np.integer]) -> Streamlines:
        """Return some streamlines, in the order of their numbers given."""
        index = np.asarray(index, np.intp)
        counts = np.diff(self.offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        shift = np.repeat(self.offsets[index] - offsets[:-1], counts)
        return Streamlines(self.points[np.arange(offsets[-1]) + shift], offsets, self.seed[index])

    def resampled(self, number: int) -> NDArray[np.float32]:
        """Return points at equal shares of each streamline's length, shape (n, number, 3)."""
        made = np.zeros((len(self), number, 3), np.float32)
        _resample(self.points, self.offsets, made)
        return made


@compiled
def _resample(points: NDArray[Any], offsets: NDArray[Any], made: NDArray[Any]) -> None:
    number = made.shape[1]
    for i in range(len(offsets) - 1):
        first, last = offsets[i], offsets[i + 1]
        total = 0.0
        for p in range(first, last - 1):
            square = 0.0
            for a in range(3):
                square += (points[p + 1, a] - points[p, a]) ** 2
            total += square**0.5
        at, gone, length = first, 0.0, 0.0
        for k in range(number):
            wanted = total * k / (number - 1) if number > 1 else 0.0
            while at < last - 1:
                square = 0.0
                for a in range(3):
                    square += (points[at + 1, a] - points[at, a]) ** 2
                length = square**0.5
                if gone + length >= wanted or at == last - 2:
                    break
                gone += length
                at += 1
            share = 0.0
            if at < last - 1 and length > 0:
                share = min(1.0, max(0.0, (wanted - gone) / length))
            other = min(at + 1, last - 1)
            for a in range(3):
                made[i, k, a] = points[at, a] + share * (points[other, a] - points[at, a])


def visits(
    lines: Streamlines, affine: NDArray[np.float64], shape: tuple[int, int, int]
) -> NDArray[np.int32]:
    """Count the streamlines that pass through each voxel, each once a voxel.

    Parameters
    ----------
    lines : Streamlines
    affine : ndarray, shape (4, 4)
        Voxel indices to world mm.
    shape : tuple of int

    Returns
    -------
    ndarray of int32, shape (x, y, z)
    """
    inverse = np.linalg.inv(affine)
    index = lines.points.astype(np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
    made = np.zeros(shape, np.int32)
    _visit(index, lines.offsets, _FINE, np.full(shape, -1, np.int32), made)
    return made


@compiled
def _visit(
    index: NDArray[Any], offsets: NDArray[Any], fine: float, last: NDArray[Any], made: NDArray[Any]
) -> None:
    """Follow each streamline in small steps; `last` tells who was in a voxel last."""
    nx, ny, nz = made.shape
    for i in range(len(offsets) - 1):
        for p in range(offsets[i], offsets[i + 1]):
            end = min(p + 1, offsets[i + 1] - 1)
            dx = index[end, 0] - index[p, 0]
            dy = index[end, 1] - index[p, 1]
            dz = index[end, 2] - index[p, 2]
            steps = int((dx * dx + dy * dy + dz * dz) ** 0.5 / fine) + 1
            for k in range(steps):
                x = round(index[p, 0] + dx * k / steps)
                y = round(index[p, 1] + dy * k / steps)
                z = round(index[p, 2] + dz * k / steps)
                if x < 0 or y < 0 or z < 0 or x >= nx or y >= ny or z >= nz:
                    continue
                if last[x, y, z] != i:
                    last[x, y, z] = i
                    made[x, y, z] += 1


def write_trk(
    path: Path, lines: Streamlines, affine: NDArray[np.float64], shape: tuple[int, int, int]
) -> None:
    """Write a TrackVis file on a grid; each streamline carries its seed.

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    import nibabel as nib

    tractogram = _tractogram(lines)
    tractogram.data_per_streamline["seed"] = lines.seed.astype(np.float32)[:, np.newaxis]
    header = nib.streamlines.TrkFile.create_empty_header()
    header["voxel_to_rasmm"] = affine.astype(np.float32)
    header["voxel_sizes"] = np.linalg.norm(affine[:3, :3], axis=0).astype(np.float32)
    header["dimensions"] = shape
    header["voxel_order"] = "".join(nib.aff2axcodes(affine))
    nib.streamlines.TrkFile(tractogram, header).save(str(path))


def write_tck(path: Path, lines: Streamlines) -> None:
    """Write an MRtrix3 file.

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    import nibabel as nib

    nib.streamlines.TckFile(_tractogram(lines)).save(str(path))


def _tractogram(lines: Streamlines) -> Any:  # noqa: ANN401 - nibabel has no types here
    import nibabel as nib

    parts = np.split(lines.points, lines.offsets[1:-1]) if len(lines) else []
    return nib.streamlines.Tractogram(parts, affine_to_rasmm=np.eye(4))


def read_trk(path: Path, like: OnGrid | None = None) -> Streamlines:
    """Read a TrackVis file; without seeds each streamline is a seed's own.

    Parameters
    ----------
    path : Path
    like : Volume, optional
        The file must be of its grid.

    Raises
    ------
    Failure
        INPUT_MISSING or PERMISSION when it cannot be opened; DATA_INVALID when it is no such file,
        damaged, or of another grid.
    """
    import nibabel as nib

    try:
        # Read whole, the header says how many there are, not how many there should be.
        header = nib.streamlines.TrkFile.load(str(path), lazy_load=True).header
        declared = int(header["nb_streamlines"])
        with np.errstate(invalid="ignore"):
            made = nib.streamlines.TrkFile.load(str(path)).tractogram
    except OSError as error:
        raise failure_of(error, path) from None
    except Exception as error:
        raise _damaged(path, str(error).splitlines()[0] if str(error) else "") from None
    if like is not None:
        shape = tuple(int(number) for number in header["dimensions"])
        affine = np.asarray(header["voxel_to_rasmm"], np.float64)
        coordinates.check(path, Grid(shape, affine), like)
    lengths = np.array([len(line) for line in made.streamlines], np.int64)
    points = np.asarray(made.streamlines.get_data() if len(lengths) else np.zeros((0, 3)))
    # Asked for a name that it has not, nibabel's mapping answers as if it were an index.
    carried = "seed" in list(made.data_per_streamline)
    seeds = made.data_per_streamline["seed"][:, 0] if carried else np.arange(len(lengths))
    if declared and declared != len(lengths):
        raise _damaged(path, f"it has {len(lengths)} of {declared} streamlines")
    if not (lengths > 0).all():
        raise _damaged(path, "a streamline has no points")
    if not (np.isfinite(points).all() and np.isfinite(seeds).all()):
        raise _damaged(path, "a coordinate or seed is not a finite number")
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    own = np.rint(np.asarray(seeds)).astype(np.int32)
    return Streamlines(points.astype(np.float32, copy=False), offsets, own)


def _damaged(path: Path, why: str) -> Failure:
    return Failure(
        Category.DATA_INVALID, f"{path}: not a whole TrackVis file ({why})", "make it again"
    )
