"""What c passes of n rollouts say about a pass rate: intervals, and the beta posterior."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import betainc, betaincinv, betaln, ndtri

Floats = npt.NDArray[np.float64]
LEVEL = 0.95


def wilson(passes: npt.ArrayLike, samples: npt.ArrayLike, level: float = LEVEL) -> Floats:
    """Wilson's score interval of rates.

    Args:
        passes, samples: c of n, each [N]; without rollouts the interval is all of [0, 1].
        level: coverage.

    Returns:
        [2, N] lower and upper ends.

    >>> wilson([0, 4], [8, 8]).round(3).tolist()
    [[0.0, 0.215], [0.324, 0.785]]
    """
    c, n = np.asarray(passes, np.float64), np.asarray(samples, np.float64)
    z = float(ndtri((1 + level) / 2))
    centre = (c + z * z / 2) / (n + z * z)
    spread = np.divide(c * (n - c), n, out=np.zeros_like(n), where=n > 0)
    half = z / (n + z * z) * np.sqrt(spread + z * z / 4)
    return np.stack([np.where(c == 0, 0.0, centre - half), np.where(c == n, 1.0, centre + half)])


def learnability(passes: npt.ArrayLike, samples: npt.ArrayLike) -> Floats:
    """Unbiased estimate of p(1 − p), c(n − c)/(n(n − 1)); NaN below two rollouts.

    >>> learnability([2], [4]).round(3).tolist()
    [0.333]
    """
    c, n = np.asarray(passes, np.float64), np.asarray(samples, np.float64)
    pairs = n * (n - 1)
    return np.divide(c * (n - c), pairs, out=np.full_like(n, np.nan), where=pairs > 0)


def all_equal(alpha: npt.ArrayLike, beta: npt.ArrayLike, group: int) -> tuple[Floats, Floats]:
    """Chance that all rollouts of a group fail, and that all pass, under a beta posterior.

    E[(1 − p)^G] and E[p^G] of p ~ Beta(alpha, beta); such groups carry no gradient in
    group-relative methods.

    >>> fail, success = all_equal(1e9, 1e9, 4)
    >>> float(np.round(fail + success, 6))
    0.125
    """
    a, b = np.asarray(alpha, np.float64), np.asarray(beta, np.float64)
    base = betaln(a, b)
    return np.exp(betaln(a, b + group) - base), np.exp(betaln(a + group, b) - base)


def pass_at_k(passes: int, samples: int) -> list[float]:
    """Unbiased pass@k, 1 − C(n−c, k)/C(n, k), for k = 1, 2, 4, … up to n (arXiv 2107.03374).

    >>> pass_at_k(1, 4)
    [0.25, 0.5, 1.0]
    """
    ks = [2**e for e in range(samples.bit_length()) if 2**e <= samples]
    left = np.arange(samples - passes + 1, samples + 1)  # each pass takes its share of C(n, k)
    return [round(float(1 - np.prod(np.maximum(1 - k / left, 0.0))), 12) for k in ks]


def posterior_columns(
    counts: pl.DataFrame, *, band: tuple[float, float], group: int
) -> pl.DataFrame:
    """Describe each distinct pair of counts under its prior.

    Args:
        counts: ``n``, ``c``, and ``a``, ``b`` of the beta prior.
        band: ends of the range of rates that RL learns from.
        group: rollouts per prompt in RL.

    Returns:
        The frame with ``pass_rate``, ``ci_low``, ``ci_high`` (Wilson), ``shrunk_rate`` (posterior
        mean), ``shrunk_low``, ``shrunk_high`` (equal tails), ``in_band``, ``below_band``
        (probabilities), ``learnability`` (unbiased, null below two rollouts), ``weight``
        (E[p(1 − p)]), ``all_fail``, ``all_pass``, and ``pass_at_k`` for k = 1, 2, 4, ….
    """
    n, c, a, b = (counts[name].to_numpy().astype(np.float64) for name in ("n", "c", "a", "b"))
    alpha, beta = a + c, b + n - c
    total = alpha + beta
    low, high = wilson(c, n)
    tails = [betaincinv(alpha, beta, share) for share in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]
    below = betainc(alpha, beta, band[0])
    fail, success = all_equal(alpha, beta, group)
    columns = {
        "pass_rate": np.divide(c, n, out=np.full_like(n, np.nan), where=n > 0),
        "ci_low": low,
        "ci_high": high,
        "shrunk_rate": alpha / total,
        "shrunk_low": tails[0],
        "shrunk_high": tails[1],
        "in_band": betainc(alpha, beta, band[1]) - below,
        "below_band": below,
        "learnability": learnability(c, n),
        "weight": alpha * beta / (total * (total + 1)),
        "all_fail": fail,
        "all_pass": success,
    }
    at_k = [pass_at_k(*pair) for pair in counts.select("c", "n").iter_rows()]
    found = counts.with_columns(pl.Series(k, v, nan_to_null=True) for k, v in columns.items())
    return found.with_columns(pass_at_k=pl.Series(at_k, dtype=pl.List(pl.Float64)))
