"""Exact thresholds: where the k largest (or smallest) of any number of scores begin.

One pass counts the scores by their bits (:mod:`imprint.restoration.histogram`), coarsely everywhere
and finely where a sample says that the thresholds lie. Only where the sample was wrong is there a
second pass. No score is kept, so the memory needed does not grow with the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from imprint.checkpoints.dtypes import Float32
from imprint.errors import ConfigError
from imprint.executors import Executor, Threads
from imprint.restoration.histogram import Histogram, Order

Chunk = tuple[int, int, Float32]
Stream = Callable[[], Iterable[Chunk]]
MOST_BINS = 64  # windows in one pass
SPREAD = 4.0  # standard errors of a sampled rank
WIDEST = 12  # windows around one threshold


@dataclass(frozen=True, slots=True)
class Threshold:
    """The end of the first k of n scores.

    A score is taken where it lies strictly beyond ``value``; of those equal to it the first
    ``take_equal`` in flat order (tensor number, then flat index) are taken.

    Attributes:
        ratio: the share asked for.
        k: int(ratio · n).
        value: the k-th score; infinite beyond every score where k is 0.
        above: how many scores lie strictly beyond it (above for ``top``, below for ``bottom``).
        equal: how many equal it.
        take_equal: how many of those are taken.
    """

    ratio: float
    k: int
    value: float
    above: int
    equal: int
    take_equal: int


def thresholds(
    streams: Sequence[Stream],
    ratios: Sequence[float],
    *,
    order: Order = "top",
    sample: Float32 | None = None,
    executor: Executor | None = None,
) -> list[Threshold]:
    """Find the exact threshold of each ratio; the result depends on the scores alone.

    Args:
        streams: each gives (tensor number, flat start, scores [chunk], float32 and 0 or more) when
            called, and again when called again. Different streams run at the same time.
        ratios: shares of all scores, 0 to 1.
        order: take the largest or the smallest scores.
        sample: some scores, drawn evenly, to guess where the thresholds lie; without it there are
            always two passes.
        executor: reads several streams at the same time; by default two threads.

    Returns:
        One per ratio, in their order.

    Raises:
        ConfigError: a ratio outside 0 to 1.
    """
    guess = likely_windows(sample, ratios, order)
    crew = executor or Threads()
    found = _counted(streams, guess, crew)
    places = [place_of(ratio, found.elements) for ratio in ratios]
    while windows := missing_windows(found, places, order):
        found.fine.refine(_counted(streams, windows, crew).fine)
    return [threshold_at(found, ratio, order) for ratio in ratios]


def threshold_at(found: Histogram, ratio: float, order: Order = "top") -> Threshold:
    """Read one threshold from scores counted finely enough."""
    k = place_of(ratio, found.elements)
    cut = found.cut(k, order)
    return Threshold(ratio, k, cut.value, cut.before, cut.equal, k - cut.before)


def place_of(ratio: float, elements: int) -> int:
    """Give int(ratio · elements), the ratio taken as the decimal number that it is written as.

    >>> place_of(0.29, 100), int(0.29 * 100)
    (29, 28)

    Raises:
        ConfigError: a ratio outside 0 to 1.
    """
    if not 0 <= ratio <= 1:
        raise ConfigError(f"the ratio {ratio} is not between 0 and 1")
    return int(Fraction(repr(float(ratio))) * elements)


def likely_windows(
    sample: Float32 | None, ratios: Iterable[float], order: Order = "top"
) -> dict[int, int]:
    """Guess the windows in which the thresholds lie, from a sample of the scores."""
    if sample is None or not sample.size:
        return {}
    keys = np.sort(sample.reshape(-1).view(np.uint32))
    found: dict[int, int] = {}
    last = len(keys) - 1
    for ratio in ratios:
        rank = (1 - ratio if order == "top" else ratio) * last
        margin = SPREAD * math.sqrt(len(keys) * ratio * (1 - ratio)) + 1
        low, high = (int(keys[round(min(max(rank + m, 0), last))]) for m in (-margin, margin))
        for coarse, first in _windows(low, high, int(keys[round(rank)])):
            found[coarse] = min(found.get(coarse, first), first)
    return dict(list(found.items())[:MOST_BINS])


def _windows(low: int, high: int, middle: int) -> Iterator[tuple[int, int]]:
    """Cut the range of bits from low to high into coarse bins, the nearest to the middle first."""
    bins = sorted(range(low >> 16, (high >> 16) + 1), key=lambda b: abs(b - (middle >> 16)))
    for coarse in bins[:WIDEST]:
        yield coarse, low & 0xFFFF if coarse == low >> 16 else 0


def missing_windows(
    found: Histogram, places: Iterable[int], order: Order = "top"
) -> dict[int, int]:
    """Give the windows that must still be counted, as many as one pass takes."""
    needed = {found.missing(k, order) for k in places} - {None}
    return dict.fromkeys(sorted(b for b in needed if b is not None)[:MOST_BINS], 0)


def _counted(
    streams: Sequence[Stream], windows: Mapping[int, int], executor: Executor
) -> Histogram:
    def count(number: int) -> Histogram:
        counted = Histogram(windows)
        for _, _, scores in streams[number]():
            counted.add(scores)
        return counted

    total = Histogram(windows)
    for part in executor.map_in_order(count, range(len(streams))):
        total.merge(part)
    return total
