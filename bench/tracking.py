"""Tracking beside DIPY's and MRtrix3's: the same fibres, seeds, step, angle and FA."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.timing import Table, emptied, environment, python, search_path, spend

# Voxel size of the phantom in mm, its directions, seeds on peaks and on distributions, rounds.
SIZES = {
    "full": (2.0, 45, 20000, 8000, 5),
    "small": (2.5, 45, 20000, 4000, 3),
    "tiny": (4.0, 45, 500, 500, 1),
}
STEP, ANGLE, FA, LONGEST = 0.75, 20.0, 0.15, 200.0
POWER = 1.5  # of the amplitude, as for spherical deconvolution
SEED_FA = 0.4
COLUMNS = ("what", "streamlines", "points", "CPU s", "points a CPU s", "ours / it")

DRAWN = {
    "MRtrix3 iFOD1, probabilistic": "iFOD1",
    "MRtrix3 iFOD2, probabilistic": "iFOD2",
    "MRtrix3 SD_STREAM, deterministic": "SD_STREAM",
}

Timed = dict[str, list[tuple[float, int, int]]]  # of each contender: CPU s, streamlines, points


def measure(folder: Path, size: str) -> Iterator[Table]:
    voxel, directions, many, fewer, rounds = SIZES[size]
    spend(python("tracking", "make", folder, str(voxel), directions, many))
    given = f"seeds in a phantom of {voxel} mm, step {STEP} mm, {ANGLE:g} degrees, one thread"
    peaks = _said(folder, "peaks", many, rounds)
    cold = _cold(folder)
    mrtrix = shutil.which("tckgen", path=search_path()) is not None
    absent = [] if mrtrix else ["left out: MRtrix3 (no tckgen)"]
    if mrtrix:
        peaks["timed"] |= _mrtrix(folder, {"MRtrix3 FACT, peaks": "FACT"}, many, rounds)
    notes = [
        f"where both track from a seed: {peaks['near']:.1%} of our points lie within half a voxel "
        "of DIPY's streamline",
        f"the first call of a process: compiled before {cold[1]:.2f} s, compiled anew "
        f"{cold[0]:.2f} s (wall)",
        *(["MRtrix3: a whole process; up to 60 degrees, FACT's default"] if mrtrix else absent),
    ]
    yield _table(f"tracking on peaks: {many} {given}", peaks["timed"], notes)
    drawn = _said(folder, "distributions", fewer, rounds)["timed"]
    if mrtrix:
        drawn |= _mrtrix(folder, DRAWN, fewer, rounds)
    notes = ["MRtrix3: whole processes; iFOD2 takes 4 samples a step"] if mrtrix else absent
    yield _table(f"tracking on distributions: {fewer} {given}", drawn, notes)


def _table(title: str, timed: Timed, notes: Sequence[str]) -> Table:
    """Compare points a CPU second, median of the ratios within each round."""
    ours: dict[str, list[tuple[float, int, int]]] = {}
    rows = []
    for name, its in timed.items():
        way = name.split(", ")[-1]
        if way not in ours:
            ours[way] = its  # the first that goes this way is ours
        ratios = [(a[2] / a[0]) / (b[2] / b[0]) for a, b in zip(ours[way], its, strict=True)]
        seconds, lines, points = (statistics.median(one) for one in zip(*its, strict=True))
        speed = statistics.median(one[2] / one[0] for one in its)
        rows.append(
            (name, f"{lines:.0f}", f"{points:.0f}", f"{seconds:.3f}", f"{speed:.0f}",
             f"{statistics.median(ratios):.2f}")
        )  # fmt: skip
    said = "ours / it: of the points a CPU second; above 1 is faster than it"
    return Table(title, COLUMNS, rows, [said, *notes])


def _said(folder: Path, what: str, number: int, rounds: int) -> dict[str, Any]:
    command = python("tracking", what, folder, number, rounds)
    done = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def _cold(folder: Path) -> tuple[float, float]:
    """Return what the first call of a process takes, compiled anew and from the cache."""
    cache = folder / "cache"
    emptied(cache)()
    more = {**environment(), "NUMBA_CACHE_DIR": str(cache)}
    command = python("tracking", "first", folder)
    first, second = (
        float(subprocess.run(command, env=more, check=True, capture_output=True, text=True).stdout)
        for _ in range(2)
    )
    return first, second


def _mrtrix(folder: Path, ways: dict[str, str], number: int, rounds: int) -> Timed:
    """Track with tckgen from as many seeds at random in the same voxels."""
    timed: Timed = {}
    for name, algorithm in ways.items():
        out = folder / f"{algorithm}.tck"
        given, angle = folder / "white.nii", ANGLE
        if algorithm == "FACT":  # turns at the faces of voxels only
            given, angle = folder / "peaks.nii", 60.0
        command = [
            "tckgen", given, out, "-algorithm", algorithm, "-mask",
            folder / "inside.nii", "-seed_image", folder / "seeds.nii", "-seeds", str(number),
            "-select", "0", "-step", str(STEP), "-angle", str(angle), "-minlength", "0",
            "-maxlength", str(LONGEST), "-nthreads", "0", "-quiet", "-force",
        ]  # fmt: skip
        for _ in range(rounds):
            cpu = spend([str(word) for word in command]).cpu
            lines, points = _counted(out)
            timed.setdefault(name, []).append((cpu, lines, points))
    return timed


def _counted(path: Path) -> tuple[int, int]:
    """Return streamlines and points of a tck file, whose last triple is infinite."""
    head = path.read_bytes()[:4000].decode("latin-1")
    found = re.search(r"^file: \. (\d+)", head, re.MULTILINE)
    count = re.search(r"^count: (\d+)", head, re.MULTILINE)
    assert found is not None
    assert count is not None
    lines = int(count[1])
    return lines, (path.stat().st_size - int(found[1])) // 12 - lines - 1


def make(folder: str, *sizes: str) -> None:
    """Write a phantom's distributions, peaks and FA, and seeds in white matter."""
    import nibabel as nib
    import numpy as np

    from cohortflow.dwi import fod, seeds, shells
    from cohortflow.dwi.gradients import Gradients
    from cohortflow.dwi.series import Series
    from cohortflow.example.phantom import make_phantom

    voxel, directions, number = float(sizes[0]), int(sizes[1]), int(sizes[2])
    scan = make_phantom(701, directions=directions, voxel_size=voxel, motion=0, b_value=2500)
    table = Gradients(scan.bvals, scan.bvecs)
    data = Series(
        Path("sub-01_dwi.nii"), "sub-01", scan.data.astype(np.float32), scan.affine, None, table
    )
    found = fod.compute(data, scan.mask, shells.plan(table, "csd"))
    peaks = fod.directions_of(found, scan.mask)
    fa = np.where(scan.mask, found.fa, 0)
    inside, place = fa >= FA, Path(folder)
    start = fa >= SEED_FA
    chosen = seeds.in_mask(start, scan.affine, 1 + number // int(start.sum()), 1)
    keep = np.random.default_rng(1).permutation(len(chosen.points))[:number]
    np.savetxt(place / "seeds.txt", chosen.points[keep])
    for name, values in (
        ("white", found.white), ("peaks", peaks.reshape(*fa.shape, -1)), ("fa", fa),
        ("inside", inside.astype(np.float32)), ("seeds", start.astype(np.float32)),
    ):  # fmt: skip
        nib.save(nib.Nifti1Image(values.astype(np.float32), scan.affine), place / f"{name}.nii")


def _read(folder: str, number: str | None = None) -> tuple[Any, Any]:
    """Return field and the first seeds."""
    import nibabel as nib
    import numpy as np

    from cohortflow.dwi.seeds import Seeds
    from cohortflow.dwi.tracking import Field

    place = Path(folder)
    images = {name: nib.load(place / f"{name}.nii") for name in ("white", "peaks", "fa")}
    white, peaks, fa = (np.ascontiguousarray(i.dataobj, np.float32) for i in images.values())
    points = np.loadtxt(place / "seeds.txt", ndmin=2)[: None if number is None else int(number)]
    field = Field(
        white, peaks.reshape(*fa.shape, -1, 3), fa, np.ones(fa.shape, bool),
        np.asarray(images["fa"].affine, float), POWER,
    )  # fmt: skip
    return field, Seeds(points, np.arange(len(points), dtype=np.int32))


def _ours(field: Any, seeds: Any, way: str) -> Any:
    from cohortflow.dwi import tracking

    settings = tracking.Settings(way, STEP, ANGLE, FA, 0, LONGEST)
    return tracking.track(field, seeds, settings).streamlines


def first(folder: str) -> None:
    """Print what the first call takes."""
    field, seeds = _read(folder)
    start = time.perf_counter()
    _ours(field, seeds, "peaks")
    print(time.perf_counter() - start)


def peaks(folder: str, number: str, rounds: str) -> None:
    """Print what tracking on peaks takes, and how near it is to DIPY's."""
    import numpy as np

    field, seeds = _read(folder, number)
    given = _DipyPeaks(field)
    calls: dict[str, Callable[[], Any]] = {
        "cohortflow, peaks": lambda: _ours(field, seeds, "peaks"),
        "DIPY eudx_tracking, peaks": lambda: given.fast(seeds.points),
        "DIPY LocalTracking, peaks": lambda: given.slow(seeds.points),
    }
    made, timed = _timed(calls, int(rounds))
    theirs = made["DIPY LocalTracking, peaks"]
    near = _near(
        made["cohortflow, peaks"], seeds.points, theirs, float(np.linalg.norm(field.affine[:3, 0]))
    )
    print(json.dumps({"timed": timed, "near": near}))


class _DipyPeaks:
    """The peaks as DIPY tracks on them: numbers of a sphere's directions, in the image's axes."""

    def __init__(self, field: Any) -> None:
        import numpy as np
        from dipy.core.sphere import Sphere
        from dipy.direction.peaks import PeaksAndMetrics
        from dipy.tracking.stopping_criterion import ThresholdStoppingCriterion

        from cohortflow.dwi import harmonics

        axes = field.affine[:3, :3] / np.linalg.norm(field.affine[:3, :3], axis=0)
        half = harmonics.half_sphere(2000)
        sphere = Sphere(xyz=np.concatenate([half, -half]))
        length = np.linalg.norm(field.peaks, axis=-1)
        found = np.full(length.shape, -1, np.int32)
        units = (field.peaks[length > 0] / length[length > 0][:, None]) @ axes
        found[length > 0] = [
            number
            for part in np.array_split(units, 1 + len(units) // 5000)
            for number in (part @ sphere.vertices.T).argmax(axis=1)
        ]
        self.pam = PeaksAndMetrics()
        self.pam.sphere, self.pam.odf, self.pam.gfa, self.pam.B = sphere, None, None, None
        self.pam.peak_indices, self.pam.peak_values = found, length.astype(float)
        self.pam.peak_dirs = np.zeros((*length.shape, 3))
        self.pam.peak_dirs[length > 0] = units
        self.pam.qa = length.astype(float)
        self.pam.ang_thr, self.pam.qa_thr, self.pam.total_weight = ANGLE, 0.0, 0.5
        self.affine = field.affine
        self.stop = ThresholdStoppingCriterion(field.fa.astype(float), FA)

    def fast(self, seeds: Any) -> Any:
        from dipy.tracking.tracker import eudx_tracking

        return list(
            eudx_tracking(
                seeds, self.stop, self.affine, pam=self.pam, sphere=self.pam.sphere, max_cross=1,
                min_len=0, max_len=LONGEST, step_size=STEP, max_angle=ANGLE, pmf_threshold=0,
                nbr_threads=1, random_seed=1,
            )
        )  # fmt: skip

    def slow(self, seeds: Any) -> Any:
        from dipy.tracking.local_tracking import LocalTracking

        most = int(LONGEST / STEP)
        return list(
            LocalTracking(
                self.pam, self.stop, seeds, self.affine, STEP, max_cross=1, maxlen=most, minlen=0
            )
        )


def distributions(folder: str, number: str, rounds: str) -> None:
    """Print what tracking on distributions takes."""
    import numpy as np
    from dipy.core.sphere import Sphere
    from dipy.tracking.stopping_criterion import ThresholdStoppingCriterion
    from dipy.tracking.tracker import deterministic_tracking, probabilistic_tracking

    from cohortflow.dwi import harmonics

    field, seeds = _read(folder, number)
    axes = field.affine[:3, :3] / np.linalg.norm(field.affine[:3, :3], axis=0)
    half = harmonics.half_sphere(362)  # 724 directions, as DIPY's own sphere has
    rows = harmonics.basis(half, harmonics.degree(field.coefficients.shape[3]))
    heights = np.maximum(field.coefficients @ rows.T, 0).astype(float)
    heights = np.concatenate([heights, heights], axis=-1)
    sphere = Sphere(xyz=np.concatenate([half @ axes, -half @ axes]))
    stop = ThresholdStoppingCriterion(field.fa.astype(float), FA)

    def theirs(function: Callable[..., Any]) -> Callable[[], Any]:
        return lambda: list(
            function(
                seeds.points, stop, field.affine, sf=heights, sphere=sphere, min_len=0,
                max_len=LONGEST, step_size=STEP, max_angle=ANGLE, nbr_threads=1, random_seed=1,
                seed_directions=start,
            )
        )  # fmt: skip

    index = np.rint(
        np.linalg.solve(field.affine[:3, :3], (seeds.points - field.affine[:3, 3]).T).T
    ).astype(int)
    start = field.peaks[tuple(index.T)][:, 0].astype(float)
    start = start / np.linalg.norm(start, axis=1, keepdims=True) @ axes
    calls: dict[str, Callable[[], Any]] = {
        "cohortflow, probabilistic": lambda: _ours(field, seeds, "probabilistic"),
        "cohortflow, deterministic": lambda: _ours(field, seeds, "deterministic"),
        "DIPY probabilistic_tracking, probabilistic": theirs(probabilistic_tracking),
        "DIPY deterministic_tracking, deterministic": theirs(deterministic_tracking),
    }
    print(json.dumps({"timed": _timed(calls, int(rounds))[1]}))


def _timed(calls: dict[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, Any], Timed]:
    """Call all in turn, as often as asked, after once without timing."""
    timed: Timed = {name: [] for name in calls}
    made = {name: call() for name, call in calls.items()}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            lines = call()
            spent = time.process_time() - start
            points = len(lines.points) if hasattr(lines, "points") else sum(map(len, lines))
            timed[name].append((spent, len(lines), points))
    return made, timed


def _near(ours: Any, seeds: Any, theirs: list[Any], voxel: float) -> float:
    """Return the share of our points within half a voxel of the streamline of the same seed."""
    import numpy as np
    from scipy.spatial import cKDTree

    by_seed = {}
    for line in theirs:
        gap = np.linalg.norm(seeds - line[len(line) // 2], axis=1)
        near = np.argsort(gap)[:40]
        at = [np.linalg.norm(line - seeds[number], axis=1).min() for number in near]
        if min(at) < 1e-3:
            by_seed[int(near[int(np.argmin(at))])] = line
    hits = total = 0
    for number, (first_point, last_point) in zip(
        ours.seed, zip(ours.offsets, ours.offsets[1:], strict=False), strict=True
    ):
        if int(number) in by_seed:
            gap = cKDTree(by_seed[int(number)]).query(ours.points[first_point:last_point])[0]
            hits, total = hits + int((gap < voxel / 2).sum()), total + len(gap)
    return hits / max(1, total)


if __name__ == "__main__":
    {"make": make, "first": first, "peaks": peaks, "distributions": distributions}[sys.argv[1]](
        *sys.argv[2:]
    )
