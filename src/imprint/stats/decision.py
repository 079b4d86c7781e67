"""Choosing between units by a score before: how often and how far that goes wrong after.

Higher is better on both sides throughout; turn losses round first.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from .arrays import Floats, Ints, complete, floats
from .correlation import status


def agreement(x: Floats, y: Floats) -> Floats:
    """Say for every pair of units whether x and y order it alike.

    Args:
        x, y: [M], or [M, B].

    Returns:
        [M, M], or [M, M, B]: 1 alike, 0 opposite, ½ where either ties; NaN where a value is
        missing and on the diagonal, where there is no pair.
    """
    x, y, _ = complete(x, y)
    same = 0.5 + 0.5 * np.sign(x[:, None] - x[None]) * np.sign(y[:, None] - y[None])
    same[np.diag_indices(len(x))] = np.nan
    return np.asarray(same)


def decision_accuracy(X: Floats, Y: Floats) -> Floats:
    """Share of pairs of units whose better one before is the better one after, ties counting ½.

    Equals (1 + Kendall's τ-a)/2 over complete pairs.

    Args:
        X, Y: [M, B].

    Returns:
        [B]; NaN where `correlation.status` is not ``ok``.
    """
    X, Y, _ = complete(X, Y)
    held = np.array([np.nansum(agreement(x, y)) for x, y in zip(X.T, Y.T, strict=True)]) / 2
    pairs = n_pairs(X, Y)
    return np.where(status(X, Y) == "ok", held / np.maximum(pairs, 1), np.nan)


def decision_interval(
    X: Floats, Y: Floats, groups: Ints, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Interval of `decision_accuracy` from its variance as a mean over pairs.

    Each unit has a mean agreement with all others; twice the spread of these means over clusters
    gives the standard error (Hoeffding's first-order term), where a bootstrap would cost draws ×
    M² for every column.

    Args:
        X, Y: [M, B].
        groups: [M] cluster of each unit.
        level: coverage.

    Returns:
        Low and high [B], cut to [0, 1]; NaN below four clusters.
    """
    value = decision_accuracy(X, Y)
    names, member = np.unique(groups, return_inverse=True)
    half = np.full(len(value), np.nan)
    for b, (x, y) in enumerate(zip(X.T, Y.T, strict=True)):
        alike = agreement(x, y)
        known = np.isfinite(alike).any(axis=1)
        if len(np.unique(member[known])) < 4 or not np.isfinite(value[b]):
            continue
        lean = np.nanmean(alike[known], axis=1) - value[b]
        sums = np.bincount(member[known], weights=lean, minlength=len(names))
        clusters = len(np.unique(member[known]))
        scale = clusters / (clusters - 1)
        se = 2 * np.sqrt(scale * float((sums**2).sum())) / known.sum()
        half[b] = ndtri((1 + level) / 2) * se
    return np.clip(value - half, 0, 1), np.clip(value + half, 0, 1)


def n_pairs(X: Floats, Y: Floats) -> Ints:
    """Count pairs of units in which nothing is missing, [B]."""
    n = complete(X, Y)[2].sum(axis=0)
    return np.asarray(n * (n - 1) // 2, dtype=np.int64)


def n_ties(X: Floats, Y: Floats) -> Ints:
    """Count pairs of units that tie before or after, [B]."""
    X, Y, _ = complete(X, Y)
    ties = [np.count_nonzero(agreement(x, y) == 0.5) // 2 for x, y in zip(X.T, Y.T, strict=True)]
    return np.asarray(ties, dtype=np.int64)


def noise_weighted(x: Floats, y: Floats, x_se: Floats, y_se: Floats) -> float:
    """Decision accuracy in which pairs that noise alone could reverse count little.

    A pair weighs |2p − 1| of either side, multiplied; p is the normal chance that the unit which
    scored higher is truly higher, given both standard errors.

    Args:
        x, y: [M] scores before and after.
        x_se, y_se: [M] their standard errors, in the same unit.

    Returns:
        Weighted share of pairs; NaN where no pair has any weight.
    """
    weight = _certainty(x, x_se) * _certainty(y, y_se)
    held = agreement(x, y)
    counted = np.isfinite(weight) & np.isfinite(held)
    total = float(np.sum(weight, where=counted))
    return float(np.sum(weight * held, where=counted)) / total if total > 0 else np.nan


def _certainty(x: Floats, se: Floats) -> Floats:
    x, se, _ = complete(x, se)
    gap = np.abs(x[:, None] - x)
    noise = np.hypot(se[:, None], se)
    sure = np.where(noise > 0, gap / np.where(noise > 0, noise, 1), np.where(gap > 0, np.inf, 0))
    return np.where(np.isnan(gap), np.nan, 2 * ndtr(sure) - 1)


def top1(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """What picking the best unit before is worth after.

    Args:
        x, y: [M], or [M, B].

    Returns:
        hit: share of the units best before that are best after, 1 or 0 without ties.
        regret: best after less what the units best before reach on average, in the unit of y.
        Both NaN without a complete pair.
    """
    x, y, paired = complete(x, y)
    return _top1(paired.astype(np.float64), x, y)


def weighted_top1(W: Floats, X: Floats, Y: Floats) -> tuple[Floats, Floats]:
    """`top1` among the drawn units.

    Args:
        W: [b, M] how often each draw takes each unit.
        X, Y: [M, B].

    Returns:
        hit and regret, [b, B].
    """
    X, Y, paired = complete(X, Y)
    columns = [
        _top1(np.where(present, W, 0).T, x[:, None], y[:, None])
        for x, y, present in zip(X.T, Y.T, paired.T, strict=True)
    ]
    hit, regret = (np.stack(values, axis=1) for values in zip(*columns, strict=True))
    return hit, regret


def _top1(w: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Hit and regret along the first axis, units weighted by w, absent where w is 0."""
    x, y, present = np.broadcast_to(x, w.shape), np.broadcast_to(y, w.shape), w > 0
    best_x = np.max(x, axis=0, where=present, initial=-np.inf)
    best_y = np.max(y, axis=0, where=present, initial=-np.inf)
    chosen = np.where(present & (x == best_x), w, 0.0)
    total = chosen.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = np.sum(chosen * (y == best_y), axis=0) / total
        reached = np.sum(chosen * np.where(present, y, 0), axis=0) / total
        return np.asarray(hit), np.asarray(np.where(total > 0, best_y - reached, np.nan))


def normal_draws(scores: Floats, se: Floats, count: int, seed: int) -> Floats:
    """Draw what the scores might have been, each with its own independent normal noise.

    Units scored on the same items share noise; draw items jointly instead where they are at hand.

    Args:
        scores, se: [M].

    Returns:
        [count, M].
    """
    noise = np.random.default_rng(seed).standard_normal((count, len(scores)))
    return floats(scores) + noise * floats(se)


def top_k_probability(samples: Floats, k: int = 1) -> Floats:
    """Share of draws in which each unit is among the best k.

    Args:
        samples: [R, M] draws of the scores; NaN never wins.
        k: places; units that tie for the last ones share them.

    Returns:
        [M], summing to k where at least k units have scores.
    """
    from scipy.stats import rankdata  # half a second, and few commands need it

    present = np.isfinite(samples)
    worst_first = np.where(present, -floats(samples), np.inf)
    better = rankdata(worst_first, method="min", axis=1) - 1
    tied = rankdata(worst_first, method="max", axis=1) - better
    share = np.where(present, np.clip((k - better) / tied, 0, 1), 0)
    return np.asarray(share.mean(axis=0))


def rank_interval(samples: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Interval of each unit's rank, 1 the best, over draws of the scores.

    Args:
        samples: [R, M], finite.
        level: coverage.

    Returns:
        Lower and upper rank, [M].
    """
    from scipy.stats import rankdata

    ranks = rankdata(-floats(samples), method="min", axis=1)
    tails = [(1 - level) / 2, (1 + level) / 2]
    low = np.quantile(ranks, tails[0], axis=0, method="inverted_cdf")
    high = np.quantile(ranks, tails[1], axis=0, method="inverted_cdf")
    return np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
