"""How many RL groups will carry no signal: all rollouts of the group pass, or all fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from imprint.planning.prior import Prior
from imprint.planning.rates import LEVEL, all_equal

KINDS = ("zero_variance", "all_fail", "all_pass")


def group_shares(
    frame: pl.DataFrame, priors: list[Prior], *, group: int, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Expect the shares of groups without signal in one pass over a set.

    The interval is that of the posterior prediction: of the fitted prior's parameters (normal in
    their logarithms, by the curvature of the likelihood), and of the groups themselves.

    Args:
        frame: the set, ``domain``, ``n``, ``c``.
        priors: the pool's, then those of domains.
        group: rollouts per prompt, G.
        resamples: draws.
        seed: of the draws.

    Returns:
        For ``zero_variance``, ``all_fail`` and ``all_pass``: ``share``, ``low``, ``high``.
    """
    counts = (
        frame.drop_nulls(["n", "c"]).group_by("domain", "n", "c").len().sort("domain", "n", "c")
    )
    rng = np.random.default_rng([seed, 3])
    own = {prior.domain: prior for prior in priors[1:]}
    parts = counts.with_columns(
        fitted=pl.col("domain").is_in(list(own)) if own else pl.lit(value=False)
    )
    total = int(counts["len"].sum())
    best = dict.fromkeys(KINDS, 0.0)
    drawn = {kind: np.zeros(resamples) for kind in KINDS}
    pooled = parts.filter(~pl.col("fitted")).group_by("n", "c").agg(pl.col("len").sum())
    cells = [(priors[0], pooled.sort("n", "c"))]
    cells += [(own[d], parts.filter(pl.col("domain") == d)) for d in own]
    for prior, part in cells:
        if len(part):
            _add(prior, part, group, rng, best, drawn)
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    found: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        low, high = np.quantile(drawn[kind] / max(total, 1), ends).tolist()
        found[kind] = {"share": best[kind] / max(total, 1), "low": low, "high": high}
    return found


def _add(
    prior: Prior,
    part: pl.DataFrame,
    group: int,
    rng: np.random.Generator,
    best: dict[str, float],
    drawn: dict[str, Any],
) -> None:
    """Add the groups of one prior: expected numbers, and simulated ones."""
    n, c, w = (part[name].to_numpy().astype(np.float64) for name in ("n", "c", "len"))
    fail, success = all_equal(prior.a + c, prior.b + n - c, group)
    for kind, share in zip(KINDS, (fail + success, fail, success), strict=True):
        best[kind] += float((w * share).sum())
    a, b = np.hsplit(prior.draws(len(drawn[KINDS[0]]), rng), 2)
    fail, success = all_equal(a + c, b + n - c, group)
    size = np.broadcast_to(w.astype(np.int64), fail.shape)
    failed = rng.binomial(size, np.clip(fail, 0, 1))
    left = np.clip(success / np.maximum(1 - fail, 1e-12), 0, 1)
    passed = rng.binomial(size - failed, left)
    for kind, count in zip(KINDS, (failed + passed, failed, passed), strict=True):
        drawn[kind] += count.sum(axis=1)
