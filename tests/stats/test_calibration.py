import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from imprint import stats
from imprint.stats.calibration import _mass_bins


@pytest.fixture
def items():
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(400, 5))
    logits[::3, 4] = np.nan
    truth = np.where(np.isnan(logits), -np.inf, logits)
    gold = np.array([rng.choice(5, p=softmax(row / 2)) for row in truth])
    p = softmax(truth, axis=1)
    correct = (p.argmax(1) == gold).astype(float)
    return logits, np.where(np.isnan(logits), np.nan, p), gold, p.max(1), correct


def plain_ece(confidence, correct, bins):
    parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    return sum(abs(correct[i].sum() - confidence[i].sum()) for i in parts) / len(confidence)


def width_ece(confidence, correct, bins):
    total = 0.0
    for k in range(bins):
        inside = (confidence > k / bins) & (confidence <= (k + 1) / bins)
        total += abs(correct[inside].sum() - confidence[inside].sum())
    return total / len(confidence)


@pytest.mark.parametrize("bins", [1, 7, 15, 500])
def test_ece_equals_the_plain_loops(items, bins):
    *_, confidence, correct = items
    ours = stats.expected_calibration_error(confidence, correct, bins)
    assert ours == pytest.approx(plain_ece(confidence, correct, bins))
    ours = stats.expected_calibration_error(confidence, correct, bins, equal_mass=False)
    assert ours == pytest.approx(width_ece(confidence, correct, bins))


def test_order_of_tied_items_does_not_matter(items):
    *_, confidence, correct = items
    confidence = np.round(confidence, 1)
    mixed = np.random.default_rng(1).permutation(400)
    for score in (stats.expected_calibration_error, stats.aurc):
        assert score(confidence, correct) == pytest.approx(score(confidence[mixed], correct[mixed]))
    flat = np.full(400, 0.7)
    expected = abs(correct.mean() - 0.7)
    assert stats.expected_calibration_error(flat, correct) == pytest.approx(expected)
    assert stats.aurc(flat, correct) == pytest.approx(1 - correct.mean())


def test_aurc(items):
    *_, confidence, correct = items
    wrong = 1 - correct[np.argsort(-confidence)]
    plain = np.mean(np.cumsum(wrong) / np.arange(1, 401))
    assert stats.aurc(confidence, correct) == pytest.approx(plain)
    assert stats.aurc([0.9, 0.8, 0.1], [1, 0, 1]) == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)
    # the mean over both orders of a tie
    assert stats.aurc([0.5, 0.5], [1, 0]) == pytest.approx((1 / 4 + 3 / 4) / 2)


def test_draws_equal_repeated_items(items):
    *_, confidence, correct = items
    confidence = np.round(confidence, 2)
    W = stats.Draws(np.arange(400), 20, 2).between(0, 20)
    ece, area = (
        stats.weighted_ece(W, confidence, correct),
        stats.weighted_aurc(W, confidence, correct),
    )
    width = stats.weighted_ece(W, confidence, correct, equal_mass=False)
    for r, w in enumerate(W):
        rows = np.repeat(np.arange(400), w.astype(int))
        c, k = confidence[rows], correct[rows]
        assert ece[r] == pytest.approx(stats.expected_calibration_error(c, k))
        assert width[r] == pytest.approx(stats.expected_calibration_error(c, k, equal_mass=False))
        assert area[r] == pytest.approx(stats.aurc(c, k))


def test_brier_and_likelihood(items):
    _, p, gold, *_ = items
    hot = np.where(np.arange(5) == gold[:, None], 1.0, 0.0)
    assert stats.brier(p, gold) == pytest.approx(np.nansum((p - hot) ** 2, axis=1).mean())
    assert stats.nll(p, gold) == pytest.approx(-np.log(p[np.arange(400), gold]).mean())
    assert stats.nll(np.array([[1.0, 0.0]]), np.array([1])) == np.inf
    assert np.isnan(stats.brier(np.empty((0, 2)), np.empty(0, int)))


def test_reliability_curve(items):
    *_, confidence, correct = items
    for equal_mass in (True, False):
        curve = stats.reliability_curve(confidence, correct, 10, equal_mass=equal_mass)
        assert curve.items.sum() == pytest.approx(400)
        gap = np.nansum(curve.items * np.abs(curve.accuracy - curve.confidence)) / 400
        assert gap == pytest.approx(
            stats.expected_calibration_error(confidence, correct, 10, equal_mass=equal_mass)
        )
    assert np.isnan(stats.expected_calibration_error([], []))
    assert np.isnan(stats.aurc([], []))
    assert stats.expected_calibration_error([0.6, np.nan], [1, 0]) == pytest.approx(0.4)


def test_temperature_minimises_the_likelihood(items):
    logits, _, gold, *_ = items
    filled = np.where(np.isnan(logits), -np.inf, logits)

    def loss(t):
        return -log_softmax(filled / t, axis=1)[np.arange(400), gold].mean()

    best = minimize_scalar(loss, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-9})
    fit = stats.temperature(logits, gold)
    assert fit.value == pytest.approx(best.x, rel=1e-5)
    assert fit.nll == pytest.approx(best.fun)
    assert fit.value == pytest.approx(2, abs=0.3)  # items were drawn at twice the temperature
    assert not fit.at_bound


def test_temperature_at_its_bounds():
    logits = np.array([[3.0, 0], [2, 0], [1, 0]])
    cold = stats.temperature(logits, np.zeros(3, int))
    assert (cold.value, cold.at_bound) == (pytest.approx(0.05), True)
    hot = stats.temperature(logits, np.ones(3, int))
    assert (hot.value, hot.at_bound) == (pytest.approx(20), True)
    none = stats.temperature(np.empty((0, 3)), np.empty(0, int))
    assert np.isnan(none.value)


def test_temperature_of_draws(items):
    logits, _, gold, *_ = items
    W = stats.Draws(np.arange(400), 25, 3).between(0, 25)
    ours = stats.resampled_temperature(logits, gold)(W)
    for value, w in zip(ours, W, strict=True):
        rows = np.repeat(np.arange(400), w.astype(int))
        assert value == pytest.approx(stats.temperature(logits[rows], gold[rows]).value, rel=5e-4)


def test_resampled_bins_are_those_of_interpolation():
    rng = np.random.default_rng(3)
    confidence = np.round(rng.random(70), 1)  # many ties
    values = rng.normal(size=70)
    W = rng.multinomial(70, np.full(70, 1 / 70), 20).astype(float)
    W[0] *= 2  # clusters make draws of other sizes
    order = np.argsort(confidence, kind="stable")
    starts = np.flatnonzero(np.diff(confidence[order], prepend=-1) != 0)
    for row, found in zip(W, _mass_bins(W, confidence, values, 15), strict=True):
        mass, below = (
            np.r_[0, np.cumsum(np.add.reduceat(w[order], starts))] for w in (row, row * values)
        )
        size, extra = divmod(round(mass[-1]), 15)
        edges = np.cumsum([0] + [size + 1] * extra + [size] * (15 - extra))
        np.testing.assert_allclose(found, np.diff(np.interp(edges, mass, below)), atol=1e-12)
