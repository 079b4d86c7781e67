"""From hits to score, level and their uncertainty (arXiv 2509.16596, section 3).

R = hits / samples; level 0 is R = 0, level i is R in ((i − 1)/4, i/4]. Levels are found by integer
comparison, exactly, for any number of samples.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Interval = Literal["wilson", "bayes"]
LEVELS = 5
Prior = tuple[float, float]
JEFFREYS: Prior = (0.5, 0.5)  # of a rate: half a hit and half a miss
LOOSE = 2.0  # standard deviation of the logarithms by which a fitted prior leaves Jeffreys'


def level_of(hits: npt.ArrayLike, samples: npt.ArrayLike) -> Ints:
    """Give ⌈4·hits / samples⌉, the level 0 … 4, elementwise.

    >>> level_of([0, 1, 52, 53, 105, 106, 157, 158, 210], 210).tolist()
    [0, 1, 1, 2, 2, 3, 3, 4, 4]
    """
    h, n = np.asarray(hits, dtype=np.int64), np.asarray(samples, dtype=np.int64)
    return np.asarray((4 * h + n - 1) // n, dtype=np.int64)


def edges(samples: int) -> list[tuple[int, int]]:
    """Give the fewest and the most hits of each level, both inclusive; low > high where empty.

    >>> edges(210)
    [(0, 0), (1, 52), (53, 105), (106, 157), (158, 210)]
    """
    found = [(0, 0)]
    for level in range(1, LEVELS):
        high = level * samples // 4
        found.append((max(low for _, low in found) + 1, high))
    return found


def rate_interval(
    hits: npt.ArrayLike,
    samples: npt.ArrayLike,
    *,
    kind: Interval = "wilson",
    confidence: float = 0.95,
) -> tuple[Floats, Floats]:
    """Give an interval of the rate behind the hits, elementwise.

    Samples are taken as independent. Every template gets equally many, which only lowers the
    variance: where templates differ, the interval is wider than it need be.

    Args:
        hits, samples: of any shapes that broadcast.
        kind: ``wilson``, the score interval, or ``bayes``, equal tails under Jeffreys' prior with
            ends 0 and 1 where there are no hits or only hits.
        confidence: in (0, 1).
    """
    from scipy.stats import beta, norm

    h, n = np.broadcast_arrays(np.asarray(hits, float), np.asarray(samples, float))
    tail = (1 - confidence) / 2
    if kind == "bayes":
        low = beta.ppf(tail, h + JEFFREYS[0], n - h + JEFFREYS[1])
        high = beta.ppf(1 - tail, h + JEFFREYS[0], n - h + JEFFREYS[1])
    else:
        z = norm.ppf(1 - tail)
        middle = (h + z * z / 2) / (n + z * z)
        half = z / (n + z * z) * np.sqrt(h * (n - h) / n + z * z / 4)
        low, high = middle - half, middle + half
    low, high = np.where(h == 0, 0.0, low), np.where(h == n, 1.0, high)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def levels_of_rates(rates: npt.ArrayLike) -> Ints:
    """Give the level of a rate: 0 for 0, else ⌈4·rate⌉."""
    return np.asarray(np.ceil(4 * np.asarray(rates, dtype=np.float64)), dtype=np.int64)


def predicted_hits(hits: int, drawn: int, more: int, prior: Prior = JEFFREYS) -> Floats:
    """Give the probability of 0, 1, …, ``more`` further hits in ``more`` further samples.

    Beta-binomial, computed from log-gamma.
    """
    from scipy.special import betaln, gammaln

    k = np.arange(more + 1)
    a, b = hits + prior[0], drawn - hits + prior[1]
    choose = gammaln(more + 1) - gammaln(k + 1) - gammaln(more - k + 1)
    found = np.exp(choose + betaln(k + a, more - k + b) - betaln(a, b))
    return np.asarray(found / found.sum(), dtype=np.float64)


def fitted_prior(hits: npt.ArrayLike, samples: npt.ArrayLike) -> Prior:
    """Fit the beta distribution of the rates of many facts, kept near Jeffreys' by a penalty.

    Where most facts are never hit, a fact without hits is likelier to have none again than it
    would be on its own.

    Args:
        hits, samples: of the facts, [N].
    """
    from scipy.optimize import minimize
    from scipy.special import betaln

    h, n = np.asarray(hits, dtype=np.float64), np.asarray(samples, dtype=np.float64)
    start = np.log(JEFFREYS)

    def loss(logs: Floats) -> float:
        a, b = np.exp(logs)
        likely = (betaln(h + a, n - h + b) - betaln(a, b)).sum()
        return float(-likely + (((logs - start) / LOOSE) ** 2).sum() / 2)

    a, b = np.exp(minimize(loss, start, bounds=[(-9.0, 9.0)] * 2).x)
    return float(a), float(b)


@cache
def level_probabilities(hits: int, drawn: int, total: int) -> tuple[float, ...]:
    """Give the probability of each level if all ``total`` samples of the fact are drawn.

    With ``drawn`` = ``total`` nothing is open and one level has probability 1.
    """
    further = predicted_hits(hits, drawn, total - drawn)
    reached = level_of(hits + np.arange(total - drawn + 1), total)
    return tuple(np.bincount(reached, weights=further, minlength=LEVELS).tolist())


@cache
def repeat_probabilities(
    hits: int, drawn: int, total: int, prior: Prior = JEFFREYS
) -> tuple[float, ...]:
    """Give the probability of each level in another run of ``total`` samples of the same fact."""
    found = predicted_hits(hits, drawn, total, prior)
    reached = level_of(np.arange(total + 1), total)
    return tuple(np.bincount(reached, weights=found, minlength=LEVELS).tolist())
