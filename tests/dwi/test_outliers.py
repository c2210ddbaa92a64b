"""Slices that lost signal: found, replaced by something nearer to the truth, or left alone."""

from __future__ import annotations

import numpy as np
import pytest

from cohortflow.dwi import correct, outliers
from dwi import moving
from dwi.moving import Moved


@pytest.fixture(scope="module")
def losing() -> Moved:
    """A head that moves 0.4 mm and degrees an axis; 5 % of its slices keep 0.3 to 0.7."""
    return moving.moved(moving.clean(2401, motion=0.4), share=0.05, eddy=0.5)


def lost(scan: Moved) -> np.ndarray:
    return np.asarray(scan.spoilt.kept < 1)


def test_lost_slices_are_found_and_others_are_not(losing: Moved) -> None:
    slices, true = losing.result.estimate.slices, lost(losing)
    hits = (slices.lost & true).sum()
    assert true.sum() > 30
    assert (true & slices.judged).sum() >= 0.9 * true.sum(), "few are too small to be judged"
    assert hits >= 0.9 * true.sum(), "recall"
    assert hits >= 0.9 * slices.lost.sum(), "precision"


def test_the_loss_is_measured(losing: Moved) -> None:
    slices, true = losing.result.estimate.slices, lost(losing)
    off = (slices.loss - (1 - losing.spoilt.kept))[slices.lost & true]
    assert np.abs(off).mean() <= 0.05


def test_replaced_slices_are_nearer_to_the_truth_than_kept_ones(losing: Moved) -> None:
    found, data = losing.result.estimate, losing.data
    kept = correct.resampled(data, found, None, replace=False, threads=1)
    off = np.zeros(3)
    intact = np.flatnonzero(~(found.slices.lost | lost(losing)).any(axis=0) & losing.weighted)
    for volume in np.flatnonzero(found.slices.lost.any(axis=0)):
        where = losing.clean.mask & found.slices.lost[:, volume]
        true = losing.still(volume)
        for place, image in enumerate((kept, losing.result.data)):
            off[place] += ((image[..., volume] - true)[where].astype(np.float64) ** 2).sum()
        other = losing.result.data[..., intact[0]] - losing.still(intact[0])
        off[2] += (other[where].astype(np.float64) ** 2).sum()
    assert off[1] <= 0.1 * off[0]
    assert off[1] <= 1.2 * off[2], "about as near as what was measured well"


def test_volumes_without_lost_slices_are_not_replaced(losing: Moved) -> None:
    found = losing.result.estimate
    assert set(found.replaced) == set(np.flatnonzero(found.slices.lost.any(axis=0)))
    for volume, image in found.replaced.items():
        kept = ~found.slices.lost[:, volume]
        assert np.array_equal(image[..., kept], losing.data.data[..., kept, volume])


def test_volumes_without_weighting_are_never_judged(losing: Moved) -> None:
    assert not losing.result.estimate.slices.judged[:, ~losing.weighted].any()


def slices_of(loss: np.ndarray, seed: int = 1) -> outliers.Slices:
    """Judge slices of 2000 voxels of 5 mm2 that lack a share of what is expected, and noise."""
    noise = np.random.default_rng(seed).normal(0, 0.01, loss.shape)
    wanted = np.full(loss.shape, 1e6)
    return outliers.judge(wanted * (1 - loss + noise), wanted, np.full(loss.shape, 2000.0), 5.0)


def test_a_volume_is_an_outlier_when_a_quarter_of_its_slices_is_lost() -> None:
    loss = np.zeros((40, 20))
    loss[:10, 3], loss[:11, 4] = 0.5, 0.5
    found = slices_of(loss)
    assert np.array_equal(found.lost, loss > 0)
    assert np.flatnonzero(found.volumes).tolist() == [4]


@pytest.mark.parametrize("seed", [3, 4])
def test_noise_is_no_loss(seed: int) -> None:
    assert not slices_of(np.zeros((40, 60)), seed).lost.any()


def test_a_volume_that_is_darker_as_a_whole_lost_no_slices() -> None:
    loss = np.zeros((40, 20))
    loss[:, 5] = 0.3
    assert not slices_of(loss).lost.any()


def test_slices_that_are_lost_in_many_volumes_are_found() -> None:
    loss = np.zeros((40, 20))
    loss[10:20, ::2] = 0.4
    loss[:, 0] = 0
    assert np.array_equal(slices_of(loss).lost, loss > 0)


def test_a_slice_that_varies_in_all_volumes_is_not_lost() -> None:
    """The top of a head that moves is in a slice or not."""
    loss = np.zeros((40, 20))
    loss[39] = np.random.default_rng(7).normal(0, 0.08, 20)
    assert not slices_of(loss).lost.any()


def test_small_slices_are_not_judged() -> None:
    counted = np.full((4, 9), 500.0)
    counted[0] = outliers.SMALLEST_MM2 / 5 - 1
    found = outliers.judge(counted * 0.9, counted, counted, 5.0)
    assert not found.judged[0].any()
    assert found.judged[1:].all()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_however_many_slices_are_lost_they_are_found(share: float) -> None:
    rng = np.random.default_rng(31)
    counted = np.full((20, 24), 900.0)
    wanted = counted * 500
    true = rng.random(wanted.shape) < share
    true[:, ::5] = False  # what is expected of the others rests on good volumes
    left = np.where(true, rng.uniform(0.3, 0.55, wanted.shape), 1)
    found = wanted * left * rng.normal(1, 0.01, wanted.shape)
    slices = outliers.judge(found, wanted, counted, area_mm2=9.0)
    hits = (slices.lost & true).sum()
    assert hits >= 0.9 * true.sum(), "recall"
    assert hits >= 0.9 * slices.lost.sum(), "precision"
