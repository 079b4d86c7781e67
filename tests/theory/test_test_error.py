"""The exact test error against prompts drawn one by one."""

import numpy as np
import pytest

from imprint.theory.covariance import Covariance
from imprint.theory.pretraining import pretrained
from imprint.theory.setting import Setting
from imprint.theory.test_error import error_share, floor, test_error

SIGMA = np.array([1.0, 0.8, 0.5, 0.3, 0.2, 0.1])


def drawn_errors(weights, n, count):
    rng = np.random.default_rng(1)
    inputs = np.sqrt(SIGMA)[:, None] * rng.normal(size=(count, len(SIGMA), n))
    tasks = rng.normal(size=(count, len(SIGMA)))
    labels = np.einsum("bdn,bd->bn", inputs, tasks)
    estimates = -np.einsum("bdn,bn->bd", inputs, labels) / n @ weights.T
    return np.sum((estimates - tasks) ** 2, axis=1)


@pytest.mark.parametrize("diagonal", [True, False])
def test_the_formula_agrees_with_simulation_and_a_doubled_term_does_not(diagonal):
    rng, n = np.random.default_rng(0), 5
    weights = -np.diag(1 / (SIGMA + 0.5))
    if not diagonal:
        weights = weights + 0.3 * rng.normal(size=weights.shape)
    errors = drawn_errors(weights, n, 100_000)
    mean, se = errors.mean(), errors.std() / np.sqrt(len(errors))
    given = weights.diagonal() if diagonal else weights
    exact = len(SIGMA) * test_error(given, Covariance(SIGMA), n)
    assert abs(mean - exact) < 3 * se
    doubled = exact + np.sum(weights**2 * SIGMA**2) / n
    assert abs(mean - doubled) > 5 * se


# pretrained model alone and the floor, by context length
TABLE = """
20 .9927 .9525
50 .9899 .8892
100 1.015 .8005
200 1.182 .6674
400 1.890 .5009
600 2.915 .4009
800 4.109 .3342
1000 5.386 .2866
1200 6.691 .2508
5000 24.3 .0744
"""


@pytest.mark.parametrize("row", TABLE.split("\n")[1:-1])
def test_before_training_and_at_best(row):
    n, start, least = row.split()
    setting = Setting().with_context(int(n))
    assert test_error(pretrained(setting), setting.test, setting.n_test) == pytest.approx(
        float(start), rel=1.7e-3
    )
    assert floor(setting) == pytest.approx(float(least), rel=7e-4)


def test_nothing_is_below_the_floor():
    setting = Setting(d=12, weak=5).with_context(9)
    rng = np.random.default_rng(0)
    least = -1 / setting.test.ridged(9)
    for _ in range(50):
        other = np.diag(least) + 0.01 * rng.normal(size=(12, 12))
        assert test_error(other, setting.test, 9) > floor(setting)


def test_shares_sum_to_one_whatever_the_form_of_the_weights():
    setting = Setting(d=12, weak=5).with_context(9)
    weights = pretrained(setting)
    shares = error_share(weights, setting.test, 9)
    np.testing.assert_allclose(error_share(np.diag(weights), setting.test, 9), shares)
    assert shares.sum() == pytest.approx(1)
