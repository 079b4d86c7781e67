"""Attention over whole tokens against the recursion on the estimate."""

import numpy as np
import pytest

from imprint.theory import lsa, recursion


@pytest.fixture(params=[(5, 7, 4), (3, 20, 1), (8, 4, 6)])
def case(request):
    d, n, steps = request.param
    rng = np.random.default_rng(d)
    value, key = -np.eye(d) + 0.2 * rng.normal(size=(2, d, d))
    return rng.normal(size=(d, n)), rng.normal(size=d), value, key, steps


def test_the_recursion_equals_the_forward_pass(case):
    inputs, task, value, key, steps = case
    moment = inputs @ inputs.T / inputs.shape[1]
    tokens, estimates = lsa.rollout(inputs, task, value, key, steps)
    expected = recursion.rollout(moment, task, value, steps, key)
    scale = max(1, np.abs(expected).max())
    assert np.abs(estimates - expected).max() < 1e-12 * scale
    closed = recursion.closed_form(moment, task, value, steps, key)
    assert np.abs(closed - expected[-1]).max() < 1e-12 * scale
    d, n = inputs.shape
    assert not tokens[: d + 1, n:].any()
    assert (tokens[-1, n:] == 1).all()
    assert not tokens[-1, :n].any()


def test_with_identity_keys_the_gap_is_a_power(case):
    inputs, task, value, _, steps = case
    moment = inputs @ inputs.T / inputs.shape[1]
    transfer = np.eye(len(task)) + value @ moment
    gap = -np.linalg.matrix_power(transfer, steps) @ task
    found = recursion.rollout(moment, task, value, steps)[-1] - task
    np.testing.assert_allclose(found, gap, rtol=1e-10, atol=1e-12)


def test_only_the_last_column_depends_on_the_steps(case):
    inputs, task, value, key, steps = case
    short, _ = lsa.rollout(inputs, task, value, key, steps - 1)
    long, _ = lsa.rollout(inputs, task, value, key, steps)
    np.testing.assert_array_equal(long[:, :-1], short)


def test_targets_go_a_fixed_share_of_the_way():
    found = recursion.targets(np.array([1.0, -2.0]), 3, 0.5)
    np.testing.assert_allclose(found[:, 0], [0, 0.5, 0.75, 0.875])
    np.testing.assert_allclose(found[:, 1], -2 * found[:, 0])
