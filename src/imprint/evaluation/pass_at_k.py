"""Pass rates and pass@k of rollouts, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Floats = npt.NDArray[np.float64]
LEVEL = 0.95


def wilson(passes: npt.ArrayLike, samples: npt.ArrayLike, level: float = LEVEL) -> Floats:
    """Wilson's score interval of proportions.

    Args:
        passes, samples: c of n, each [N]; n at least 1.
        level: coverage.

    Returns:
        [N, 2] lower and upper ends.

    >>> wilson(4, 8).round(3).tolist()
    [0.215, 0.785]
    """
    c, n = np.asarray(passes, np.float64), np.asarray(samples, np.float64)
    z = float(ndtri((1 + level) / 2))
    centre = (c + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * np.sqrt(c * (n - c) / n + z * z / 4)
    low = np.where(c == 0, 0.0, centre - half)
    return np.stack([low, np.where(c == n, 1.0, centre + half)], axis=-1)


def pass_at_k(passes: int, samples: int, k: int) -> float:
    """Unbiased estimate that at least one of k rollouts passes, 1 − C(n−c, k)/C(n, k).

    Chen et al. 2021 (arXiv 2107.03374), equation 1.

    Args:
        passes: c, rollouts that passed.
        samples: n rollouts in all.
        k: at most n.

    >>> pass_at_k(1, 4, 2)
    0.5
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k = {k} of {samples} samples")
    if samples - passes < k:
        return 1.0
    return 1 - comb(samples - passes, k) / comb(samples, k)


def pass_at_k_interval(passes: int, samples: int, k: int, level: float = LEVEL) -> Floats:
    """Interval of the true pass@k of one prompt, [2].

    With a pass rate p it is 1 − (1 − p)^k, which grows with p: the ends are those of Wilson's
    interval of p.
    """
    return np.asarray(1 - (1 - wilson(passes, samples, level)) ** k)


def powers(samples: int) -> list[int]:
    """Give the k that are reported: powers of 2 up to the number of samples, and that number.

    >>> powers(10)
    [1, 2, 4, 8, 10]
    """
    found = [2**e for e in range(samples.bit_length()) if 2**e <= samples]
    return found if found[-1] == samples else [*found, samples]


def mean_interval(
    values: Sequence[float], *, resamples: int = 4000, seed: int = 0, level: float = LEVEL
) -> tuple[float, float, float]:
    """Mean over prompts with a percentile interval of the bootstrap over prompts.

    Where all prompts have 0, or all 1, every draw is the same; Wilson's interval of the prompts
    stands in then.

    Args:
        values: [prompts], at least one.

    Returns:
        Mean, lower and upper end; the ends are NaN for a single prompt.
    """
    found = np.asarray(values, np.float64)
    if len(found) < 2:
        return float(found.mean()), float("nan"), float("nan")
    if found.min() == found.max() and found[0] in (0.0, 1.0):
        low, high = wilson(found.sum(), len(found), level).tolist()
        return float(found[0]), low, high
    rng = np.random.default_rng(seed)
    block = max(1, (1 << 22) // len(found))
    means = [
        found[rng.integers(0, len(found), (min(block, resamples - at), len(found)))].mean(axis=1)
        for at in range(0, resamples, block)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(found.mean()), float(low), float(high)
