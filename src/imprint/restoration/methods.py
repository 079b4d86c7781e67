"""What decides which weights go back to base: one float32 number per weight, none negative.

`restoration.scores` holds the changes themselves; here are the scores of the other methods, written
so that the same exact selection serves them all: the highest go back first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np

from imprint.checkpoints import Checkpoint
from imprint.checkpoints.dtypes import Float32
from imprint.restoration.parts import Chunk, Part, chunks
from imprint.restoration.scores import score

Method = Literal["relative", "absolute", "random", "fapm", "interpolate", "dare", "spectral"]
Scorer = Callable[[Chunk], Float32]


def by_change(kind: Literal["relative", "absolute"], eps: float) -> Scorer:
    """Score by |Δ|/(|p| + ε) or by |Δ|."""
    return lambda chunk: score(kind, chunk.base, chunk.tuned, eps)


def by_chance(seed: int) -> Scorer:
    """Score by chance: a weight's number depends on seed, tensor and flat index alone."""
    return lambda chunk: uniform(seed, chunk.part.pair.name, chunk.start, len(chunk.base))


def uniform(seed: int, name: str, start: int, count: int) -> Float32:
    """Give numbers from 0 to 1 that any chunk of a tensor can ask for, [count].

    The generator (Philox) is counter based: the number at a flat index does not depend on where
    a chunk begins.
    """
    key = hashlib.sha256(f"{seed} {name}".encode()).digest()[:16]
    generator = np.random.Philox(key=np.frombuffer(key, np.uint64))
    generator.advance(start // 4)  # one step of the counter gives four numbers
    skipped = start % 4
    raw = generator.random_raw(count + skipped)[skipped:]
    drawn: Float32 = (raw >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
    return drawn


def by_fapm(means: dict[int, float], eps: float) -> Scorer:
    """Score by FAPM (arXiv 2509.08255), turned round: what it would keep last goes back first.

    It keeps the highest |Δ| (1 - mean|p|/|p|), the mean over the tensor. ε is added to |p|, so that
    weights that were zero have a finite score. The order is exact but for the last bit of float32.

    Args:
        means: mean|p| by the number of the part.
        eps: added to |p|.
    """

    def scorer(chunk: Chunk) -> Float32:
        mean, size = np.float32(means[chunk.part.number]), np.abs(chunk.base)
        with np.errstate(over="ignore"):
            change = np.minimum(np.abs(chunk.tuned - chunk.base), np.finfo(np.float32).max)
            lost = change * (mean / (size + np.float32(eps)) - np.float32(1))
        return ordered(lost)

    return scorer


def ordered(values: Float32) -> Float32:
    """Map numbers of either sign to numbers that are not negative, in the same order.

    The bit pattern is shifted by one to make room for the sign: neighbours that differ in the last
    bit become equal.
    """
    limit = np.float32(1e38)
    bits = (np.clip(values, -limit, limit) + np.float32(0)).view(np.int32)
    flipped = np.where(bits < 0, ~bits.view(np.uint32), bits.view(np.uint32) | np.uint32(1 << 31))
    return (flipped >> np.uint32(1)).view(np.float32)


def mean_sizes(base: Checkpoint, tuned: Checkpoint, parts: Iterable[Part]) -> dict[int, float]:
    """Give mean|p| by the number of the part, summed in float64."""
    return {
        part.number: sum(
            float(np.abs(chunk.base).sum(dtype=np.float64)) for chunk in chunks(base, tuned, part)
        )
        / max(part.pair.elements, 1)
        for part in parts
    }
