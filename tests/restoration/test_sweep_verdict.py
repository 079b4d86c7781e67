from __future__ import annotations

import numpy as np
import pytest

from imprint.restoration.sweep.verdict import Comparison, beats, intervals, overall, retains

RNG = np.random.default_rng(0)
ZERO = np.zeros(200)
NOISE = RNG.normal(size=200)


def compare(mean: float, spread: float = 0.1) -> Comparison:
    noise = NOISE - NOISE.mean()
    return beats(mean + spread * noise, ZERO, "tuned", 2000, 0)


def keep(mean: float, spread: float = 0.1, margin: float | None = None) -> Comparison:
    noise = NOISE - NOISE.mean()
    gained = np.full(200, -2.0)  # tuned gained 2 over base: 5 % of it are .1
    return retains(mean + spread * noise, ZERO, gained, margin, 2000, 0)


@pytest.mark.parametrize(
    ("mean", "state"), [(0.1, "holds"), (-0.1, "does_not_hold"), (0.001, "undetermined")]
)
def test_the_whole_interval_decides(mean: float, state: str) -> None:
    found = compare(mean)
    assert found.state == state
    assert found.mean == pytest.approx(mean)
    half = 1.96 * 0.1 * np.std(NOISE) / np.sqrt(200)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)


def test_equal_scores_are_no_gain() -> None:
    assert beats(ZERO, ZERO, "tuned", 500, 0).state == "does_not_hold"


def test_what_is_undetermined_says_what_would_decide_it() -> None:
    found = compare(0.005)
    half = (found.high - found.low) / 2
    assert found.items_needed == pytest.approx(200 * (half / 0.005) ** 2, rel=0.01)
    assert f"about {found.items_needed:,} items would decide it" in found.verdict.detail
    near = compare(1e-6)
    assert near.items_needed is None
    assert "hardly decide" in near.verdict.detail
    assert compare(1.0).items_needed is None


@pytest.mark.parametrize(
    ("mean", "spread", "state"),
    [
        (-0.5, 0.1, "does_not_hold"),
        (-0.05, 0.1, "does_not_hold"),  # small, but certainly lost
        (-0.001, 0.1, "holds"),  # within the margin of .1
        (0.3, 0.1, "holds"),
        (-0.05, 2.0, "undetermined"),
        (-0.2, 2.0, "undetermined"),
    ],
)
def test_retain_is_kept_lost_or_undetermined(mean: float, spread: float, state: str) -> None:
    found = keep(mean, spread)
    assert found.margin == pytest.approx(0.1)
    assert found.state == state
    assert (found.items_needed is None) == (state != "undetermined")


def test_the_margin_can_be_given_and_is_0_where_nothing_was_gained() -> None:
    assert keep(-0.05, 2.0, margin=5.0).state == "holds"
    worse = retains(ZERO, ZERO, ZERO + 1, None, 500, 0)
    assert (worse.margin, worse.state) == (0.0, "holds")


def test_repair_helps_only_where_everything_holds() -> None:
    good, bad, open_ = compare(0.1), compare(-0.1), compare(0.001)
    assert overall([good, good]) == "holds"
    assert overall([good, open_]) == "undetermined"
    assert overall([good, open_, bad]) == "does_not_hold"
    assert overall([]) == "does_not_hold"


def test_intervals_equal_a_plain_bootstrap() -> None:
    scores = RNG.normal(size=(50, 3))
    mean, low, high = intervals(scores, 4000, 1)
    rows = np.random.default_rng(5).integers(0, 50, size=(4000, 50))
    plain = np.percentile(scores[rows].mean(axis=1), [2.5, 97.5], axis=0)
    np.testing.assert_allclose(mean, scores.mean(axis=0))
    np.testing.assert_allclose([low, high], plain, atol=0.03)
    again = intervals(scores[:, :1], 4000, 1)
    assert (again[1][0], again[2][0]) == pytest.approx((low[0], high[0]), abs=1e-12)
