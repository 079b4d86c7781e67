"""Which latents shift: statistics of every latent, from sums that stream by or from plain arrays.

Aligned: d_ij is the change of latent j on query i between two contexts, the same tokens in both.
Unaligned: two samples of tokens of their own. For such rows a, b the expectation of (a − b)² is
Var a + Var b + (mean a − mean b)², so a sum of squared row differences ranks latents by variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Statistic = Literal["t", "mean_square"]


@dataclass(frozen=True, slots=True, eq=False)
class Paired:
    """Of every latent, over n queries, each [L].

    Attributes:
        n: number of queries.
        mean: signed mean change, m_j.
        mean_square: mean d², δ_j.
        t: m_j √n / sd_j; 0 where nothing changes.
    """

    n: int
    mean: Floats
    mean_square: Floats
    t: Floats

    def strength(self, statistic: Statistic) -> Floats:
        """Give what latents are ranked by, [L]."""
        return np.abs(self.t) if statistic == "t" else self.mean_square


def paired(n: int, first: Floats, second: Floats) -> Paired:
    """Make statistics of sums.

    Args:
        n: number of queries, at least one.
        first: Σ_i d_ij, [L].
        second: Σ_i d_ij², [L].
    """
    mean, square = first / n, second / n
    variance = np.maximum(square - mean**2, 0.0) * n / max(1, n - 1)
    # a latent that moves alike on all queries would have an infinite t: rounding bounds it
    floor = 1e-12 * square
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(square > 0, mean * np.sqrt(n) / np.sqrt(np.maximum(variance, floor)), 0.0)
    return Paired(n, mean, square, t)


def paired_rows(d: Floats) -> Paired:
    """Make statistics of changes [n, L]."""
    return paired(len(d), d.sum(0), (d**2).sum(0))


@dataclass(frozen=True, slots=True, eq=False)
class Unaligned:
    """Two samples of tokens, each statistic [L].

    Attributes:
        row_squares: Σ over rows of squared differences, the published estimator.
        mean_square: squared difference of the means.
        welch: difference of the means over its standard error; 0 where both are constant.
        mean: difference of the means.
    """

    row_squares: Floats
    mean_square: Floats
    welch: Floats
    mean: Floats


def unaligned(
    counts: tuple[int, int], first: Floats, second: Floats, row_squares: Floats
) -> Unaligned:
    """Make statistics of two samples' sums.

    Args:
        counts: rows of each sample, at least two.
        first, second: sums and sums of squares of each, [2, L].
        row_squares: Σ over rows of (b − a)², [L].
    """
    n = np.array(counts, dtype=np.float64)[:, None]
    means = first / n
    variances = np.maximum(second / n - means**2, 0.0) * n / np.maximum(n - 1, 1)
    gap, error = means[1] - means[0], (variances / n).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        welch = np.where(error > 0, gap / np.sqrt(error), 0.0)
    return Unaligned(row_squares, gap**2, welch, gap)


def unaligned_rows(a: Floats, b: Floats) -> Unaligned:
    """Make statistics of two samples [n, L] of as many rows."""
    first = np.stack([a.sum(0), b.sum(0)])
    second = np.stack([(a**2).sum(0), (b**2).sum(0)])
    return unaligned((len(a), len(b)), first, second, ((b - a) ** 2).sum(0))


def top(strength: Floats, n: int) -> Integers:
    """Give the n strongest latents, the strongest first; ties go to the lower number.

    Latents without any change are never among them, so there may be fewer.
    """
    order = np.argsort(-strength, kind="stable")[:n]
    return order[strength[order] > 0]


def overlap(one: Integers, other: Integers) -> int:
    """Count the latents in both."""
    return len(np.intersect1d(one, other))


def matched(
    chosen: Integers, quantity: Floats, chances: np.random.Generator, near: int = 20
) -> Integers:
    """Draw latents that are like chosen ones in a quantity, each at most once.

    Each chosen latent gets one of the ``near`` closest by rank of the quantity that are neither
    chosen nor taken; the strongest choose first.

    Args:
        chosen: latents.
        quantity: of every latent, such as firing rate or variance, [L].
        chances: draws.
        near: candidates for each.
    """
    order = np.argsort(quantity, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    free = np.ones(len(order), dtype=bool)
    free[chosen] = False
    found: list[int] = []
    for latent in chosen[: int(free.sum())]:
        candidates = np.flatnonzero(free)
        gap = np.abs(place[candidates] - place[latent])
        k = min(near, len(candidates))
        taken = candidates[chances.choice(np.argpartition(gap, k - 1)[:k])]
        free[taken] = False
        found.append(int(taken))
    return np.array(found, dtype=np.int64)
