"""Statistics of shifted latents, on a world where the truth is known.

8,192 latents and 4,000 tokens: firing probability log-uniform from 1e-4 to 0.3, log-normal scale of
width 1, magnitudes gamma(2, .5). A hundred latents that fire on more than 2 in 1,000 tokens shift:
twice the probability and twice the scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import scipy.sparse
import scipy.stats

from imprint.forecast.statistics import (
    matched,
    overlap,
    paired,
    paired_rows,
    top,
    unaligned,
    unaligned_rows,
)

LATENTS, ROWS, TRUE, SEEDS = 8192, 4000, 100, 10
QUERIES = 100  # of 40 tokens each, in the aligned world
# what a context does that says nothing: a factor of mean 1 and this width on every firing, and
# this share of firings in a latent that fires about as often
NOISE, MOVED = 0.3, 0.05


@dataclass(frozen=True)
class World:
    chances: np.random.Generator
    p: np.ndarray
    scale: np.ndarray
    true: np.ndarray  # [2, 100]: shifted by demonstrations, by SFT; disjoint

    @classmethod
    def of(cls, seed: int) -> World:
        chances = np.random.default_rng(seed)
        p = np.exp(chances.uniform(np.log(1e-4), np.log(0.3), LATENTS))
        scale = chances.lognormal(0, 1, LATENTS)
        often = chances.permutation(np.flatnonzero(p > 2e-3))[: 2 * TRUE]
        return cls(chances, p, scale, often.reshape(2, TRUE))

    def factor(self, latents: np.ndarray | None) -> np.ndarray:
        found = np.ones(LATENTS)
        if latents is not None:
            found[latents] = 2.0
        return found

    def firings(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns where latents fire, each with its probability.

        At least one of Poisson(−log(1 − p)) hits falls on a place with probability p exactly.
        """
        hits = self.chances.poisson(-np.log1p(-np.minimum(p, 0.999)) * ROWS)
        columns = np.repeat(np.arange(LATENTS), hits)
        fires = np.zeros(ROWS * LATENTS, dtype=bool)
        fires[self.chances.integers(0, ROWS, len(columns)) * LATENTS + columns] = True
        return np.divmod(np.flatnonzero(fires), LATENTS)

    def sample(self, latents: np.ndarray | None = None) -> scipy.sparse.csr_array:
        """Tokens of their own, [ROWS, LATENTS]."""
        factor = self.factor(latents)
        at = self.firings(self.p * factor)
        values = (self.scale * factor)[at[1]] * self.gamma(len(at[0]))
        return scipy.sparse.csr_array((values, at), shape=(ROWS, LATENTS))

    def pair(self, latents: np.ndarray | None) -> np.ndarray:
        """Changes [QUERIES, LATENTS] of means over the same tokens by a context."""
        factor = self.factor(latents)
        rows, columns = self.firings(self.p * factor)
        size = self.scale[columns] * self.gamma(len(rows))
        bare = self.chances.random(len(rows)) < 1 / factor[columns]
        moved = self.chances.random(len(rows)) < MOVED
        after = np.where(moved, self.neighbour(columns), columns)
        noise = self.chances.lognormal(-(NOISE**2) / 2, NOISE, len(rows))
        there = size / self.scale[columns] * self.scale[after] * factor[columns] * noise
        at = rows * QUERIES // ROWS * LATENTS
        flat = np.bincount(at + after, there, QUERIES * LATENTS)
        flat -= np.bincount(at[bare] + columns[bare], size[bare], QUERIES * LATENTS)
        return flat.reshape(QUERIES, LATENTS) * QUERIES / ROWS

    def neighbour(self, columns: np.ndarray) -> np.ndarray:
        """A latent next in firing probability for each."""
        order = np.argsort(self.p)
        place = np.argsort(order)[columns] + self.chances.choice([-1, 1], len(columns))
        return order[np.clip(place, 0, LATENTS - 1)]

    def gamma(self, n: int) -> np.ndarray:
        return self.chances.gamma(2, 0.5, n)


def statistics_of(a, b):
    sums = np.stack([a.sum(0), b.sum(0)])
    squares = np.stack([a.power(2).sum(0), b.power(2).sum(0)])
    rows = squares.sum(0) - 2 * a.multiply(b).sum(0)
    return unaligned((ROWS, ROWS), sums, squares, rows)


@pytest.fixture(scope="module")
def worlds() -> list[dict[str, list[int]]]:
    """Per seed and statistic: true latents found, overlap of ICL with SFT, with the null."""
    return [compared(seed) for seed in range(SEEDS)]


def compared(seed: int) -> dict[str, list[int]]:
    world = World.of(seed)
    icl, sft = world.true
    base, other = world.sample(), world.sample()
    contrasts = [(base, world.sample(icl)), (other, world.sample(sft)), (base, other)]
    found = [statistics_of(a, b) for a, b in contrasts]
    rows = {
        name: [top(np.abs(getattr(one, name)), TRUE) for one in found]
        for name in ("row_squares", "mean_square", "welch")
    }
    pairs = [paired_rows(world.pair(which)) for which in (icl, sft, None)]
    for name in ("t", "mean_square"):
        rows[f"aligned_{name}"] = [top(one.strength(name), TRUE) for one in pairs]
    return {
        name: [overlap(i, icl), overlap(i, s), overlap(i, null)]
        for name, (i, s, null) in rows.items()
    }


def column(worlds, name: str, at: int) -> np.ndarray:
    return np.array([one[name][at] for one in worlds])


def test_the_published_estimator_finds_base_variance(worlds) -> None:
    """With disjoint truth, demonstrations and SFT overlap as much as base and base do."""
    both, null = column(worlds, "row_squares", 1), column(worlds, "row_squares", 2)
    assert column(worlds, "row_squares", 0).mean() < 20
    assert abs(both.mean() - 87) < 4
    assert abs(null.mean() - 88) < 6
    assert np.abs(both - null).mean() < 6


def test_welch_finds_the_truth_in_unaligned_rows(worlds) -> None:
    assert (column(worlds, "welch", 0) >= 85).all()
    assert (column(worlds, "welch", 1) <= 10).all()
    assert (column(worlds, "welch", 2) <= 10).all()


def test_the_default_finds_the_truth_in_aligned_spans(worlds) -> None:
    assert (column(worlds, "aligned_t", 0) >= 85).all()
    assert (column(worlds, "aligned_t", 1) <= 10).all()
    assert (column(worlds, "aligned_t", 2) <= 10).all()


def test_mean_squares_do_not_reach_that_which_is_why_t_is_the_default(worlds) -> None:
    assert column(worlds, "aligned_mean_square", 0).mean() < 60
    assert column(worlds, "aligned_mean_square", 2).mean() > 30


def test_paired_t_is_that_of_scipy() -> None:
    d = np.random.default_rng(0).normal(size=(30, 7)) + 0.3
    found = paired_rows(d)
    np.testing.assert_allclose(found.t, scipy.stats.ttest_1samp(d, 0).statistic)
    np.testing.assert_allclose(found.mean, d.mean(0))
    np.testing.assert_allclose(found.mean_square, (d**2).mean(0))


def test_welch_t_is_that_of_scipy() -> None:
    chances = np.random.default_rng(1)
    a, b = chances.normal(size=(40, 5)), 2 * chances.normal(size=(40, 5)) + 0.5
    found = unaligned_rows(a, b)
    expected = scipy.stats.ttest_ind(b, a, equal_var=False).statistic
    np.testing.assert_allclose(found.welch, expected)
    np.testing.assert_allclose(found.row_squares, ((a - b) ** 2).sum(0))


def test_a_latent_that_never_changes_has_no_strength() -> None:
    d = np.zeros((5, 3))
    d[:, 1] = 2.0
    found = paired_rows(d)
    assert found.t[0] == 0
    assert np.isfinite(found.t).all()
    assert list(top(found.strength("t"), 3)) == [1]
    assert paired(1, d[0], d[0] ** 2).t[1] > 0


def test_ties_go_to_the_lower_number() -> None:
    assert list(top(np.array([1.0, 3.0, 1.0, 3.0]), 3)) == [1, 3, 0]


def test_matched_latents_are_others_that_fire_as_often() -> None:
    chances = np.random.default_rng(0)
    rates = np.sort(chances.random(1000))
    chosen = np.arange(500, 600, 5)
    found = matched(chosen, rates, chances)
    assert len(np.unique(found)) == len(chosen)
    assert overlap(found, chosen) == 0
    assert np.abs(rates[found] - rates[chosen]).max() < 0.1
    assert len(matched(np.arange(6), rates[:8], chances)) == 2
