"""Gradient descent on the SFT loss: theorem 4.2."""

import dataclasses

import numpy as np
import pytest

from imprint.theory import descent, teacher_forcing
from imprint.theory.pretraining import pretrained
from imprint.theory.setting import Setting
from imprint.theory.sft import draw_prompts, sft_weights

SETTING = Setting(d=20, weak=10, interference=0.3, target_rate=0.3, cot=4).with_context(40)


@pytest.mark.parametrize("count", [12, 20, 60])
@pytest.mark.parametrize("share", [None, 0.2, 1.9])
def test_the_bound_holds(count, share):
    limit = descent.sft_descent(SETTING, count, 0, updates=1).step_limit
    step = None if share is None else share * limit / 2
    run = descent.sft_descent(SETTING, count, 0, updates=2000, step=step)
    assert (run.distances <= run.bounds * (1 + 1e-9) + 1e-12 * run.distances[0]).all()
    assert 0 < run.gd_rate < 1
    start = np.diag(pretrained(SETTING))
    assert run.distances[0] == pytest.approx(np.linalg.norm(start - run.end))


def test_at_half_the_limit_the_rate_is_one_less_the_inverse_condition_number():
    _, columns = draw_prompts(SETTING, 12, 0)
    largest, least = descent.curvatures(columns)
    run = descent.sft_descent(SETTING, 12, 0, updates=3)
    assert run.gd_rate == pytest.approx(1 - least / largest)
    sizes = np.linalg.eigvalsh(columns @ columns.T)
    assert (largest, least) == pytest.approx((sizes[-1], sizes[-12]))


def test_it_ends_at_the_closed_form_whatever_the_number_of_steps():
    runs = [
        descent.sft_descent(dataclasses.replace(SETTING, cot=k), 8, 1, updates=4000)
        for k in (1, 4, 8)
    ]
    for run in runs:
        np.testing.assert_array_equal(run.end, runs[0].end)
        np.testing.assert_allclose(run.weights, sft_weights(SETTING, 8, 1), atol=1e-9)
    steps = [run.step for run in runs]
    assert steps == sorted(steps, reverse=True)  # more steps, a larger loss


@pytest.mark.parametrize("count", [8, 50])
def test_an_update_follows_the_gradient_of_the_definition(count):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(count, 20, 30))
    moments, tasks = inputs @ inputs.transpose(0, 2, 1) / 30, rng.normal(size=(20, count))
    columns = np.einsum("bij,jb->ib", moments, tasks)
    start, weight = -np.eye(20), teacher_forcing.loss_weight(4, 0.3)
    run = descent.descend(tasks, columns, start, 0.3, weight, 1, 0.01)
    slope = teacher_forcing.gradients(start, np.eye(20), moments, tasks, 4, 0.3)[0]
    np.testing.assert_allclose(run.weights, start - 0.01 * slope, rtol=1e-10, atol=1e-12)


def test_beyond_the_limit_it_runs_away():
    limit = descent.sft_descent(SETTING, 12, 0, updates=1).step_limit
    run = descent.sft_descent(SETTING, 12, 0, updates=500, step=1.05 * limit)
    assert run.gd_rate > 1
    assert run.distances[-1] > 100 * run.distances[0]
