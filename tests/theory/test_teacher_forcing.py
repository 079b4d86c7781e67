"""The SFT loss by definition: against the model run on true steps, and its gradients."""

import numpy as np
import pytest

from imprint.theory import lsa, recursion, sampler, teacher_forcing
from imprint.theory.covariance import Covariance

D, N, B, RATE = 4, 6, 5, 0.3


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(B, D, N))
    value, key = -np.eye(D) + 0.3 * rng.normal(size=(2, D, D))
    moments = inputs @ inputs.transpose(0, 2, 1) / N
    return inputs, moments, rng.normal(size=(D, B)), value, key


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_loss_is_that_of_attention_over_true_tokens(case, steps):
    inputs, moments, tasks, value, key = case
    V, W = lsa.attention(value, key)
    total = 0.0
    for X, task in zip(inputs, tasks.T, strict=True):
        true = recursion.targets(task, steps + 1, RATE)
        tokens = lsa.prompt(X, task)
        for i in range(steps + 1):
            column = lsa.forward(tokens, V, W, N)[:, -1]
            wanted = np.r_[np.zeros(D + 1), true[i + 1], 1]
            total += np.sum((column - wanted) ** 2)
            tokens = np.column_stack([tokens, wanted])
    found = teacher_forcing.loss(value, key, moments, tasks, steps, RATE)
    assert found == pytest.approx(total / (2 * B), rel=1e-12)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_gradients_by_central_differences(case, steps):
    _, moments, tasks, value, key = case
    by_value, by_key = teacher_forcing.gradients(value, key, moments, tasks, steps, RATE)
    rng, h = np.random.default_rng(1), 1e-5
    for _ in range(3):
        at, bt = rng.normal(size=(2, D, D))
        ends = [
            teacher_forcing.loss(value + s * at, key + s * bt, moments, tasks, steps, RATE)
            for s in (h, -h)
        ]
        slope = np.sum(by_value * at) + np.sum(by_key * bt)
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6)


def test_with_fixed_keys_it_is_least_squares_times_a_number(case):
    _, moments, tasks, value, _ = case
    columns = np.einsum("bij,jb->ib", moments, tasks)
    for steps in (0, 2, 7):
        weight = teacher_forcing.loss_weight(steps, RATE)
        plain = weight / (2 * B) * np.sum((value @ columns + RATE * tasks) ** 2)
        found = teacher_forcing.loss(value, np.eye(D), moments, tasks, steps, RATE)
        assert found == pytest.approx(plain, rel=1e-12)
        assert weight < 1 / (2 * RATE - RATE**2)


def test_a_model_that_gives_every_step_has_no_loss():
    moments = sampler.draw_moments(Covariance(np.ones(D)), N, 1, np.random.default_rng(0))
    tasks = np.ones((D, 1))
    value = -RATE * np.linalg.inv(moments[0])
    assert teacher_forcing.loss(value, np.eye(D), moments, tasks, 5, RATE) < 1e-25
