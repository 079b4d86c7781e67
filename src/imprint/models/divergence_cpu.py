"""The divergences of two rows of logits in compiled loops, for CPUs.

A row is read three times and nothing of its length is written: once for the largest logits, once
for sums of exponentials, once for JS. Sums are float32 over 2,048 tokens and float64 beyond. The
exponential (Cephes' single-precision coefficients) and the logarithm (interpolated at Chebyshev's
points, within 1e-8) are polynomials: a compiler turns only such arithmetic into vector
instructions.

With eᵢ = exp(aᵢ − max a) and lse the log of the sum, KL(P‖Q) = Σ eᵢ·(aᵢ − bᵢ) / Σ eᵢ − (lse a −
lse b). With d = log p − log q, JS = ½·Σ [(p + q)·log(1 + |p − q|/(p + q)) − min(p, q)·|d|]: the
larger of p and q over their mean is 1 to 2, so that one well-behaved logarithm does, and p = q
gives 0.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
CHUNK = 2048
F, D = np.float32, np.float64
COLUMNS = 8  # kl, reverse, js, same top token, two log-probabilities, two ranks


def row_divergences(base: Any, tuned: Any, targets: Any) -> Floats:
    """Compare rows.

    Args:
        base, tuned: float32 logits [N, vocabulary] on the CPU, all finite.
        targets: int64 [N].

    Returns:
        [N, 8]: kl, reverse_kl, js, top1_same, base_logprob, tuned_logprob, base_rank, tuned_rank.
    """
    arrays = base.numpy(), tuned.numpy(), targets.numpy()
    found = np.empty((len(targets), COLUMNS))
    workers = min(os.cpu_count() or 1, len(targets))
    edges = np.linspace(0, len(targets), workers + 1).astype(int)
    with ThreadPoolExecutor(workers) as pool:
        parts = [slice(a, b) for a, b in pairwise(edges)]
        list(pool.map(lambda part: _rows(*(x[part] for x in (*arrays, found))), parts))
    return found


@numba.njit(inline="always", error_model="numpy")
def _exp(x):  # type: ignore[no-untyped-def]
    x = max(x, F(-87.0))
    n = np.floor(x * F(1.4426950408889634) + F(0.5))
    r = x - n * F(0.693359375) + n * F(2.12194440e-4)
    y = F(1.9875691500e-4)
    y = y * r + F(1.3981999507e-3)
    y = y * r + F(8.3334519073e-3)
    y = y * r + F(4.1665795894e-2)
    y = y * r + F(1.6666665459e-1)
    y = y * r + F(5.0000001201e-1)
    y = y * r * r + r + F(1.0)
    return y * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@numba.njit(inline="always", error_model="numpy")
def _log1p(x):  # type: ignore[no-untyped-def]
    """Give log(1 + x) for x from 0 to 1."""
    y = F(0.005126102123)
    y = y * x - F(0.02907406461)
    y = y * x + F(0.07751608662)
    y = y * x - F(0.1360224761)
    y = y * x + F(0.1907688073)
    y = y * x - F(0.2483539899)
    y = y * x + F(0.3331812171)
    y = y * x - F(0.4999944498)
    y = y * x + F(0.9999999659)
    return y * x


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _top(row):  # type: ignore[no-untyped-def]
    """Find the largest value and the first place where it stands."""
    most, chunk = row[0], 0
    for start in range(0, len(row), CHUNK):
        here = row[start]
        for j in range(start, min(len(row), start + CHUNK)):
            here = max(here, row[j])
        if here > most:
            most, chunk = here, start
    for j in range(chunk, len(row)):
        if row[j] == most:
            return most, j
    return most, 0


@numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _rows(base, tuned, targets, found):  # type: ignore[no-untyped-def]
    for i in range(len(targets)):
        a, b = base[i], tuned[i]
        at_a, at_b = a[targets[i]], b[targets[i]]
        most_a, first_a = _top(a)
        most_b, first_b = _top(b)
        sum_a, sum_b, gap_a, gap_b, above_a, above_b = D(0), D(0), D(0), D(0), D(0), D(0)
        for start in range(0, len(a), CHUNK):
            s, t, g, h, u, v = F(0), F(0), F(0), F(0), F(0), F(0)
            for j in range(start, min(len(a), start + CHUNK)):
                x, y = a[j], b[j]
                p, q = _exp(x - most_a), _exp(y - most_b)
                s += p
                t += q
                g += p * (x - y)
                h += q * (x - y)
                u += F(x > at_a)
                v += F(y > at_b)
            sum_a += s
            sum_b += t
            gap_a += g
            gap_b += h
            above_a += u
            above_b += v
        lse_a, lse_b = most_a + math.log(sum_a), most_b + math.log(sum_b)
        share_a, share_b, js = F(1 / sum_a), F(1 / sum_b), D(0)
        offset = F(lse_a - lse_b)
        for start in range(0, len(a), CHUNK):
            part = F(0)
            for j in range(start, min(len(a), start + CHUNK)):
                x, y = a[j], b[j]
                p, q = _exp(x - most_a) * share_a, _exp(y - most_b) * share_b
                both = p + q + F(1e-37)
                part += both * _log1p(abs(p - q) / both) - min(p, q) * abs(x - y - offset)
            js += part
        found[i, 0] = gap_a / sum_a - (lse_a - lse_b)
        found[i, 1] = (lse_a - lse_b) - gap_b / sum_b
        found[i, 2] = js / 2
        found[i, 3] = first_a == first_b
        found[i, 4], found[i, 5] = at_a - lse_a, at_b - lse_b
        found[i, 6], found[i, 7] = above_a + 1, above_b + 1
