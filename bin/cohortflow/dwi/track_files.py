"""Write candidate streamlines, numbers and a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from cohortflow.core import save
from cohortflow.dwi import mosaic, series, track, tracking
from cohortflow.dwi import streamlines as lines
from cohortflow.dwi.made import Volume
from cohortflow.dwi.track import Candidates
from cohortflow.dwi.tracking import Field, Settings

Numbers = dict[str, float | int | str]


def metrics(found: Candidates, settings: Settings, per_voxel: int) -> Numbers:
    """Return how candidates were tracked, and what came of it."""
    ended = found.tracked.ended
    total = max(1, sum(ended.values()))
    return {
        "track_method": settings.way,
        "track_seeds_per_voxel": per_voxel,
        "track_step_mm": settings.step,
        "track_angle_degrees": settings.angle,
        "track_fa_threshold": settings.fa,
        "track_seed_voxels": int(found.seeds.sum()),
        "track_streamlines": len(found.tracked.streamlines),
        "track_ended_low_fa": round(ended["low_fa"] / total, 4),
        "track_ended_turned": round(ended["turned"] / total, 4),
    }


def write(
    folder: Path,
    prefix: str,
    found: Candidates,
    field: Field,
    fa: Volume,
    settings: Settings,
    per_voxel: int,
    sources: list[str],
) -> None:
    """Write candidates, picture and metrics into a step's folder.

    Raises
    ------
    OSError
        When something cannot be written.
    """
    (folder / "dwi").mkdir()
    (folder / "figures").mkdir()
    stem = folder / "dwi" / f"{prefix}_desc-candidates_tractogram"
    lines.write_trk(
        stem.with_name(f"{stem.name}.trk"), found.tracked.streamlines, fa.affine, fa.shape
    )
    fields = series.sidecar(
        Description="Streamlines from both internal capsules, in world mm",
        Method=settings.way,
        SeedsPerVoxel=per_voxel,
        SeedFA=track.SEED_FA,
        StepMM=settings.step,
        AngleDegrees=settings.angle,
        FAThreshold=settings.fa,
        **({} if settings.way == "peaks" else {"AmplitudeShare": tracking.CUT}),
        **({"AmplitudePower": field.power} if settings.way == "probabilistic" else {}),
        LengthMM=[settings.shortest, settings.longest],
        RandomSeed=settings.random_seed,
        Sources=sources,
    )
    save.write_json(stem.with_name(f"{stem.name}.json"), fields)
    picture = draw(prefix, found, field, fa)
    mosaic.save(folder / "figures" / f"{prefix}_desc-track_dwi.png", picture)
    save.write_json(folder / "metrics.json", metrics(found, settings, per_voxel))


def draw(prefix: str, found: Candidates, field: Field, fa: Volume) -> Image.Image:
    """Draw the seeds on FA, and how many candidates visit a voxel."""
    visits = lines.visits(found.tracked.streamlines, fa.affine, fa.shape)
    number = len(found.tracked.streamlines)
    shown = np.log10(1.0 + visits)
    top = float(shown.max()) or 1.0
    return mosaic.draw(
        f"{prefix}: candidate streamlines",
        f"{number} streamlines from {int(found.seeds.sum())} seed voxels",
        [
            mosaic.Row("FA, seed voxels outlined", fa.data, 1.0, ("0", "1"), outline=found.seeds),
            mosaic.Row(
                "streamlines that visit a voxel (logarithm)", shown, top,
                ("0", f"{10 ** top - 1:.0f}"), palette="heat",
            ),
        ],
        field.mask,
        fa.affine,
        columns=8,
        lines=2,
    )  # fmt: skip
