"""Contrasts: the interval covers as often as it says, and one training decides nothing."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from imprint.lab.chapters.contrast import NOTHING, combined, contrast


def frame(values: np.ndarray, domains: int = 1) -> pl.DataFrame:
    names = [f"i{at}" for at in range(len(values))]
    places = [f"d{at % domains}" for at in range(len(values))]
    return pl.DataFrame({"item": names, "domain": places, "probability": values})


def test_one_training_is_the_plain_paired_interval_and_decides_nothing() -> None:
    from imprint.stats import paired_difference

    random = np.random.default_rng(0)
    a, b = random.random(30) + 1, random.random(30)
    found, plain = contrast([(frame(a), frame(b))]), paired_difference(a, b)
    assert found.estimate == pytest.approx(plain.mean)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))
    assert found.low > 0
    assert found.state == "undetermined"


def test_three_trainings_that_agree_decide() -> None:
    random = np.random.default_rng(0)
    base = random.random(40)
    pairs = [(frame(base + 0.1 + 0.01 * seed), frame(base)) for seed in range(3)]
    assert contrast(pairs).state == "holds"
    assert contrast([(b, a) for a, b in pairs]).state == "does_not_hold"
    assert contrast([(b, b) for _, b in pairs]).state == "undetermined"


@pytest.mark.parametrize("domains", [1, 10])
def test_the_interval_covers_no_difference(domains: int) -> None:
    random = np.random.default_rng(1)
    missed = 0
    for _ in range(300):
        effects = random.normal(size=domains) if domains > 1 else np.zeros(1)
        shift = 0.1 * random.normal(size=40) + effects[np.arange(40) % domains]
        pairs = [
            (frame(shift + random.normal(scale=0.3) + random.normal(size=40), domains),
             frame(np.zeros(40), domains))
            for _ in range(3)
        ]  # fmt: skip
        found = contrast(pairs)
        missed += not found.low <= 0 <= found.high
    assert missed / 300 < 0.08


def test_trainings_may_have_items_of_their_own() -> None:
    one, other = frame(np.full(5, 0.5)), frame(np.full(4, 0.2)).with_columns(pl.col("item") + "x")
    zero = [part.with_columns(probability=pl.lit(0.0)) for part in (one, other)]
    found = contrast([(one, zero[0]), (other, zero[1])])
    assert found.estimate == pytest.approx(0.35)
    assert found.items == 9


def test_nothing_to_compare_is_said() -> None:
    assert contrast([]) == NOTHING
    assert NOTHING.words == "not measured"
    assert math.isnan(combined(NOTHING, NOTHING).estimate)
