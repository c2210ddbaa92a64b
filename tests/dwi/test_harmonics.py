"""Harmonics in MRtrix3's basis, what the kernels make of them, and the peaks of their sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import sph_harm_y

from cohortflow.dwi import deconvolve, fod, harmonics, peaks, tensor_odf
from cohortflow.example import acquire


def turned(axes: np.ndarray, lmax: int) -> np.ndarray:
    """Return the harmonics of one peak of weight 1 along each axis."""
    return harmonics.basis(axes, lmax)


def spread(number: int, seed: int) -> np.ndarray:
    """Return unit vectors, random."""
    drawn = np.random.default_rng(seed).normal(size=(number, 3))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_harmonics_have_the_closed_form() -> None:
    """MRtrix3's documentation lists these; `bench deconvolution` reads the files with MRtrix3."""
    x, y, z = spread(50, 1).T
    made = harmonics.basis(np.column_stack([x, y, z]), 4)
    root = math.sqrt(15 / math.pi)
    assert np.allclose(made[:, 0], 1 / math.sqrt(4 * math.pi))
    assert np.allclose(made[:, 1], root / 2 * x * y)
    assert np.allclose(made[:, 2], -root / 2 * y * z)
    assert np.allclose(made[:, 3], math.sqrt(5 / math.pi) / 4 * (3 * z * z - 1))
    assert np.allclose(made[:, 4], -root / 2 * x * z)
    assert np.allclose(made[:, 5], root / 4 * (x * x - y * y))
    four = 3 / 4 * math.sqrt(35 / math.pi)
    assert np.allclose(made[:, 6], four * x * y * (x * x - y * y))
    assert np.allclose(
        made[:, 14], four / 4 * (x * x * (x * x - 3 * y * y) - y * y * (3 * x * x - y * y))
    )


def test_harmonics_of_every_degree_are_scipys() -> None:
    directions = spread(40, 2)
    x, y, z = directions.T
    theta, phi = np.arccos(z), np.arctan2(y, x)
    made = harmonics.basis(directions, harmonics.LARGEST)
    for order in range(0, harmonics.LARGEST + 1, 2):
        for m in range(-order, order + 1):
            complex_one = sph_harm_y(order, abs(m), theta, phi)
            part = complex_one.imag if m < 0 else complex_one.real
            wanted = part * (math.sqrt(2) if m else 1)
            assert np.allclose(made[:, order * (order + 1) // 2 + m], wanted, atol=1e-12)


def test_a_peak_has_the_integral_1_and_the_kernels_see_the_same_function() -> None:
    axes = spread(30, 3)
    rows = turned(axes, 8)
    assert np.allclose(rows[:, 0] * math.sqrt(4 * math.pi), 1)
    where, heights = peaks.peaks(rows, number=1)
    assert np.allclose(np.abs((where[:, 0] * axes).sum(axis=1)), 1, atol=1e-6)
    full = harmonics.count(8) / (4 * math.pi)  # the addition theorem
    assert np.allclose(heights[:, 0], full, rtol=1e-5)


def test_zonal_factors_turn_a_response_into_every_direction() -> None:
    """A fibre's signal, its distribution times the response, is the response about its axis."""
    axes, gradients = spread(20, 4), spread(30, 5)
    answer = np.array([500.0, -250.0, 80.0, -20.0, 4.0])
    signals = (turned(axes, 8) * harmonics.rotational(answer)) @ harmonics.basis(gradients, 8).T
    assert np.allclose(signals, harmonics.zonal(axes @ gradients.T, 8) @ answer)


def slowly(signal: np.ndarray, forward: np.ndarray, lmax: int) -> np.ndarray:
    """Do what Tournier et al. 2007 say with NumPy, one voxel."""
    given = deconvolve.problem(forward, lmax, fod.PENALTY)
    solved = given.start.T @ signal
    active = np.zeros(len(given.rows), dtype=bool)
    for _ in range(deconvolve.ITERATIONS):
        negative = given.rows @ solved < 0
        if (negative == active).all():
            break
        active = negative
        part = given.rows[active]
        solved = np.linalg.solve(given.normal + part.T @ part, given.project.T @ signal)
    return solved


def test_kernel_equals_the_paper_done_slowly() -> None:
    gradients = acquire.sphere_directions(45, np.random.default_rng(6))
    answer = np.array([500.0, -250.0, 80.0, -20.0, 4.0])
    forward = harmonics.basis(gradients, 8) * harmonics.rotational(answer)
    signals = turned(spread(30, 7), 8) + turned(spread(30, 8), 8)
    noise = np.random.default_rng(9).normal(scale=8, size=(30, 45))
    signals = (signals @ forward.T + noise).astype(np.float32)
    made = deconvolve.solve(signals, deconvolve.problem(forward, 8, fod.PENALTY))
    wanted = np.array([slowly(one.astype(np.float64), forward, 8) for one in signals])
    assert np.allclose(made, wanted, atol=1e-8 * np.abs(wanted).max())


def test_peaks_are_where_a_fine_grid_is_highest() -> None:
    rows = turned(spread(20, 10), 8) + 0.7 * turned(spread(20, 11), 8)
    where, heights = peaks.peaks(rows, number=1)
    fine = harmonics.half_sphere(40000)
    values = rows @ harmonics.basis(fine, 8).T
    best = fine[values.argmax(axis=1)]
    cosine = np.abs((where[:, 0] * best).sum(axis=1))
    assert np.degrees(np.arccos(np.clip(cosine, 0, 1))).max() < 1
    assert (heights[:, 0] >= values.max(axis=1) - 1e-6).all()
    assert np.allclose(heights[:, 0], values.max(axis=1), rtol=1e-3)


def test_peaks_keep_their_order_limits_and_distance() -> None:
    x, y, z = np.eye(3)
    one = 1.0 * turned(x[None], 8) + 0.6 * turned(y[None], 8) + 0.35 * turned(z[None], 8)
    where, heights = peaks.peaks(one)
    assert (np.diff(heights[0]) < 0).all()
    assert np.allclose(np.abs(where[0]), np.eye(3), atol=0.02)
    assert (peaks.peaks(one, share=0.5)[1][0] > 0).sum() == 2
    assert (peaks.peaks(one, least=10 * heights[0, 0])[1] == 0).all()
    near = turned(np.array([[1.0, 0, 0], [math.cos(0.8), math.sin(0.8), 0]]), 12).sum(axis=0)
    assert (peaks.peaks(near[None])[1][0] > 0).sum() == 2
    assert (peaks.peaks(near[None], apart=50)[1][0] > 0).sum() == 1
    where, heights = peaks.peaks(np.zeros((1, 45)))
    assert not where.any()
    assert not heights.any()


@pytest.mark.parametrize("power", [1, 4])
def test_tensors_distribution_has_integral_1_and_points_along_the_tensor(power: int) -> None:
    frames = np.linalg.qr(np.random.default_rng(12).normal(size=(20, 3, 3)))[0]
    made = np.einsum("vij,j,vkj->vik", frames, [1.7, 0.4, 0.3], frames)
    rows = tensor_odf.expand(made, 6, power)
    assert np.allclose(rows[:, 0] * math.sqrt(4 * math.pi), 1)
    where, _ = peaks.peaks(rows, number=1)
    cosine = np.abs((where[:, 0] * frames[:, :, 0]).sum(axis=1))
    assert np.degrees(np.arccos(np.clip(cosine, 0, 1))).max() < 1
