"""Outcome supervision: gradient, Hessian, and where gradient descent stays stable."""

import numpy as np
import pytest

from imprint.theory import outcome, recursion
from imprint.theory.covariance import Covariance
from imprint.theory.sampler import draw_moments
from imprint.theory.setting import Setting

D, B, N = 4, 7, 9


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    moments = draw_moments(Covariance(np.array([1, 0.8, 0.5, 0.3])), N, B, rng)
    return -np.eye(D) + 0.3 * rng.normal(size=(D, D)), moments, rng.normal(size=(D, B))


def dense_hessian(weights, moments, tasks, steps):
    size = weights.size
    basis = np.eye(size).reshape(size, *weights.shape)
    rows = [outcome.curvature(weights, moments, tasks, steps, v).ravel() for v in basis]
    return np.array(rows)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_loss_by_definition(case, steps):
    weights, moments, tasks = case
    gaps = [
        recursion.rollout(S, w, weights, steps)[-1] - w
        for S, w in zip(moments, tasks.T, strict=True)
    ]
    powers = [
        np.linalg.matrix_power(np.eye(D) + weights @ S, steps) @ w
        for S, w in zip(moments, tasks.T, strict=True)
    ]
    found = outcome.loss(weights, moments, tasks, steps)
    assert found == pytest.approx(np.sum(np.square(gaps)) / (2 * B), rel=1e-12)
    assert found == pytest.approx(np.sum(np.square(powers)) / (2 * B), rel=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_gradient_by_central_differences_and_by_the_formula(case, steps):
    weights, moments, tasks = case
    found, h = outcome.gradient(weights, moments, tasks, steps), 1e-5
    for direction in np.random.default_rng(1).normal(size=(3, D, D)):
        ends = [outcome.loss(weights + s * direction, moments, tasks, steps) for s in (h, -h)]
        assert np.sum(found * direction) == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6)
    plain = np.zeros((D, D))
    for S, w in zip(moments, tasks.T, strict=True):
        M = np.eye(D) + weights @ S
        last = np.linalg.matrix_power(M, steps) @ w
        for j in range(steps):
            left, right = (np.linalg.matrix_power(M.T, e) for e in (j, steps - 1 - j))
            plain += left @ np.outer(last, w) @ right @ S.T / B
    np.testing.assert_allclose(found, plain, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_curvature_by_central_differences(case, steps):
    weights, moments, tasks = case
    h = 1e-5
    for direction in np.random.default_rng(2).normal(size=(3, D, D)):
        ends = [outcome.gradient(weights + s * direction, moments, tasks, steps) for s in (h, -h)]
        expected = (ends[0] - ends[1]) / (2 * h)
        found = outcome.curvature(weights, moments, tasks, steps, direction)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("steps", [1, 3])
def test_the_sharpness_is_the_largest_eigenvalue(case, steps):
    weights, moments, tasks = case
    values = np.linalg.eigvalsh(dense_hessian(weights, moments, tasks, steps))
    found = outcome.sharpness(weights, moments, tasks, steps)
    assert found == pytest.approx(values[-1], rel=1e-6)
    assert found <= outcome.curvature_bound(weights, moments, tasks, steps)


def test_the_sharpness_where_a_negative_eigenvalue_is_larger_in_size():
    case = np.array([[-1.2, 0.5], [2.7, 3.1]]), np.diag([1, 0.01])[None], np.array([[0.3], [-2.1]])
    values = np.linalg.eigvalsh(dense_hessian(*case, 3))
    assert values[0] < -values[-1] < 0
    assert outcome.sharpness(*case, 3) == pytest.approx(values[-1], rel=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_the_scalar_case(steps):
    v, s, w = -0.4, 1.3, 0.7
    found = dense_hessian(np.array([[v]]), np.array([[[s]]]), np.array([[w]]), steps)[0, 0]
    assert found == pytest.approx(outcome.scalar_curvature(1 + v * s, s, w, steps))
    gauss_newton = outcome.scale(1 + v * s, steps) * s**2 * w**2
    assert found == pytest.approx(gauss_newton * (2 * steps - 1) / steps)


# M near, then the sharpness for k = 1, 2, 3, 5, 8 of one draw
TABLE = """
.3 1.98 1.29 .480 .0445 8.8e-4
-.3 1.98 1.90 1.39 .667 .199
.9 1.98 9.70 19.7 39.0 56.4
-.9 1.98 11.9 39.7 344 7.43e3
1.1 1.98 14.5 44.1 196 910
-1.1 1.98 17.3 76.4 1.30e3 7.36e4
1.5 1.98 27.3 157 2.61e3 9.79e4
-1.5 1.98 31.1 244 1.15e4 3.0e6
"""


@pytest.mark.parametrize("row", TABLE.split("\n")[1:-1])
def test_the_table_of_curvatures_within_its_spread(row):
    transfer, *values = map(float, row.split())
    ratios = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        moments = draw_moments(Covariance(np.ones(8)), 400, 40, rng)
        tasks, weights = rng.normal(size=(8, 40)), -(1 - transfer) * np.eye(8)
        for k, value in zip((1, 2, 3, 5, 8), values, strict=True):
            ratios.append(outcome.sharpness(weights, moments, tasks, k, tolerance=1e-3) / value)
    logs = np.median(np.log(ratios).reshape(3, 5), axis=0)
    assert (np.abs(logs) < np.log(1.6)).all()


def test_the_law_of_the_paper():
    assert [f"{outcome.scale(1.5, k):.3g}" for k in (1, 2, 3, 5, 8)] == [
        *("1", "9", "45.6", "641", "1.87e+04")
    ]


@pytest.mark.parametrize("share", [0.5, 3.0])
def test_the_step_limit(share):
    setting = Setting(d=6, weak=3, weak_eig=0.5, target_rate=1, interference=1, n_sft=200)
    moments, tasks = outcome.draw_prompts(setting, 4, 0)
    best, _ = outcome.descend(-0.7 * np.eye(6), moments, tasks, 1, step=0.05, updates=400)
    limit = outcome.step_limit(outcome.sharpness(best, moments, tasks, 1))
    start = best + 1e-3 * np.eye(6)
    _, losses = outcome.descend(start, moments, tasks, 1, step=share * limit, updates=200)
    if share < 1:
        assert losses[-1] <= losses[0]
    else:
        assert not losses[-1] < 1e6 * losses[0]


def test_no_positive_curvature_has_no_limit():
    assert outcome.step_limit(0.0) == np.inf
    assert outcome.step_limit(4.0) == 0.5
