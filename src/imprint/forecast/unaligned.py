"""The published way to find shifted latents, for comparison only: row against row.

Row i of the bare run meets row i of the run behind demonstrations, whatever tokens stand there, and
squared differences are added up. This follows variance, not change; the overlap with two halves of
the bare tokens shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from imprint.errors import require
from imprint.forecast.contexts import ALL, Key, bare
from imprint.forecast.demonstrations import Demonstrations, behind
from imprint.forecast.features import POOLED, Reader
from imprint.forecast.meter import Meter
from imprint.forecast.rendering import Rendered
from imprint.forecast.setting import Setting
from imprint.forecast.statistics import Floats, Paired, unaligned
from imprint.saes import Sae

TOKENS = 20_000  # rows of either run, as published (App. B.2)
BATCH = 16  # texts read together


def icl_unaligned(
    setting: Setting, reader: Reader, saes: Sequence[Sae], *, bos: bool
) -> list[Meter]:
    """Rank latents by Σ over rows of squared differences between two streams of tokens.

    Streams hold all tokens of the prompts, those of demonstrations among them, in the order of the
    texts; sinks are not left out, as published.
    """
    numbers, rows = bare(setting, reader, setting.sample, bos=bos)
    texts = [setting.sample[n] for n in numbers]
    drawn = Demonstrations(setting, rows, reader.counts)
    draws = range(setting.draws)
    keys: list[Key] = [(k, d) for k in ("shift", "halves") for d in (*draws, ALL)]
    meters = [Meter(sae, keys, "mean_square") for sae in saes]
    for meter in meters:
        for draw in draws:
            shots = drawn.drawn(draw)
            shown = [one for one in behind(setting, texts, shots, bos=bos) if one is not None]
            first = _latents(reader, meter, rows, count=draw == 0)
            meter.give(("shift", draw), _compare(first, _latents(reader, meter, shown), meter))
            order = setting.chances(5, draw).permutation(len(rows))
            sides = [[rows[n] for n in part] for part in np.array_split(order, 2)]
            one, other = (_latents(reader, meter, side) for side in sides)
            meter.give(("halves", draw), _compare(one, other, meter))
        for kind in ("shift", "halves"):
            meter.give((kind, ALL), _mean([meter.paired((kind, d)) for d in draws]))
    return meters


def _latents(
    reader: Reader, meter: Meter, rows: Sequence[Rendered], *, count: bool = False
) -> Iterator[Any]:
    """Give blocks of latents [rows, L] of all tokens, in order."""
    torch = require("torch", "models")
    size, done = max(1, POOLED // meter.sae.latents), 0
    for at in range(0, len(rows), BATCH):
        whole = [Rendered(one.ids, range(len(one.ids))) for one in rows[at : at + BATCH]]
        x = torch.cat(reader.spans(whole))[: TOKENS - done]
        done += len(x)
        for start in range(0, len(x), size):
            h = meter.sae.encode(x[start : start + size])
            if count:
                meter.activity(h)
            yield h
        if done >= TOKENS:
            return


def _compare(before: Iterator[Any], after: Iterator[Any], meter: Meter) -> Paired:
    torch = require("torch", "models")
    sums = torch.zeros((5, meter.sae.latents), dtype=torch.float64)
    n = 0
    for a, b in _aligned(before, after):
        n += len(a)
        for at, part in enumerate((a, b, a.square(), b.square(), (b - a).square())):
            sums[at] += part.sum(0, dtype=torch.float64).cpu()
    first: Floats = sums.numpy()
    found = unaligned((n, n), first[:2], first[2:4], first[4])
    return Paired(n, found.mean, found.row_squares / max(1, n), found.welch)


def _aligned(before: Iterator[Any], after: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
    """Give blocks of as many rows of two streams, until one ends."""
    a, b = next(before, None), next(after, None)
    while a is not None and b is not None:
        n = min(len(a), len(b))
        yield a[:n], b[:n]
        a = a[n:] if n < len(a) else next(before, None)
        b = b[n:] if n < len(b) else next(after, None)


def _mean(parts: Sequence[Paired]) -> Paired:
    mean, square, t = (
        np.mean([getattr(one, name) for one in parts], axis=0)
        for name in ("mean", "mean_square", "t")
    )
    return Paired(sum(one.n for one in parts), mean, square, t)
