"""The pretraining optimum against least squares on drawn prompts, and by descent."""

import numpy as np
import pytest

from imprint.theory import pretraining
from imprint.theory.covariance import Covariance
from imprint.theory.setting import Setting

LAMBDA = Covariance(np.array([1, 0.6, 0.3, 0.1]))


def test_population_least_squares_gives_the_optimum():
    n, count = 7, 400_000
    inputs = np.random.default_rng(0).normal(size=(count, 4, n), scale=1)
    inputs *= np.sqrt(LAMBDA.eigenvalues)[:, None]
    S = inputs @ inputs.transpose(0, 2, 1) / n
    second = np.einsum("bij,bjk->ik", S, S) / count
    fitted = -S.mean(axis=0) @ np.linalg.inv(second)
    expected = pretraining.optimum(LAMBDA, n)
    np.testing.assert_allclose(expected, [-0.7, -1.0294, -1.5909, -2.5], atol=5e-5)
    np.testing.assert_allclose(fitted.diagonal(), expected, rtol=0.01)
    assert np.abs(fitted - np.diag(fitted.diagonal())).max() < 0.02
    np.testing.assert_allclose(second.diagonal(), LAMBDA.second_moment(n), rtol=0.02)


@pytest.mark.parametrize("form", ["diagonal", "matrix"])
def test_descent_ends_at_the_optimum(form):
    start = np.zeros(4) if form == "diagonal" else np.random.default_rng(0).normal(size=(4, 4))
    end = pretraining.optimum(LAMBDA, 7)
    found = pretraining.descend(start, LAMBDA, 7, 3000)
    np.testing.assert_allclose(found, end if form == "diagonal" else np.diag(end), atol=1e-10)


def test_weak_directions_are_learned_last():
    end = pretraining.optimum(LAMBDA, 7)
    part = pretraining.descend(np.zeros(4), LAMBDA, 7, 20) / end
    assert (np.diff(part) < 0).all()


@pytest.mark.parametrize("matrix", [False, True])
def test_the_gradient_is_that_of_the_loss(matrix):
    rng, h = np.random.default_rng(1), 1e-6
    weights = rng.normal(size=(4, 4) if matrix else 4)
    direction = rng.normal(size=weights.shape)
    ends = [pretraining.loss(weights + s * h * direction, LAMBDA, 7) for s in (1, -1)]
    slope = np.sum(pretraining.gradient(weights, LAMBDA, 7) * direction)
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6)


def test_the_pretrained_model_of_a_setting():
    setting = Setting(d=4, weak=2, weak_eig=0.5, n_pre=10)
    gamma = 1.1 * np.array([0.5, 0.5, 1, 1]) + 0.3
    np.testing.assert_allclose(pretraining.pretrained(setting), -1 / gamma)
