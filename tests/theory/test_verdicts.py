"""Verdicts on curves, and the intervals they rest on."""

from __future__ import annotations

import numpy as np
import pytest

from imprint.theory.verdicts import (
    Level,
    below,
    falls_then_rises,
    flat,
    grows,
    median_interval,
    peak,
)


def level(x: float, low: float, high: float, seeds: int = 6) -> Level:
    return Level(x, (low + high) / 2, low, high, seeds)


@pytest.mark.parametrize(
    ("count", "ranks", "coverage"),
    [(6, (1, 6), 0.96875), (9, (2, 8), 0.9609375), (20, (6, 15), 0.958610), (5, (1, 5), 0.9375)],
)
def test_ranks_of_the_interval_are_those_of_the_tables(
    count: int, ranks: tuple[int, int], coverage: float
) -> None:
    low, high, covered = median_interval(np.arange(1.0, count + 1))
    assert (low, high) == ranks
    assert covered == pytest.approx(coverage, abs=1e-6)


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).exponential(size=(4000, 9))
    found = np.array([median_interval(row) for row in draws])
    inside = np.mean((found[:, 0] <= np.log(2)) & (np.log(2) <= found[:, 1]))
    assert inside == pytest.approx(found[0, 2], abs=0.01)


def test_one_value_has_an_interval_that_covers_nothing() -> None:
    assert median_interval(np.array([3.0])) == (3.0, 3.0, 0.0)


def test_overlap_decides_nothing() -> None:
    assert below("a", level(0, 1, 2), level(0, 3, 4)).state == "holds"
    assert below("a", level(0, 3, 4), level(0, 1, 2)).state == "does_not_hold"
    assert below("a", level(0, 1, 3), level(0, 2, 4)).state == "undetermined"


def test_few_seeds_decide_nothing() -> None:
    verdict = below("a", level(0, 1, 2, seeds=3), Level.exact(5))
    assert verdict.state == "undetermined"
    assert "3 of at least 6 seeds" in verdict.detail
    assert below("a", Level.exact(1), Level.exact(2)).state == "holds"


def test_peaks() -> None:
    curve = [level(1, 1, 2), level(2, 5, 9), level(3, 2, 3)]
    assert peak("a", curve, 2).state == "holds"
    assert peak("a", curve, 3).state == "does_not_hold"
    assert peak("a", curve, 4).state == "undetermined"
    assert peak("a", [level(1, 1, 6), *curve[1:]], 2).state == "undetermined"


def test_a_fall_and_a_rise() -> None:
    low, high = level(2, 1, 2), [level(1, 3, 4), level(3, 3, 4)]
    assert falls_then_rises("a", [high[0], low, high[1]]).state == "holds"
    assert falls_then_rises("a", [level(1, 0, 0.5), low, high[1]]).state == "does_not_hold"
    assert falls_then_rises("a", [level(1, 1.5, 4), low, high[1]]).state == "undetermined"
    assert falls_then_rises("a", high).state == "undetermined"


def test_flat_curves() -> None:
    assert flat("a", [level(1, 1, 1.02), level(2, 1, 1.05)]).state == "holds"
    assert flat("a", [level(1, 1, 1.02), level(2, 1.5, 1.6)]).state == "does_not_hold"
    assert flat("a", [level(1, 1, 1.2), level(2, 1, 1.2)]).state == "undetermined"


def test_values_are_named_where_the_claim_does_not() -> None:
    one, other = Level.exact(3, 8), Level.exact(1, 64)
    assert below("a", other, one, ("OS", "SFT")).detail == "OS: 1; SFT: 3."
    verdict = grows("a", [other, one], "B =")
    assert (verdict.state, verdict.detail) == ("holds", "B = 64: 1; B = 8: 3.")
    assert grows("a", [one, other]).state == "does_not_hold"
