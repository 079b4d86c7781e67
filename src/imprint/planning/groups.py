"""What is expected of a set as a whole: groups without signal, prompts truly in the band.

A group of RL carries no signal where all its rollouts pass, or all fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import betainc

from imprint.planning.prior import Prior
from imprint.planning.rates import LEVEL, all_equal

Floats = npt.NDArray[np.float64]
Shares = dict[str, dict[str, float]]
Chances = Callable[[Floats, Floats], dict[str, Floats]]


def group_shares(
    frame: pl.DataFrame, priors: list[Prior], *, group: int, resamples: int, seed: int
) -> Shares:
    """Expect the shares of groups without signal in one pass over a set.

    Args:
        frame: the set, ``domain``, ``n``, ``c``.
        priors: the pool's, then those of domains.
        group: rollouts per prompt, G.
        resamples: draws.
        seed: of the draws.

    Returns:
        For ``zero_variance``, ``all_fail`` and ``all_pass``: ``share``, ``low``, ``high``.
    """

    def chances(alpha: Floats, beta: Floats) -> dict[str, Floats]:
        fail, success = all_equal(alpha, beta, group)
        return {"zero_variance": fail + success, "all_fail": fail, "all_pass": success}

    return _expected(frame, priors, chances, resamples, seed)


def band_share(
    frame: pl.DataFrame,
    priors: list[Prior],
    *,
    band: tuple[float, float],
    resamples: int,
    seed: int,
) -> dict[str, float]:
    """Expect the share of a set's prompts whose rate lies in a band.

    Args as ``group_shares``, and the ends of the band.

    Returns:
        ``share``, ``low``, ``high``.
    """

    def chances(alpha: Floats, beta: Floats) -> dict[str, Floats]:
        inside = betainc(alpha, beta, band[1]) - betainc(alpha, beta, band[0])
        return {"inside": np.asarray(inside)}

    return _expected(frame, priors, chances, resamples, seed)["inside"]


def _expected(
    frame: pl.DataFrame, priors: list[Prior], chances: Chances, resamples: int, seed: int
) -> Shares:
    """Average chances over prompts, with the interval of the posterior prediction.

    It covers the fitted prior's parameters (normal in their logarithms, by the curvature of the
    likelihood) and the outcomes themselves.
    """
    best: dict[str, float] = {}
    drawn: dict[str, Floats] = {}
    total = 0
    for place, (prior, part) in enumerate(_cells(frame, priors)):
        rng = np.random.default_rng([seed, 3, place])
        n, c, w = (part[name].to_numpy().astype(np.float64) for name in ("n", "c", "len"))
        total += int(w.sum())
        for name, chance in chances(prior.a + c, prior.b + n - c).items():
            best[name] = best.get(name, 0.0) + float((w * chance).sum())
        a, b = np.hsplit(prior.draws(resamples, rng), 2)
        for name, chance in chances(a + c, b + n - c).items():
            happened = rng.binomial(w.astype(np.int64), np.clip(chance, 0, 1)).sum(axis=1)
            drawn[name] = drawn.get(name, np.zeros(resamples)) + happened
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    found: Shares = {}
    for name, value in best.items():
        low, high = np.quantile(drawn[name] / total, ends).tolist()
        share = min(value / total, 1.0)
        # counts of a small set are coarse: their quantiles may pass by a rare outcome's share
        found[name] = {"share": share, "low": min(low, share), "high": max(high, share)}
    return found


def _cells(frame: pl.DataFrame, priors: list[Prior]) -> Iterator[tuple[Prior, pl.DataFrame]]:
    """Give each prior its distinct counts and how many prompts have them."""
    own = pl.Series([prior.domain for prior in priors[1:]], dtype=pl.String)
    known = frame.filter(pl.col("n") > 0).select(
        "n", "c", domain=pl.when(pl.col("domain").is_in(own.implode())).then("domain")
    )
    counts = known.group_by("domain", "n", "c").len().sort("domain", "n", "c")
    for prior in priors:
        part = counts.filter(pl.col("domain").eq_missing(pl.lit(prior.domain)))
        if len(part):
            yield prior, part
