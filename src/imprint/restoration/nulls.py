"""What concentration would be by chance.

Relative change is large where the weight before was small, whatever was learned: independent normal
weights and changes already give the curve that fine-tuned models show. Two nulls say how much of a
curve is owed to that. The Gaussian one needs the ratio of ``eps`` to the spread of the weights
alone. The permuted one keeps the weights and changes as they are, and breaks their pairing inside
each tensor.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from imprint.restoration.kernels import PIECE, Int32

CHUNK = 1 << 16
WHOLE = 1 << 19  # smaller tensors are permuted freely
REACH = 16  # chunks whose changes are held
STEPS = 20_001
FAR = 40.0  # standard deviations; the normal density beyond is zero in doubles


def gaussian_relative(ratios: Sequence[float], eps: float, sigma: float) -> list[float]:
    """Give the share of Σr in the top of each ratio for independent normal weights and changes.

    For r = |Δ| / (|p| + eps) with p ~ N(0, σ²), Δ ~ N(0, d²), the scale d cancels. Both the
    share of weights above a threshold and their part of the sum are integrals over |p|, taken over
    log(|p| + eps), in which they are smooth.

    Args:
        ratios: 0 to 1.
        eps: the offset, positive.
        sigma: the spread of the weights, positive; NaN is returned where it is not.
    """
    if not sigma > 0:
        return [math.nan] * len(ratios)
    from scipy.optimize import brentq  # a quarter of a second, and not every command needs it

    offset = eps / sigma
    logs = np.linspace(math.log(offset), math.log(offset + FAR), STEPS)
    size = np.exp(logs)
    density = 2 * _phi(size - offset)

    def share_above(log_threshold: float) -> float:
        tail = 2 * ndtr(-math.exp(log_threshold) * size)
        return float(np.trapezoid(density * size * tail, logs))

    def sum_above(threshold: float) -> float:
        return float(np.trapezoid(density * 2 * _phi(threshold * size), logs))

    found = []
    mass = share_above(-80.0)
    lowest, highest = -60.0, math.log(FAR / offset)
    for ratio in ratios:
        if ratio <= 0 or ratio >= 1:
            found.append(float(ratio >= 1))
            continue
        at = brentq(lambda t, q=ratio: share_above(t) / mass - q, lowest, highest, xtol=1e-12)
        found.append(sum_above(math.exp(at)) / sum_above(0.0))
    return found


def gaussian_absolute(ratios: Sequence[float]) -> list[float]:
    """Give the share of Σ|Δ| in the top of each ratio for normal changes: exp(−z²/2)."""
    return [float(np.exp(-(ndtri(1 - q / 2) ** 2) / 2)) for q in ratios]


@dataclass(frozen=True, slots=True)
class Pairing:
    """Which changes meet which weights in the permuted nulls of a tensor.

    A tensor is visited in chunks, in a random order, so that each is read once for all draws: in
    each draw the weights of a chunk meet the changes of a chunk that was visited a fixed number of
    visits before, put in a random order. Every change meets every weight with equal chance, so the
    expected counts are those of a free permutation. Small tensors are one chunk. The few values
    beyond the last whole chunk are shuffled among themselves.

    Attributes:
        visits: flat start and stop of each chunk, in the order of the visits; the rest comes last.
        offsets: per draw, how many visits ago the changes were seen.
        orders: per draw, which change of a chunk goes where, [chunk].
        rest: the same for the rest.
    """

    visits: tuple[tuple[int, int], ...]
    offsets: tuple[int, ...]
    orders: tuple[Int32, ...]
    rest: tuple[Int32, ...]

    @property
    def chunks(self) -> int:
        """The number of whole chunks."""
        return len(self.visits) - bool(len(self.rest))

    def source(self, visit: int, draw: int) -> tuple[int, Int32]:
        """Give the visit whose changes a visit's weights meet, and their order."""
        if visit == self.chunks:
            return visit, self.rest[draw]
        return (visit - self.offsets[draw]) % self.chunks, self.orders[draw]

    @property
    def early(self) -> range:
        """The visits whose changes are met before they are visited."""
        return range(self.chunks - max(self.offsets, default=0), self.chunks)


def pairing(elements: int, draws: int, seed: int, name: str) -> Pairing:
    """Draw the permutations of a tensor; they depend on its name and size, on no other tensor."""
    chunks = 1 if elements < WHOLE else elements // CHUNK
    length = elements // chunks
    draw = np.random.default_rng((seed, zlib.crc32(name.encode())))
    visits = [(int(at) * length, int(at + 1) * length) for at in draw.permutation(chunks)]
    left = elements - chunks * length
    rest = [draw.permutation(left).astype(np.int32) for _ in range(draws if left else 0)]
    reach = min(chunks, REACH)
    others = 1 + draw.permutation(max(reach - 1, 1))
    # a free permutation leaves a change in its own chunk with this chance
    stays = draw.random(draws) < 1 / chunks
    offsets = [0 if stays[d] else int(others[d % len(others)]) for d in range(draws)]
    if chunks == 1:
        orders = [draw.permutation(length).astype(np.int32) for _ in range(draws)]
    else:
        orders = [_inside(length, seed, d) for d in range(draws)]
    ends = [(chunks * length, elements)] if left else []
    return Pairing(tuple(visits + ends), tuple(offsets), tuple(orders), tuple(rest))


@lru_cache(maxsize=64)
def _inside(length: int, seed: int, number: int) -> Int32:
    """Shuffle a chunk: its pieces, and each piece in itself, which stays in the cache."""
    draw = np.random.default_rng((seed, number, length))
    order = np.arange(length, dtype=np.int32)
    pieces = [draw.permutation(order[at : at + PIECE]) for at in range(0, length, PIECE)]
    return np.concatenate([pieces[at] for at in draw.permutation(len(pieces))])


def _phi(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
