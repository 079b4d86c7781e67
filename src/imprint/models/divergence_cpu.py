"""The divergences of two rows of logits in compiled loops, for CPUs.

A row is read three times, in chunks of 2,048 tokens: once for the largest logits, once for sums of
exponentials, which are kept for the third, JS. bfloat16 is widened as it is read. Sums are float32
within a chunk and float64 beyond. The exponential (Cephes' single-precision coefficients) and the
logarithm (interpolated at Chebyshev's points, within 1e-8) are polynomials, the largest logit is
found among integers of the same order, and a chunk is a function of its own arrays: a compiler
turns only such arithmetic into vector instructions.

With eᵢ = exp(aᵢ − max a) and lse the log of the sum, KL(P‖Q) = Σ eᵢ·(aᵢ − bᵢ) / Σ eᵢ − (lse a −
lse b). With d = log p − log q, JS = ½·Σ [(p + q)·log(1 + |p − q|/(p + q)) − min(p, q)·|d|]: the
larger of p and q over their mean is 1 to 2, so that one well-behaved logarithm does, and p = q
gives 0.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba.extending import overload

Floats = npt.NDArray[np.float64]
CHUNK = 2048
F, D, S, U = np.float32, np.float64, np.int32, np.uint32
MAGNITUDE = U(0x7FFFFFFF)  # all bits of a float32 but its sign
INFINITE = U(0x7F800000)
COLUMNS = 9  # kl, reverse, js, same top token, two log-probabilities, two ranks, all finite
LOOP: dict[str, Any] = {"nogil": True, "cache": True, "fastmath": True, "error_model": "numpy"}


def row_divergences(base: Any, tuned: Any, targets: Any, threads: int = 1) -> Floats:
    """Compare rows.

    Args:
        base, tuned: the bits of logits [N, vocabulary] on the CPU, rows without gaps: uint32 for
            float32, uint16 for bfloat16, the same for both.
        targets: int64 [N].
        threads: rows that are compared at once.

    Returns:
        [N, 9]: kl, reverse_kl, js, top1_same, base_logprob, tuned_logprob, base_rank, tuned_rank,
        and whether all logits of the row are finite: the others are undefined where they are not.
    """
    found = np.zeros((len(targets), COLUMNS))
    edges = np.linspace(0, len(targets), min(2 * threads, len(targets)) + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        parts = [slice(a, b) for a, b in pairwise(edges)]
        list(pool.map(lambda part: _rows(*(x[part] for x in (base, tuned, targets, found))), parts))
    return found


def _bits(x: Any) -> Any:
    """Give the bits of a logit as those of a float32."""
    raise NotImplementedError("only compiled loops call this")


@overload(_bits, inline="always")
def _compiled_bits(x):  # type: ignore[no-untyped-def]
    if x == numba.types.uint16:
        return lambda x: np.uint32(np.uint32(x) << np.uint32(16))
    return lambda x: np.uint32(x)


@numba.njit(inline="always", error_model="numpy")
def _value(x):  # type: ignore[no-untyped-def]
    return np.uint32(_bits(x)).view(np.float32)


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
    return y * np.int32((S(n) + S(127)) << S(23)).view(np.float32)


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


@numba.njit(**LOOP)
def _extremes(row):  # type: ignore[no-untyped-def]
    """Find the largest value and the bits of the largest magnitude.

    Bits of positive floats are ordered as integers are, those of negative ones the other way round.
    """
    most, magnitude = S(-(2**31)), U(0)
    for j in range(len(row)):
        bits = U(_bits(row[j]))
        signed = S(bits)
        most = max(most, S(signed ^ S((signed >> S(31)) & S(MAGNITUDE))))
        magnitude = max(magnitude, U(bits & MAGNITUDE))
    most ^= S((most >> S(31)) & S(MAGNITUDE))
    return np.int32(most).view(np.float32), magnitude


@numba.njit(**LOOP)
def _top(row):  # type: ignore[no-untyped-def]
    """Find the largest value, the first place where it stands, and whether all are finite."""
    most, chunk, finite = F(-3.5e38), 0, True
    for start in range(0, len(row), CHUNK):
        here, magnitude = _extremes(row[start : start + CHUNK])
        finite &= magnitude < INFINITE
        if here > most:
            most, chunk = here, start
    for j in range(chunk, len(row)):
        if _value(row[j]) == most:
            return most, j, finite
    return most, 0, finite


@numba.njit(**LOOP)
def _exponentials(a, b, most_a, most_b, at_a, at_b, p, q, total):  # type: ignore[no-untyped-def]
    s, t, g, h, u, v = F(0), F(0), F(0), F(0), S(0), S(0)
    for j in range(len(a)):
        x, y = _value(a[j]), _value(b[j])
        e, f = _exp(x - most_a), _exp(y - most_b)
        p[j], q[j] = e, f
        s += e
        t += f
        g += e * (x - y)
        h += f * (x - y)
        u += S(x > at_a)
        v += S(y > at_b)
    total[0] += s
    total[1] += t
    total[2] += g
    total[3] += h
    total[4] += u
    total[5] += v


@numba.njit(**LOOP)
def _js(a, b, p, q, share_a, share_b, offset):  # type: ignore[no-untyped-def]
    total = F(0)
    for j in range(len(a)):
        e, f = p[j] * share_a, q[j] * share_b
        both = e + f + F(1e-37)
        apart = abs(_value(a[j]) - _value(b[j]) - offset)
        total += both * _log1p(abs(e - f) / both) - min(e, f) * apart
    return D(total)


@numba.njit(**LOOP)
def _rows(base, tuned, targets, found):  # type: ignore[no-untyped-def]
    width = base.shape[1]
    p, q, total = np.empty(width, F), np.empty(width, F), np.empty(6)
    for i in range(len(targets)):
        a, b = base[i], tuned[i]
        at_a, at_b = _value(a[targets[i]]), _value(b[targets[i]])
        most_a, first_a, finite_a = _top(a)
        most_b, first_b, finite_b = _top(b)
        if not (finite_a and finite_b):
            continue
        total[:] = 0
        for start in range(0, width, CHUNK):
            z = slice(start, start + CHUNK)
            _exponentials(a[z], b[z], most_a, most_b, at_a, at_b, p[z], q[z], total)
        sum_a, sum_b = total[0], total[1]
        lse_a, lse_b = most_a + math.log(sum_a), most_b + math.log(sum_b)
        share_a, share_b, js = F(1 / sum_a), F(1 / sum_b), D(0)
        for start in range(0, width, CHUNK):
            z = slice(start, start + CHUNK)
            js += _js(a[z], b[z], p[z], q[z], share_a, share_b, F(lse_a - lse_b))
        found[i, 0] = total[2] / sum_a - (lse_a - lse_b)
        found[i, 1] = (lse_a - lse_b) - total[3] / sum_b
        found[i, 2] = js / 2
        found[i, 3] = first_a == first_b
        found[i, 4], found[i, 5] = at_a - lse_a, at_b - lse_b
        found[i, 6], found[i, 7] = total[4] + 1, total[5] + 1
        found[i, 8] = 1
