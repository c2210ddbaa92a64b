"""Fixtures of the diffusion tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from dwi import scans


@pytest.fixture(scope="session")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the real series, converted: ``7006`` and so on, and ``philips``."""
    return scans.real_series(shared_data, tmp_path_factory.mktemp("real"))
