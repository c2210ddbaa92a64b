"""Which deconvolution a series allows, by its shells and directions."""

from __future__ import annotations

import numpy as np
import pytest

from cohortflow.core.outcome import Category, Failure
from cohortflow.dwi import shells
from cohortflow.dwi.gradients import Gradients
from cohortflow.example import acquire


def table(*weighted: tuple[float, int], zeros: int = 2) -> Gradients:
    """Return a gradient table."""
    rng = np.random.default_rng(13)
    bvals = np.concatenate([np.zeros(zeros), *(np.full(n, b) for b, n in weighted)])
    bvecs = [acquire.sphere_directions(n, rng) for _, n in weighted]
    return Gradients(bvals, np.concatenate([np.zeros((zeros, 3)), *bvecs]))


@pytest.mark.parametrize(
    ("weighted", "method", "lmax", "used"),
    [
        ([(1000.0, 6)], "tensor", 6, [0, 1000]),
        ([(1000.0, 19)], "tensor", 6, [0, 1000]),
        ([(1000.0, 12), (2000.0, 12)], "tensor", 6, [0, 1000, 2000]),
        ([(1000.0, 20)], "csd", 4, [1000]),
        ([(1000.0, 45)], "csd", 8, [1000]),
        ([(700.0, 6), (2000.0, 30)], "msmt", 6, [0, 700, 2000]),
        ([(700.0, 3), (2000.0, 30)], "csd", 6, [2000]),
    ],
)
def test_directions_and_shells_choose_the_method(
    weighted: list[tuple[float, int]], method: str, lmax: int, used: list[int]
) -> None:
    chosen = shells.plan(table(*weighted))
    assert (chosen.method, chosen.lmax) == (method, lmax)
    assert [round(shell.bval) for shell in chosen.shells] == used


def test_scattered_b_values_are_one_shell() -> None:
    given = table((1000.0, 30))
    given.bvals[2:] += np.linspace(-40, 40, 30)
    zero, only = shells.group(given)
    assert zero.bval == 0
    assert len(only.volumes) == 30


@pytest.mark.parametrize(
    ("weighted", "method", "message"),
    [
        ([(1000.0, 19)], "csd", "19 directions, csd needs 20"),
        ([(700.0, 8), (2000.0, 15)], "msmt", "15 directions, msmt needs 20"),
        ([(2000.0, 60)], "msmt", "fewer than two weighted shells, msmt needs two"),
    ],
)
def test_a_method_that_the_series_does_not_allow_is_refused(
    weighted: list[tuple[float, int]], method: str, message: str
) -> None:
    with pytest.raises(Failure, match=message) as caught:
        shells.plan(table(*weighted), method, name="s.nii")
    assert caught.value.category == Category.DATA_INVALID
    assert caught.value.line().endswith(f"s.nii: has {message}: use --fod auto")


@pytest.mark.parametrize("lmax", [3, -2, 14])
def test_a_degree_that_is_none_is_refused(lmax: int) -> None:
    with pytest.raises(Failure, match="is no degree") as caught:
        shells.plan(table((1000.0, 60)), "csd", lmax)
    assert caught.value.category == Category.USAGE
