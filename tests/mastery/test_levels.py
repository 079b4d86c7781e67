"""Scores, levels, their uncertainty, and when to stop."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import betabinom, binom

from imprint.errors import ConfigError
from imprint.mastery.levels import (
    edges,
    fitted_prior,
    level_of,
    level_probabilities,
    levels_of_rates,
    rate_interval,
    repeat_probabilities,
)
from imprint.mastery.stopping import Stopping, most_saved, order, pieces, read_stop


def test_levels_at_their_borders() -> None:
    hits = [0, 1, 52, 53, 105, 106, 157, 158, 210]
    assert level_of(hits, 210).tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert edges(210) == [(0, 0), (1, 52), (53, 105), (106, 157), (158, 210)]
    assert edges(100) == [(0, 0), (1, 25), (26, 50), (51, 75), (76, 100)]
    assert edges(40) == [(0, 0), (1, 10), (11, 20), (21, 30), (31, 40)]
    assert edges(20) == [(0, 0), (1, 5), (6, 10), (11, 15), (16, 20)]


@pytest.mark.parametrize("samples", [1, 2, 3, 5, 20, 21, 40, 100, 210, 601])
def test_levels_are_the_ceiling_and_edges_agree(samples: int) -> None:
    hits = np.arange(samples + 1)
    levels = level_of(hits, samples)
    from fractions import Fraction

    expected = [-(-4 * Fraction(int(h), samples) // 1) for h in hits]
    assert levels.tolist() == [int(x) for x in expected]
    for level, (low, high) in enumerate(edges(samples)):
        assert hits[levels == level].tolist() == list(range(low, high + 1))


def test_wilson_and_bayes_intervals() -> None:
    low, high = rate_interval([0, 5, 10], 10)
    from scipy.stats import binomtest

    for n, hits in enumerate((0, 5, 10)):
        plain = binomtest(hits, 10).proportion_ci(method="wilson")
        assert low[n] == pytest.approx(plain.low, abs=1e-12)
        assert high[n] == pytest.approx(plain.high, abs=1e-12)
    low, high = rate_interval([0, 5, 10], 10, kind="bayes")
    assert (low[0], high[2]) == (0, 1)
    assert low[1] + high[1] == pytest.approx(1)
    assert levels_of_rates([0, 0.25, 0.2500001, 1]).tolist() == [0, 1, 2, 4]


def test_wilson_intervals_cover() -> None:
    rates = np.linspace(0.02, 0.98, 25)
    hits = np.arange(211)
    low, high = rate_interval(hits, 210)
    for rate in rates:
        covered = binom.pmf(hits, 210, rate)[(low <= rate) & (rate <= high)].sum()
        assert covered > 0.92


def test_probabilities_of_levels_are_beta_binomial() -> None:
    found = level_probabilities(30, 100, 210)
    more = np.arange(111)
    plain = betabinom.pmf(more, 110, 30.5, 70.5)
    expected = np.bincount(level_of(30 + more, 210), weights=plain, minlength=5)
    assert found == pytest.approx(expected, abs=1e-9)
    assert level_probabilities(53, 210, 210) == (0, 0, 1, 0, 0)
    again = repeat_probabilities(0, 210, 210)
    assert sum(again) == pytest.approx(1)
    assert 0.6 < again[0] < 1


def test_the_prior_is_fitted_to_the_facts() -> None:
    random = np.random.default_rng(0)
    rates = random.beta(0.3, 2.0, 3000)
    a, b = fitted_prior(random.binomial(100, rates), np.full(3000, 100))
    assert (a, b) == (pytest.approx(0.3, rel=0.1), pytest.approx(2.0, rel=0.15))
    none = fitted_prior(np.zeros(500), np.full(500, 210))
    assert repeat_probabilities(0, 210, 210, none)[0] > 0.95
    few = fitted_prior([0], [210])
    assert 0.6 < repeat_probabilities(0, 210, 210, few)[0] < 0.95
    # the claim: another run gives the level as often as said
    hits = random.binomial(210, rates)
    level = level_of(hits, 210)
    prior = fitted_prior(hits, np.full(3000, 210))
    said = [
        repeat_probabilities(int(h), 210, 210, prior)[k] for h, k in zip(hits, level, strict=True)
    ]
    again = level_of(random.binomial(210, rates), 210)
    assert np.mean(said) == pytest.approx((again == level).mean(), abs=0.02)


def walk(rule: Stopping, row: np.ndarray) -> tuple[int, int]:
    total = len(row)
    for drawn in rule.looks(total):
        hits = int(row[:drawn].sum())
        if rule.settled(hits, drawn, total):
            break
    return drawn, int(np.argmax(level_probabilities(hits, drawn, total)))


@pytest.mark.parametrize("total", [4, 20, 210])
def test_exact_stopping_changes_no_level(total: int) -> None:
    random = np.random.default_rng(total)
    saved = []
    for _ in range(400):
        row = random.random(total) < random.random()
        drawn, level = walk(Stopping(), row)
        assert level == level_of(row.sum(), total)
        assert level_of(row[:drawn].sum(), drawn) == level
        saved.append(total - drawn)
    assert max(saved) <= most_saved(total)
    assert max(saved) > 0 or total == 4
    assert most_saved(210) == 52


def test_exact_stopping_at_its_best() -> None:
    for hits in (52, 158):
        row = np.r_[np.ones(hits), np.zeros(210 - hits)].astype(bool)
        assert walk(Stopping(), row)[0] <= 210
    assert walk(Stopping(), np.ones(210, dtype=bool)) == (158, 4)
    assert walk(Stopping(), np.zeros(210, dtype=bool)) == (210, 0)
    assert walk(Stopping(None), np.ones(210, dtype=bool)) == (210, 4)


def test_stopping_at_certainty_halves_the_samples_and_keeps_levels() -> None:
    random = np.random.default_rng(0)
    rates = np.clip(random.random((1500, 1)) + random.normal(0, 0.1, (1500, 21)), 0, 1)
    drawn = (random.random((1500, 10, 21)) < rates[:, None]).reshape(1500, 210)
    used, levels = zip(*[walk(Stopping(0.95), row) for row in drawn], strict=True)
    assert np.mean(used) / 210 <= 0.5
    assert np.mean(np.array(levels) == level_of(drawn.sum(1), 210)) >= 0.95


def test_stop_flags_and_order() -> None:
    assert read_stop("exact") == Stopping(1.0)
    assert read_stop("none") == Stopping(None)
    assert read_stop("0.95") == Stopping(0.95)
    for text in ("never", "1", "0.3", "nan"):
        with pytest.raises(ConfigError, match="exact, none"):
            read_stop(text)
    assert order(3, 2) == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]
    ends = [0, 158, 171, 184, 197, 210]
    assert pieces(Stopping().looks(210)) == list(pairwise(ends))
    assert Stopping(0.9).looks(30) == [30]
