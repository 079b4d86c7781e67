"""Scores of domains: known means, intervals against a plain loop, ranks and directions."""

from __future__ import annotations

import numpy as np
import pytest

from imprint.forecast.domains import directions, score_domains, table
from imprint.forecast.predicted import Predicted


def predicted(values: object, null: object = None, *, signed: bool = False) -> Predicted:
    null = None if null is None else np.atleast_2d(np.asarray(null, dtype=float))
    return Predicted("p", "P", np.atleast_2d(np.asarray(values, dtype=float)), signed, null)


def test_a_score_is_the_mean_over_draws_of_means_over_texts() -> None:
    values = [[1, 3, 10, np.nan], [2, np.nan, 20, 40]]
    (one,) = score_domains([predicted(values)], ["a", "a", "b", "b"], resamples=200, seed=0)
    assert one.score.tolist() == [2, 20]
    assert np.isnan(one.samples).sum() < 120  # a resample without a known text says nothing


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 50)) + rng.normal(size=(4, 1))
    (one,) = score_domains([predicted(values)], ["a"] * 50, resamples=4000, seed=1)
    plain = [
        values[np.ix_(rng.integers(0, 4, 4), rng.integers(0, 50, 50))].mean() for _ in range(4000)
    ]
    for q in (2.5, 50, 97.5):
        spread = np.std(plain)
        assert np.percentile(one.samples[:, 0], q) == pytest.approx(
            np.percentile(plain, q), abs=0.15 * spread
        )


def test_score_and_null_see_the_same_texts() -> None:
    rng = np.random.default_rng(0)
    null = rng.normal(size=(3, 40))
    (one,) = score_domains([predicted(null + 1, null)], ["a"] * 40, resamples=300, seed=0)
    assert one.excess == pytest.approx([1])
    assert one.excess_samples == pytest.approx(np.ones((300, 1)))


def test_ranks_places_and_what_cannot_be_judged() -> None:
    values = [[5, 5.1, 1, 1.1, np.nan, np.nan]]
    (one,) = score_domains([predicted(values)], list("aabbcc"), resamples=300, seed=0)
    frame = table([one], list("abc"), 1)
    assert frame["rank"].to_list() == [1, 2, None]
    assert frame["rank_low"].to_list() == [1, 2, None]
    assert frame["top"].to_list() == [1, 0, None]
    assert frame["score"].to_list() == [5.05, 1.05, None]


def test_directions() -> None:
    values = [[1, 1.2, 0.9, -1, -1.1, -0.8, 1, -1, 0.1]]
    names = ["up"] * 3 + ["down"] * 3 + ["unsure"] * 3
    (one,) = score_domains([predicted(values, signed=True)], names, resamples=300, seed=0)
    assert directions(one) == ["rise", "fall", "undetermined"]
    assert one.ranks().tolist() == [1, 2, 3]  # by size
    (amount,) = score_domains([predicted(values)], names, resamples=300, seed=0)
    assert directions(amount) == [None] * 3


def test_a_direction_is_that_of_the_score_and_of_what_exceeds_its_null() -> None:
    values, null = [[1, 1.2, 0.9, -1, -1.1, -0.8]], [[0.1] * 3 + [-3] * 3]
    names = ["up"] * 3 + ["falls less than under the null"] * 3
    (one,) = score_domains([predicted(values, null, signed=True)], names, resamples=300, seed=0)
    assert directions(one) == ["rise", "undetermined"]


def test_draws_are_the_same_for_all_predictors_and_seeds_tell_them_apart() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 20))
    domains = ["a"] * 12 + ["b"] * 8
    one, other = score_domains(
        [predicted(values), predicted(2 * values)], domains, resamples=100, seed=3
    )
    assert np.allclose(2 * one.samples, other.samples)
    (again,) = score_domains([predicted(values)], domains, resamples=100, seed=3)
    assert np.array_equal(again.samples, one.samples)
    (moved,) = score_domains([predicted(values)], domains, resamples=100, seed=4)
    assert not np.array_equal(moved.samples, one.samples)
