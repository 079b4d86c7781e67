"""Reasoning steps at test time."""

import numpy as np
import pytest
from scipy.optimize import minimize

from imprint.theory import chain_of_thought as cot
from imprint.theory.covariance import Covariance
from imprint.theory.pretraining import optimum
from imprint.theory.test_error import test_error

EVEN = Covariance(np.ones(6))


@pytest.mark.parametrize("diagonal", [True, False])
def test_one_step_has_the_exact_error(diagonal):
    weights = optimum(EVEN, 30)
    given = weights if diagonal else np.diag(weights)
    found = cot.simulated_error(given, EVEN, 20, 1, 8000, 0)
    assert found.shape == (2, 8000)
    se = found.std(axis=1) / np.sqrt(8000)
    assert abs(found[1].mean() - test_error(weights, EVEN, 20)) < 3 * se[1]
    assert abs(found[0].mean() - 1) < 3 * se[0]


def test_steps_help_on_covered_directions_and_overthink_on_others():
    weights = optimum(EVEN, 60)
    covered = cot.simulated_error(weights, EVEN, 60, 6, 400, 0).mean(axis=1)
    assert (np.diff(covered) < 0).all()
    test = Covariance(np.array([3.0, 1, 1, 1, 1, 1]))
    uncovered = cot.simulated_error(weights, test, 60, 6, 400, 0).mean(axis=1)
    assert uncovered[-1] > uncovered[1]
    drive = [[cot.overthinking(EVEN, over, 60, k) for k in (1, 3, 9)] for over in (EVEN, test)]
    assert drive[0] == sorted(drive[0], reverse=True)
    assert drive[1] == sorted(drive[1])


def test_bounds():
    assert cot.direct_bound(EVEN, 30, 20) == pytest.approx(6 * (49 / 900 + 7 / 20))
    assert cot.cot_bound(EVEN, 30, 2) == pytest.approx(6 * (1 + 30 / 7) ** -4)
    found = cot.simulated_error(optimum(EVEN, 30), EVEN, 20, 1, 4000, 0)[1].mean() * 6
    assert found < cot.direct_bound(EVEN, 30, 20)


def test_overthinking_by_definition():
    pretraining, test = Covariance(np.array([1, 0.2])), Covariance(np.array([1, 1.5]))
    gamma = np.diag(pretraining.ridged(10) ** -0.5)
    gap = np.eye(2) - gamma @ np.diag(test.eigenvalues) @ gamma
    expected = np.trace(np.linalg.matrix_power(gap, 6))
    assert cot.overthinking(pretraining, test, 10, 3) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_the_best_mixture(seed):
    rng = np.random.default_rng(seed)
    parts, target = rng.uniform(0, 2, size=(4, 7)), Covariance(rng.uniform(0.5, 1.5, 7))
    found = cot.best_mixture(parts, target)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    plain = minimize(
        lambda p: cot.mixture_gap(p, parts, target),
        np.full(4, 0.25),
        bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
        options={"ftol": 1e-12},
    )
    assert cot.mixture_gap(found, parts, target) <= plain.fun * (1 + 1e-6)
    np.testing.assert_allclose(found, plain.x, atol=1e-3)


def test_a_part_that_is_the_target_is_all_of_the_mixture():
    parts = np.array([[1.0, 0.5, 2.0], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(cot.best_mixture(parts, Covariance(parts[0])), [1, 0], atol=1e-12)
