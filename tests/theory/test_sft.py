"""SFT in closed form: theorem 4.1, proposition 4.3, and the tables of figures 1 and 2."""

import dataclasses

import numpy as np
import pytest

from imprint.theory import sampler, sft, teacher_forcing
from imprint.theory.covariance import Covariance
from imprint.theory.pretraining import pretrained
from imprint.theory.setting import Setting
from imprint.theory.test_error import floor, test_error

D, N, RATE, STEPS = 20, 60, 0.3, 4
FULL = Covariance(np.linspace(0.5, 1.5, D))
PART = Covariance(np.where(np.arange(D) < 8, 1.0, 0))
START = -np.linspace(0.7, 1.4, D)


def name(value):
    return f"rank-{value.rank}" if isinstance(value, Covariance) else str(value)


def prompts(data, count, seed=0):
    rng = np.random.default_rng(seed)
    tasks = sampler.draw_tasks(D, count, rng)
    moments = sampler.draw_moments(data, N, count, rng)
    return tasks, moments, np.einsum("bij,jb->ib", moments, tasks)


def tuned(data, count):
    tasks, moments, columns = prompts(data, count)
    found = sft.closed_form(tasks, columns, START, RATE)
    by_key = teacher_forcing.gradients(found, np.eye(D), moments, tasks, STEPS, RATE)[1]
    return found, tasks, columns, np.linalg.norm(by_key)


FEW = [(FULL, count) for count in (1, 10, 19, 20)] + [(PART, count) for count in (1, 6, 8)]


@pytest.mark.parametrize(("data", "count"), FEW, ids=name)
def test_few_prompts_are_fitted_by_the_nearest_weights(data, count):
    found, tasks, columns, by_key = tuned(data, count)
    assert np.linalg.norm(found @ columns + RATE * tasks) < 1e-8
    assert by_key < 1e-8
    # nearest: the move has nothing outside the columns' range
    outside = np.eye(D) - columns @ np.linalg.pinv(columns)
    assert np.abs((found - np.diag(START)) @ outside).max() < 1e-10


@pytest.mark.parametrize(
    ("data", "count"), [(FULL, 21), (FULL, 40), (PART, 10), (PART, 15)], ids=name
)
def test_with_more_prompts_the_keys_would_move(data, count):
    found, tasks, columns, by_key = tuned(data, count)
    assert by_key > 1e-2
    # yet with keys held fixed it is the optimum
    assert np.linalg.norm((found @ columns + RATE * tasks) @ columns.T) < 1e-8


@pytest.mark.parametrize("count", [5, 20, 33])
@pytest.mark.parametrize("data", [FULL, PART], ids=["full", "rank 8"])
def test_it_is_the_formula_with_a_plain_pseudo_inverse(data, count):
    tasks, _, columns = prompts(data, count)
    inverse = np.linalg.pinv(columns, rcond=1e-10)
    start = np.diag(START)
    plain = -RATE * tasks @ inverse + start @ (np.eye(D) - columns @ inverse)
    for given in (START, start):
        found = sft.closed_form(tasks, columns, given, RATE)
        np.testing.assert_allclose(found, plain, rtol=1e-7, atol=1e-9)


def test_many_prompts_reach_the_limit():
    data, n, rate = Covariance(np.array([1, 0.5, 0.3, 0, 0])), 20, 0.4
    setting = Setting(d=5, weak=2, target_rate=rate, n_sft=n)
    limit = sft.sft_limit(setting, data)
    np.testing.assert_allclose(limit[:3], [-0.3509, -0.6504, -0.9877], atol=6e-5)
    np.testing.assert_array_equal(limit[3:], pretrained(setting)[3:])
    found = sft.sft_weights(setting, 200_000, 0, data)
    np.testing.assert_allclose(found.diagonal(), limit, rtol=0.01)
    assert np.abs(found - np.diag(found.diagonal())).max() < 0.01


def test_ridge_towards_the_start_tends_to_it():
    tasks, _, columns = prompts(FULL, 8)
    weight = 1e-7
    gram = columns @ columns.T + weight * np.eye(D)
    ridge = (-RATE * tasks @ columns.T + weight * np.diag(START)) @ np.linalg.inv(gram)
    found = sft.closed_form(tasks, columns, START, RATE)
    np.testing.assert_allclose(ridge, found, atol=1e-4)


@pytest.mark.parametrize("count", [10, 80])
def test_without_interference_the_target_rate_has_no_effect(count):
    settings = [Setting(d=40, weak=20, interference=0, target_rate=eta) for eta in (0.2, 0.5, 1)]
    first, *others = (sft.sft_weights(setting, count, 3) for setting in settings)
    for other in others:
        assert np.abs(other - first).max() < 1e-10 * np.abs(first).max()


@pytest.mark.parametrize(("n", "least"), [(400, 0.5009), (800, 0.3342), (1200, 0.2508)])
def test_data_of_the_right_scale_do_not_interfere(n, least):
    setting = Setting(interference=0.2).with_context(n)
    found = test_error(sft.sft_limit(setting), setting.test, n)
    assert found == pytest.approx(floor(setting), rel=1e-12)
    assert found == pytest.approx(least, abs=6e-5)


LIMITS = {
    (0.01, 400): 1.791,
    (0.01, 800): 4.406,
    (0.01, 1200): 8.050,
    (0.1, 400): 0.5865,
    (0.1, 800): 0.4947,
    (0.1, 1200): 0.4666,
    (0, 400): 0.5496,
    (0, 800): 0.3580,
    (0, 1200): 0.2645,
}


@pytest.mark.parametrize(("r", "n"), LIMITS)
def test_exact_limits(r, n):
    setting = Setting(interference=r).with_context(n)
    found = test_error(sft.sft_limit(setting), setting.test, n)
    assert f"{found:.4g}" == f"{LIMITS[r, n]:.4g}"


def medians(setting, counts, seeds):
    return [
        float(
            np.median(
                [
                    test_error(sft.sft_weights(setting, b, s), setting.test, setting.n_test)
                    for s in range(seeds)
                ]
            )
        )
        for b in counts
    ]


@pytest.mark.parametrize(
    ("r", "peak", "sides"),
    [(0, 60, (9.0, 10.4)), (0.01, 120, (676, 653)), (0.1, 120, (21, 23))],
)
def test_the_error_peaks_where_prompts_just_suffice(r, peak, sides):
    setting = Setting(d=120, weak=60, interference=r).with_context(240)
    counts = sorted({20, 40, 55, 60, 65, 90, 115, 120, 125, 180, 300} | {peak})
    found = dict(zip(counts, medians(setting, counts, 9), strict=True))
    assert max(found, key=found.__getitem__) == peak
    assert found[peak] > 5 * max(found[peak - 5], found[peak + 5])
    assert [found[peak - 5], found[peak + 5]] == pytest.approx(sides, rel=0.3)


# figures 1 and 2: r, n, B and the mean of two seeds there
FIGURES = """
0 400 50 1.87
0 800 800 .593
.01 400 150 3.03
.01 800 50 3.40
.01 800 2000 10.5
.01 1200 100 4.10
.1 400 300 3.92
.1 1200 1200 .783
.1 20 500 9.23
.01 20 50 1.58
"""


@pytest.mark.parametrize("row", FIGURES.split("\n")[1:-1])
def test_entries_of_the_figures(row):
    r, n, count, error = map(float, row.split())
    setting = Setting(interference=r).with_context(int(n))
    assert medians(setting, [int(count)], 2)[0] == pytest.approx(error, rel=0.08)


def test_only_the_context_length_of_sft_reaches_the_prompts():
    setting = Setting(d=20, weak=8)
    other = dataclasses.replace(setting, n_pre=50, n_test=7, cot=9)
    np.testing.assert_array_equal(sft.draw_prompts(setting, 5, 0), sft.draw_prompts(other, 5, 0))


@pytest.mark.parametrize("count", [6, 30])
@pytest.mark.parametrize("data", [FULL, PART], ids=["full", "rank 8"])
def test_more_of_the_same_sft_changes_nothing(data, count):
    found, tasks, columns, _ = tuned(data, count)
    again = sft.closed_form(tasks, columns, found, RATE)
    np.testing.assert_allclose(again, found, atol=1e-9 * np.abs(found).max())


def test_no_prompts_leave_the_pretrained_model():
    setting = Setting(d=6, weak=2)
    np.testing.assert_array_equal(sft.sft_weights(setting, 0, 0), np.diag(pretrained(setting)))


@pytest.mark.parametrize(
    "setting",
    [
        Setting(d=1, weak=1, n_sft=1),
        Setting(d=4, weak=4),
        Setting(d=6, weak=2, interference=1e-9),
        Setting(d=6, weak=2, weak_eig=0, interference=0),
    ],
    ids=["one feature", "all weak", "hardly any interference", "uncovered"],
)
def test_corners(setting):
    for count in (1, 2, 4, 6, 30):
        found = sft.sft_weights(setting, count, 0)
        tasks, columns = sft.draw_prompts(setting, count, 0)
        residual = found @ columns + setting.target_rate * tasks
        slope = residual @ columns.T / np.abs(columns).max(axis=1).clip(1e-300)
        assert np.abs(slope).max() < 1e-6 * (1 + np.abs(found).max() * np.abs(columns).max())
