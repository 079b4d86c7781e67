"""What happens between the matrix products of a Llama, in compiled loops for one core.

Arrays are float32, or uint16 that hold the bits of bfloat16: those are widened as they are read and
rounded to nearest even as they are written, and all arithmetic is float32. N counts tokens of all
runs, n those of one run; T is the length of a sequence, D the width, F that of the feed-forward.
Loops give the same bits at every call: each is one thread in a fixed order.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba.extending import overload

F, S, U = np.float32, np.int32, np.uint32
LOOP: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},  # NaN stays NaN, so that it is seen
}
INLINE: dict[str, Any] = {"inline": "always", "error_model": "numpy"}


def _wide(x: Any) -> Any:
    """Give the float32 of what stands in an array."""
    raise NotImplementedError("only compiled loops call this")


@overload(_wide, inline="always")
def _compiled_wide(x):  # type: ignore[no-untyped-def]
    if x == numba.types.uint16:
        return lambda x: np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)
    return lambda x: x


def _as(like: Any, x: Any) -> Any:
    """Give a float32 as it stands in an array whose elements are like the first."""
    raise NotImplementedError("only compiled loops call this")


@overload(_as, inline="always")
def _compiled_as(like, x):  # type: ignore[no-untyped-def]
    if like == numba.types.uint16:

        def rounded(like, x):  # type: ignore[no-untyped-def]
            bits = np.float32(x).view(np.uint32)
            odd = np.uint32((bits >> np.uint32(16)) & np.uint32(1))
            return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

        return rounded
    return lambda like, x: np.float32(x)


@numba.njit(**INLINE)
def _exp(x):  # type: ignore[no-untyped-def]
    """Cephes' single-precision exponential, down to exp(−87)."""
    x = min(max(x, F(-87.0)), F(88.0))
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


@numba.njit(**LOOP)
def embed(tokens, table, x):  # type: ignore[no-untyped-def]
    """Look up tokens [R, n] in tables [R, V, D]; write x [N, D]."""
    runs, each = tokens.shape
    for r in range(runs):
        for i in range(each):
            row, out = table[r, tokens[r, i]], x[r * each + i]
            for j in range(len(out)):
                out[j] = _wide(row[j])


@numba.njit(**LOOP)
def embed_backward(tokens, dx, found, gradient):  # type: ignore[no-untyped-def]
    """Add dx [N, D] to gradients [R, V, D] by token; ``found`` [V, D] is room for float32 sums."""
    runs, each = tokens.shape
    for r in range(runs):
        found[:] = 0
        for i in range(each):
            row, total = dx[r * each + i], found[tokens[r, i]]
            for j in range(len(row)):
                total[j] += row[j]
        for t in range(len(found)):
            total, out = found[t], gradient[r, t]
            for j in range(len(out)):
                out[j] = _as(out[j], _wide(out[j]) + total[j])


@numba.njit(**LOOP)
def add_norm(x, y, weight, out, h, scale, eps):  # type: ignore[no-untyped-def]
    """Write out = x + y and h = weight · out / rms(out), [N, D]; scale [N] is 1 / rms."""
    each = len(x) // len(weight)
    for i in range(len(x)):
        a, b, w, o, z = x[i], y[i], weight[i // each], out[i], h[i]
        total = F(0)
        for j in range(len(a)):
            s = a[j] + _wide(b[j])
            o[j] = s
            total += s * s
        inverse = F(1) / F(math.sqrt(total / F(len(a)) + eps))
        scale[i] = inverse
        for j in range(len(o)):
            z[j] = _as(z[j], o[j] * inverse * w[j])


@numba.njit(**LOOP)
def norm_backward(dh, x, scale, weight, dx, low, dweight):  # type: ignore[no-untyped-def]
    """Add the gradient through a norm to dx [N, D]; copy dx to low; write dweight [R, D]."""
    each, width = len(x) // len(weight), x.shape[1]
    sums = np.zeros(width, F)
    for i in range(len(x)):
        g, a, w, d, z, c = dh[i], x[i], weight[i // each], dx[i], low[i], scale[i]
        total = F(0)
        for j in range(width):
            total += _wide(g[j]) * w[j] * a[j]
        mean = total * c * c * c / F(width)
        for j in range(width):
            e = _wide(g[j])
            sums[j] += e * a[j] * c
            s = d[j] + e * w[j] * c - a[j] * mean
            d[j] = s
            z[j] = _as(z[j], s)
        if (i + 1) % each == 0:
            out = dweight[i // each]
            for j in range(width):
                out[j] = _as(out[j], sums[j])
                sums[j] = F(0)


@numba.njit(**LOOP)
def rope_split(qkv, cos, sin, q, k, v):  # type: ignore[no-untyped-def]
    """Turn queries and keys by their place, and part heads: [N, 3D] to three [N/T, H, T, D/H].

    Queries are divided by √(D/H) on the way.
    """
    sequences, heads, length, size = q.shape
    width, half = heads * size, size // 2
    shrink = F(1) / F(math.sqrt(size))
    for b in range(sequences):
        for t in range(length):
            row, c, s = qkv[b * length + t], cos[t], sin[t]
            for h in range(heads):
                at = h * size
                x, y, o = row[at : at + half], row[at + half : at + size], q[b, h, t]
                for j in range(half):
                    m, n = _wide(x[j]) * shrink, _wide(y[j]) * shrink
                    o[j] = _as(o[j], m * c[j] - n * s[j])
                    o[half + j] = _as(o[j], n * c[j] + m * s[j])
                at += width
                x, y, o = row[at : at + half], row[at + half : at + size], k[b, h, t]
                for j in range(half):
                    m, n = _wide(x[j]), _wide(y[j])
                    o[j] = _as(o[j], m * c[j] - n * s[j])
                    o[half + j] = _as(o[j], n * c[j] + m * s[j])
                at += width
                v[b, h, t] = row[at : at + size]


@numba.njit(**LOOP)
def rope_merge(dq, dk, dv, cos, sin, out):  # type: ignore[no-untyped-def]
    """Undo ``rope_split`` for gradients: three [N/T, H, T, D/H] to [N, 3D]."""
    sequences, heads, length, size = dq.shape
    width, half = heads * size, size // 2
    shrink = F(1) / F(math.sqrt(size))
    for b in range(sequences):
        for t in range(length):
            row, c, s = out[b * length + t], cos[t], sin[t]
            for h in range(heads):
                at = h * size
                x, y, g = row[at : at + half], row[at + half : at + size], dq[b, h, t]
                for j in range(half):
                    m, n = _wide(g[j]) * shrink, _wide(g[half + j]) * shrink
                    x[j] = _as(x[j], m * c[j] + n * s[j])
                    y[j] = _as(y[j], n * c[j] - m * s[j])
                at += width
                x, y, g = row[at : at + half], row[at + half : at + size], dk[b, h, t]
                for j in range(half):
                    m, n = _wide(g[j]), _wide(g[half + j])
                    x[j] = _as(x[j], m * c[j] + n * s[j])
                    y[j] = _as(y[j], n * c[j] - m * s[j])
                at += width
                row[at : at + size] = dv[b, h, t]


@numba.njit(**LOOP)
def merge(parted, out):  # type: ignore[no-untyped-def]
    """Bring heads [N/T, H, T, D/H] side by side: [N, D]."""
    sequences, heads, length, size = parted.shape
    for b in range(sequences):
        for t in range(length):
            row = out[b * length + t]
            for h in range(heads):
                row[h * size : (h + 1) * size] = parted[b, h, t]


@numba.njit(**LOOP)
def split(rows, out):  # type: ignore[no-untyped-def]
    """Part heads: [N, D] to [N/T, H, T, D/H]."""
    sequences, heads, length, size = out.shape
    for b in range(sequences):
        for t in range(length):
            row = rows[b * length + t]
            for h in range(heads):
                out[b, h, t] = row[h * size : (h + 1) * size]


@numba.njit(**LOOP)
def causal_softmax(scores, room):  # type: ignore[no-untyped-def]
    """Turn scores [·, T, T] into probabilities over places up to one's own; room [T]."""
    for b in range(len(scores)):
        for t in range(scores.shape[1]):
            whole = scores[b, t]
            row, e = whole[: t + 1], room[: t + 1]
            most = F(-3.0e38)
            for j in range(len(row)):
                most = max(most, _wide(row[j]))
            total = F(0)
            for j in range(len(row)):
                z = _exp(_wide(row[j]) - most)
                e[j] = z
                total += z
            share = F(1) / total
            for j in range(len(row)):
                row[j] = _as(row[j], e[j] * share)
            whole[t + 1 :] = 0


@numba.njit(**LOOP)
def softmax_backward(shares, gradient):  # type: ignore[no-untyped-def]
    """Turn gradients of probabilities [·, T, T] into those of scores, in place."""
    for b in range(len(shares)):
        for t in range(shares.shape[1]):
            p, whole = shares[b, t, : t + 1], gradient[b, t]
            g = whole[: t + 1]
            total = F(0)
            for j in range(len(g)):
                total += _wide(p[j]) * _wide(g[j])
            for j in range(len(g)):
                g[j] = _as(g[j], _wide(p[j]) * (_wide(g[j]) - total))
            whole[t + 1 :] = 0


@numba.njit(**LOOP)
def swiglu(gate_up, out):  # type: ignore[no-untyped-def]
    """Write silu(gate) · up: [N, 2F] to [N, F]."""
    width = out.shape[1]
    for i in range(len(out)):
        g, u, o = gate_up[i, :width], gate_up[i, width:], out[i]
        for j in range(width):
            x = _wide(g[j])
            o[j] = _as(o[j], x / (F(1) + _exp(-x)) * _wide(u[j]))


@numba.njit(**LOOP)
def swiglu_backward(gradient, gate_up):  # type: ignore[no-untyped-def]
    """Put the gradients of gate and up [N, 2F] in their place; ``gradient`` is [N, F]."""
    width = gradient.shape[1]
    for i in range(len(gradient)):
        g, u, d = gate_up[i, :width], gate_up[i, width:], gradient[i]
        for j in range(width):
            x, e = _wide(g[j]), _wide(d[j])
            s = F(1) / (F(1) + _exp(-x))
            y = _wide(u[j])
            g[j] = _as(g[j], e * y * s * (F(1) + x * (F(1) - s)))
            u[j] = _as(u[j], e * x * s)


@numba.njit(**LOOP)
def cross_entropy(logits, targets, losses, weight, room):  # type: ignore[no-untyped-def]
    """Write losses [N] in nats; put the gradient of weight · their sum in the place of logits."""
    for i in range(len(logits)):
        row, e = logits[i], room
        most = F(-3.0e38)
        for j in range(len(row)):
            z = _wide(row[j])
            e[j] = z
            most = max(most, z)
        target = e[targets[i]]
        total = F(0)
        for j in range(len(row)):
            z = _exp(e[j] - most)
            e[j] = z
            total += z
        losses[i] = F(math.log(total)) + most - target
        share = weight / total
        e[targets[i]] -= total
        for j in range(len(row)):
            row[j] = _as(row[j], e[j] * share)


@numba.njit(**LOOP)
def square_sum(x):  # type: ignore[no-untyped-def]
    """Add up squares, in float32 within 4,096 values and float64 beyond."""
    whole = np.float64(0)
    for start in range(0, len(x), 4096):
        part, total = x[start : start + 4096], F(0)
        for j in range(len(part)):
            z = _wide(part[j])
            total += z * z
        whole += np.float64(total)
    return whole


@numba.njit(**LOOP)
def momentum(m, g, out, beta):  # type: ignore[no-untyped-def]
    """Add gradients g to momenta m; write where Nesterov's rule looks ahead to."""
    for j in range(len(m)):
        x = _wide(g[j])
        a = beta * m[j] + x
        m[j] = a
        out[j] = _as(out[j], x + beta * a)


@numba.njit(**LOOP)
def descend(p, step, low, lr, decay):  # type: ignore[no-untyped-def]
    """Take steps from parameters p, which decay by the way; copy p to low."""
    keep = F(1) - lr * decay
    for j in range(len(p)):
        y = p[j] * keep - lr * _wide(step[j])
        p[j] = y
        low[j] = _as(low[j], y)


@numba.njit(**LOOP)
def adamw(p, m, v, g, low, shrink, lr, decay, b1, b2, fix1, fix2, eps):  # type: ignore[no-untyped-def]
    """Step parameters p by AdamW (decoupled decay) with gradients g · shrink; copy p to low."""
    keep = F(1) - lr * decay
    for j in range(len(p)):
        x = _wide(g[j]) * shrink
        a = b1 * m[j] + (F(1) - b1) * x
        b = b2 * v[j] + (F(1) - b2) * x * x
        m[j], v[j] = a, b
        y = p[j] * keep - lr * (a * fix1) / (np.sqrt(b * fix2) + eps)
        p[j] = y
        low[j] = _as(low[j], y)
