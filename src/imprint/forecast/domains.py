"""From a predictor's values for texts to scores of domains: intervals, null, excess, ranks.

One bootstrap serves all predictors: texts are drawn within their domain, draws of demonstrations
among the draws, and all predictors see the same. Intervals are percentiles at 95 %. With few draws
of demonstrations, the share of the interval that comes from them is a little too small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from imprint.forecast.predicted import Floats, Predicted
from imprint.stats import percentile_interval, rank_interval, top_k_probability

BLOCK = 500  # bootstrap draws at a time: bounds memory, changes nothing else


@dataclass(frozen=True, eq=False)
class Scored:
    """A predictor's scores of domains; D domains, R bootstrap draws.

    Attributes:
        predicted: what it said of the texts.
        score: [D]; NaN where it can judge no text of a domain.
        samples: [R, D].
        null, null_samples: the same under its null; ``None`` where it has none.
    """

    predicted: Predicted
    score: Floats
    samples: Floats
    null: Floats | None
    null_samples: Floats | None

    @property
    def excess(self) -> Floats | None:
        """Score less null, [D]."""
        return None if self.null is None else self.score - self.null

    @property
    def excess_samples(self) -> Floats | None:
        """The same of each bootstrap draw, [R, D]."""
        return None if self.null_samples is None else self.samples - self.null_samples

    @property
    def amount(self) -> Floats:
        """What domains are ranked by, [D]: the score, of a signed predictor without its sign."""
        return np.abs(self.score) if self.predicted.signed else self.score

    @property
    def amount_samples(self) -> Floats:
        """The same of each bootstrap draw, [R, D]."""
        return np.abs(self.samples) if self.predicted.signed else self.samples

    def ranks(self) -> Floats:
        """Rank of each domain, 1 the largest amount, [D]; NaN without a score."""
        known = np.isfinite(self.amount)
        above = self.amount[None, :] > self.amount[:, None]
        return np.where(known, 1.0 + above.sum(axis=1), np.nan)

    def rank_interval(self) -> tuple[Floats, Floats]:
        """Lower and upper rank of each domain, [D]."""
        low, high = np.full(len(self.score), np.nan), np.full(len(self.score), np.nan)
        known = np.isfinite(self.score)
        usable = np.isfinite(self.samples[:, known]).all(axis=1)
        if known.any() and usable.any():
            low[known], high[known] = rank_interval(self.amount_samples[usable][:, known])
        return low, high

    def top(self, k: int) -> Floats:
        """Probability of each domain to be among the k that change most, [D]."""
        usable = np.isfinite(self.samples).any(axis=1)
        if not usable.any():
            return np.full(len(self.score), np.nan)
        share = top_k_probability(self.amount_samples[usable], k)
        return np.where(np.isfinite(self.score), share, np.nan)


def score_domains(
    predicted: Sequence[Predicted], domains: Sequence[str], *, resamples: int, seed: int
) -> list[Scored]:
    """Give every predictor its scores of domains.

    Args:
        predicted: what predictors said of the same texts.
        domains: of each text; domains are in the order of their first text.
        resamples: bootstrap draws.
        seed: of them.
    """
    names = list(dict.fromkeys(domains))
    own = np.array([names.index(name) for name in domains], dtype=np.int64)
    sides = [p.values for p in predicted] + [p.null for p in predicted if p.null is not None]
    scores = [np.empty(len(names)) for _ in sides]
    samples = [np.empty((resamples, len(names))) for _ in sides]
    for d in range(len(names)):
        columns = [side[:, own == d] for side in sides]
        for n, found in enumerate(_resampled(columns, resamples, (seed, d))):
            samples[n][:, d] = found
            scores[n][d] = _mean(columns[n])
    nulls = iter(zip(scores[len(predicted) :], samples[len(predicted) :], strict=True))
    found_all = []
    for p, score, draws in zip(predicted, scores, samples, strict=False):
        null, null_draws = next(nulls) if p.null is not None else (None, None)
        found_all.append(Scored(p, score, draws, null, null_draws))
    return found_all


def table(scored: Sequence[Scored], domains: Sequence[str], k: int) -> pl.DataFrame:
    """Table ``predictors``: one row per predictor and domain."""
    frames = [_rows(one, domains, k) for one in scored]
    return pl.concat(frames).fill_nan(None)


def _rows(one: Scored, domains: Sequence[str], k: int) -> pl.DataFrame:
    low, high = percentile_interval(one.samples)
    rank_low, rank_high = one.rank_interval()
    blank = np.full(len(domains), np.nan)
    null, excess = (blank, blank) if one.null is None else (one.null, one.excess)
    excess_low, excess_high = blank, blank
    if one.excess_samples is not None:
        excess_low, excess_high = percentile_interval(one.excess_samples)
    told = one.predicted
    return pl.DataFrame(
        {
            "predictor": [told.name] * len(domains),
            "family": [told.family] * len(domains),
            "signed": [told.signed] * len(domains),
            "domain": list(domains),
            "score": one.score,
            "low": low,
            "high": high,
            "null": null,
            "excess": excess,
            "excess_low": excess_low,
            "excess_high": excess_high,
            "rank": one.ranks(),
            "rank_low": rank_low,
            "rank_high": rank_high,
            "top": one.top(k),
            "direction": pl.Series(directions(one), dtype=pl.String),
        }
    )


def directions(one: Scored) -> list[str | None]:
    """Say of each domain whether a signed predictor foresees a rise or a fall.

    Where it has a null, the score and what exceeds the null must both say so. ``undetermined``
    where an interval holds 0, ``None`` for a predictor of amounts and without a score.
    """
    if not one.predicted.signed:
        return [None] * len(one.score)
    sides = [side for side in (one.samples, one.excess_samples) if side is not None]
    ends = [percentile_interval(side) for side in sides]
    up = np.all([low > 0 for low, _ in ends], axis=0)
    down = np.all([high < 0 for _, high in ends], axis=0)
    words = np.where(up, "rise", np.where(down, "fall", "undetermined"))
    return [str(w) if ok else None for w, ok in zip(words, np.isfinite(one.score), strict=True)]


def _mean(values: Floats) -> float:
    """Mean over draws of the mean over texts, both over what is known; values [draws, texts]."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    if not count.any():
        return np.nan
    sums = np.where(known, values, 0.0).sum(axis=1)
    return float(np.mean(sums[count > 0] / count[count > 0]))


def _resampled(sides: Sequence[Floats], resamples: int, key: tuple[int, int]) -> list[Floats]:
    """Bootstrap means [R] of each side [draws, texts] of one domain, texts and draws drawn."""
    texts = sides[0].shape[1]
    stacked = np.concatenate(sides)
    known = np.isfinite(stacked)
    filled, mask = np.where(known, stacked, 0.0), known.astype(np.float64)
    found = [np.empty(resamples) for _ in sides]
    chances = _chances(texts, key)
    for start in range(0, resamples, BLOCK):
        stop = min(start + BLOCK, resamples)
        W = chances.multinomial(texts, np.full(texts, 1 / texts), stop - start).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (filled @ W.T) / (mask @ W.T)
        at = 0
        for n, side in enumerate(sides):
            part = means[at : at + len(side)]
            found[n][start:stop] = _over_draws(part, start, key)
            at += len(side)
    return found


def _over_draws(means: Floats, start: int, key: tuple[int, int]) -> Floats:
    """Mean over drawn draws of [draws, b]; sides with as many draws take the same ones."""
    draws, b = means.shape
    if draws == 1:
        return np.asarray(means[0])
    # of a seed without the domain: a draw of demonstrations serves all domains at once
    chances = np.random.default_rng([key[0], 1, draws, start])
    W = chances.multinomial(draws, np.full(draws, 1 / draws), b).T.astype(np.float64)
    known = np.isfinite(means)
    W = np.where(known, W, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((W * np.where(known, means, 0.0)).sum(axis=0) / W.sum(axis=0))


def _chances(texts: int, key: tuple[int, int]) -> np.random.Generator:
    return np.random.default_rng([*key, 0, texts])
