from __future__ import annotations

from math import comb

import numpy as np
import polars as pl
import pytest
from scipy import integrate
from scipy.stats import beta

from imprint.planning.prior import fit, fit_all
from imprint.planning.rates import all_equal, learnability, pass_at_k, posterior_columns, wilson


@pytest.mark.parametrize(
    ("c", "n", "low", "high"),
    [(0, 8, 0.000, 0.324), (1, 8, 0.022, 0.471), (2, 8, 0.071, 0.591), (4, 8, 0.215, 0.785),
     (8, 8, 0.676, 1.0), (0, 16, 0.0, 0.194), (4, 16, 0.102, 0.495), (8, 32, 0.133, 0.421),
     (32, 64, 0.381, 0.619), (53, 210, 0.198, 0.315)],
)  # fmt: skip
def test_wilson_gives_the_published_table(c: int, n: int, low: float, high: float) -> None:
    assert wilson([c], [n])[:, 0].round(3).tolist() == [low, high]


@pytest.mark.parametrize(
    ("group", "p", "chance"),
    [(4, 0.1, 0.656), (8, 0.25, 0.100), (8, 0.5, 0.008), (16, 0.05, 0.440), (32, 0.01, 0.725)],
)
def test_certain_rates_give_the_table_of_equal_groups(group: int, p: float, chance: float) -> None:
    fail, success = all_equal(1e7 * p, 1e7 * (1 - p), group)
    assert round(float(fail + success), 3) == chance


def test_equal_groups_are_the_posterior_integral() -> None:
    fail, success = all_equal(1.3, 4.2, 8)
    for found, power in ((fail, lambda p: (1 - p) ** 8), (success, lambda p: p**8)):
        plain, _ = integrate.quad(lambda p, f=power: f(p) * beta.pdf(p, 1.3, 4.2), 0, 1)
        assert float(found) == pytest.approx(plain, rel=1e-6)


def test_learnability_is_unbiased() -> None:
    rng = np.random.default_rng(0)
    c = rng.binomial(8, 0.3, 200_000)
    assert learnability(c, np.full(len(c), 8)).mean() == pytest.approx(0.21, abs=1e-3)
    assert np.isnan(learnability([1], [1])[0])


def test_pass_at_k_counts_subsets() -> None:
    assert pass_at_k(2, 8)[1] == pytest.approx(1 - 15 / 28)
    assert pass_at_k(0, 8) == [0, 0, 0, 0]
    for passes in range(34):
        subsets = [1 - comb(33 - passes, k) / comb(33, k) for k in (1, 2, 4, 8, 16, 32)]
        assert pass_at_k(passes, 33) == pytest.approx(subsets, abs=1e-12)


def test_posterior_shrinks_by_the_number_of_rollouts() -> None:
    counts = pl.DataFrame({"n": [0, 8, 64], "c": [0, 8, 64], "a": [1.0] * 3, "b": [3.0] * 3})
    found = posterior_columns(counts, band=(0.2, 0.8), group=8)
    assert found["shrunk_rate"].to_list() == [0.25, 9 / 12, 65 / 68]
    assert found["ci_low"][0] == 0
    assert found["ci_high"][0] == 1
    assert found["pass_rate"][0] is None
    inside = beta.cdf(0.8, 9, 3) - beta.cdf(0.2, 9, 3)
    assert found["in_band"][1] == pytest.approx(inside)
    assert found["weight"][1] == pytest.approx(beta.mean(9, 3) - beta.moment(2, 9, 3))


def test_fit_finds_the_distribution_that_made_the_counts() -> None:
    rng = np.random.default_rng(1)
    c = rng.binomial(16, rng.beta(0.6, 2.4, 20_000))
    values, weights = np.unique(c, return_counts=True)
    prior = fit(pl.DataFrame({"n": [16] * len(values), "c": values, "prompts": weights}))
    assert prior.fitted
    assert prior.a == pytest.approx(0.6, rel=0.05)
    assert prior.b == pytest.approx(2.4, rel=0.05)
    spread = np.log(prior.draws(4000, rng)).std(axis=0)
    assert (spread < 0.05).all()


@pytest.mark.parametrize("all_pass", [False, True])
def test_the_more_prompts_agree_the_more_it_says(all_pass: bool) -> None:
    means = []
    for prompts in (5, 500, 50_000):
        counts = pl.DataFrame(
            {"domain": ["a"], "n": [8], "c": [8 * all_pass], "prompts": [prompts]}
        )
        priors, findings = fit_all(counts)
        assert not any(prior.fitted for prior in priors)
        assert "assumed, not fitted" in findings[0].detail
        means.append(abs(all_pass - priors[0].mean))
    assert means[0] > means[1] > means[2]
    assert means[1] < 0.01


def test_one_rollout_each_tells_the_mean_alone() -> None:
    counts = pl.DataFrame({"domain": ["a"] * 2, "n": [1, 1], "c": [0, 1], "prompts": [30, 10]})
    (prior,), findings = fit_all(counts)
    assert prior.mean == 0.25
    assert not prior.fitted
    assert "nothing tells how rates are spread" in findings[0].detail


def test_only_large_domains_have_a_fit_of_their_own() -> None:
    counts = pl.DataFrame(
        {"domain": ["a"] * 9 + ["b"] * 9, "n": [8] * 18, "c": list(range(9)) * 2,
         "prompts": [40] * 9 + [2] * 9}
    )  # fmt: skip
    priors, _ = fit_all(counts)
    assert [prior.domain for prior in priors] == [None, "a"]
