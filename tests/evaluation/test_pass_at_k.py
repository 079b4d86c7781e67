"""Pass rates and pass@k against counting, scipy and coverage."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from scipy.stats import binomtest

from imprint.evaluation.pass_at_k import (
    mean_interval,
    pass_at_k,
    pass_at_k_interval,
    powers,
    wilson,
)


@pytest.mark.parametrize("samples", [1, 4, 7])
def test_pass_at_k_counts_the_subsets_that_hold_a_pass(samples: int) -> None:
    for passes in range(samples + 1):
        right = [True] * passes + [False] * (samples - passes)
        for k in range(1, samples + 1):
            subsets = list(combinations(right, k))
            assert pass_at_k(passes, samples, k) == pytest.approx(
                sum(map(any, subsets)) / len(subsets)
            )


def test_pass_at_k_is_unbiased() -> None:
    rng = np.random.default_rng(0)
    passes = rng.binomial(8, 0.2, 20_000)
    mean = np.mean([pass_at_k(int(c), 8, 4) for c in passes])
    assert mean == pytest.approx(1 - 0.8**4, abs=0.01)


def test_k_beyond_the_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="k = 5 of 4"):
        pass_at_k(1, 4, 5)


@pytest.mark.parametrize(("passes", "samples"), [(0, 8), (3, 8), (8, 8), (1, 1), (50, 210)])
def test_wilson_is_that_of_scipy(passes: int, samples: int) -> None:
    theirs = binomtest(passes, samples).proportion_ci(method="wilson")
    assert wilson(passes, samples) == pytest.approx([theirs.low, theirs.high], abs=1e-12)


def test_the_interval_of_pass_at_k_contains_it_and_grows_with_k() -> None:
    ends = [pass_at_k_interval(3, 8, k) for k in (1, 2, 4)]
    assert ends[0] == pytest.approx(wilson(3, 8))
    assert all(low[0] < high[0] and low[1] < high[1] for low, high in pairwise(ends))


def test_reported_k() -> None:
    assert powers(1) == [1]
    assert powers(8) == [1, 2, 4, 8]


def test_a_mean_has_an_interval_where_there_are_two() -> None:
    mean, low, high = mean_interval([0.0, 1.0] * 50)
    assert mean == 0.5
    assert low == pytest.approx(0.4, abs=0.03)
    assert high == pytest.approx(0.6, abs=0.03)
    assert mean_interval([0.0, 1.0] * 50) == (mean, low, high)
    assert np.isnan(mean_interval([1.0])[1])
