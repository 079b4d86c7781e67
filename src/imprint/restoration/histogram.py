"""Counting scores by their bits: non-negative floats order like their bit patterns as integers.

The upper 16 bits of a float32 name a coarse bin, the lower 16 bits its place in it. All values of
a coarse bin share one unit in the last place, so their sum is exact: the bin's smallest value times
the count, plus the unit times the sum of the lower bits, which is an integer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from imprint.checkpoints.dtypes import Float32
from imprint.restoration import kernels
from imprint.restoration.kernels import Float64, Int32, Int64, UInt32
from imprint.restoration.windows import COARSE, Windows

PACKED = 1 << 22  # scores that packed counts hold
Order = Literal["top", "bottom"]
Limits = tuple[np.float32, np.float32]


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the first k of all scores end.

    Attributes:
        value: the k-th score.
        before: how many scores come strictly before it.
        equal: how many equal it.
        total: the sum of the first k scores, exact but for one rounding per bin.
        weight: the sum of their weights; among equals the mean.
    """

    value: float
    before: int
    equal: int
    total: float
    weight: float


class Totals(NamedTuple):
    """Sums over some changes: weights unchanged bit by bit and near, Σ base², Σ scores, Σ Δ²."""

    unchanged: int
    within: int
    base_squares: float
    relative: float
    absolute: float
    squares: float


class Histogram:
    """Scores counted by their bits: coarsely everywhere, value by value inside some windows.

    Args:
        windows: coarse bin → first lower half that is counted; see `imprint.restoration.windows`.
        weighted: whether each score comes along with a change, whose square is its weight. A score
            without is its own: its weight is its square, known to a few parts in 10^5.

    Attributes:
        fine: the counts inside windows.
    """

    def __init__(self, windows: Mapping[int, int] | None = None, *, weighted: bool = False):
        self.weighted = weighted
        self._weight = np.zeros(COARSE, np.float64)
        self.fine = Windows(windows or {}, weighted=weighted)
        self._count = np.zeros(COARSE, np.int64)
        self._low = np.zeros(COARSE, np.int64)
        self._packed = np.zeros(COARSE, np.int64)
        self._held = 0  # scores in the packed counts

    def __getstate__(self) -> dict[str, Any]:
        self._unpack()  # arrays that come from another process may be read-only
        return self.__dict__

    @property
    def count(self) -> Int64:
        """Scores in each coarse bin, [COARSE]."""
        self._unpack()
        return self._count

    @property
    def low(self) -> Int64:
        """Sum of the lower halves of the scores in each coarse bin, [COARSE]."""
        self._unpack()
        return self._low

    @property
    def weight(self) -> Float64:
        """Sum of the weights of the scores in each coarse bin, [COARSE]."""
        if self.weighted:
            return self._weight
        filled = np.flatnonzero(self.count)
        found = np.zeros(COARSE, np.float64)
        found[filled] = self.sums()[filled] ** 2 / self.count[filled]
        return found

    def count_changes(
        self, base: Float32, tuned: Float32, limits: Limits, absolute: Histogram
    ) -> tuple[Totals, Float32, Float32]:
        """Count relative changes here, and absolute changes in another histogram.

        Args:
            base, tuned: finite, [n ≤ PACKED].
            limits: eps, and the change up to which weights count as near.
            absolute: without weights.

        Returns:
            Totals; |Δ|, [n]; 1 / (|base| + eps), [n].
        """
        for histogram in (self, absolute):
            histogram._make_room(len(base))
        coarse = self._packed, self._weight, absolute._packed
        windows = self.fine.arrays, absolute.fine.arrays
        moved, inverse = np.empty_like(base), np.empty_like(base)
        found = kernels.count_changes(base, tuned, limits, coarse, *windows, moved, inverse)
        return Totals(*found), moved, inverse

    def add(self, scores: Float32, changes: Float32 | None = None) -> None:
        """Count scores, [n]; a weighted histogram needs the changes, [n], that come along.

        Raises:
            ValueError: changes are missing, given where nothing is weighted, or of another length.
        """
        if self.weighted != (changes is not None):
            raise ValueError("changes come along with the scores of a weighted histogram alone")
        if changes is not None and len(changes) != len(scores):
            raise ValueError(f"{len(changes)} changes for {len(scores)} scores")
        keys: UInt32 = np.ascontiguousarray(scores).view(np.uint32)
        for start in range(0, len(keys), PACKED):
            some = slice(start, start + PACKED)
            moved = None if changes is None else np.ascontiguousarray(changes[some])
            self._make_room(len(keys[some]))
            if moved is None:
                kernels.count(keys[some], self._packed)
            else:
                kernels.count_weighted(keys[some], moved, self._packed, self._weight)
            self.fine.add(keys[some], moved)

    def add_permuted(self, changes: Float32, order: Int32, inverse: Float32) -> None:
        """Count changes times ``inverse``, the changes in another order; all [n ≤ PACKED]."""
        self._make_room(len(order))
        kernels.count_permuted(changes, order, inverse, self._packed)

    def merge(self, other: Histogram) -> None:
        """Add another histogram with the same windows."""
        self._unpack()
        self._count += other.count
        self._low += other.low
        self._weight += other._weight
        self.fine.merge(other.fine)

    def _make_room(self, more: int) -> None:
        if self._held + more > PACKED:
            self._unpack()
        self._held += more

    def _unpack(self) -> None:
        if self._held:
            self._count += self._packed >> 40
            self._low += self._packed & (kernels.ONE - 1)
            self._packed[:] = 0
            self._held = 0

    @property
    def elements(self) -> int:
        """The number of scores."""
        return int(self.count.sum())

    def sums(self) -> Float64:
        """Give the sum of the scores of each coarse bin, [COARSE]."""
        filled = np.flatnonzero(self.count)
        lowest = values(filled << 16)
        unit = values((filled << 16) + 1) - lowest
        found = np.zeros(COARSE, np.float64)
        found[filled] = self.count[filled] * lowest + self.low[filled] * unit
        return found

    def total(self) -> float:
        """Give the sum of all scores."""
        return math.fsum(self.sums())

    def share(self, k: int) -> float:
        """Give the share of the first k scores in the sum of all, from the coarse bins alone.

        Inside the bin in which the k-th score lies, all scores count as their mean; they differ by
        less than one part in 128. NaN where all scores are zero.
        """
        sums = self.sums()
        total = math.fsum(sums)
        if k == 0 or total == 0:
            return 0.0 if total else math.nan
        at, before = _find(self.count, k, "top")
        inside = sums[at] * (k - before) / self.count[at]
        return math.fsum([*sums[at + 1 :], inside]) / total

    def gini(self) -> float:
        """Give the Gini coefficient, from the coarse bins; NaN where all scores are zero."""
        sums, n = self.sums(), self.elements
        total = math.fsum(sums)
        if total == 0:
            return math.nan
        poorer = np.concatenate([[0.0], np.cumsum(sums)]) / total
        return float(1 - np.sum(self.count / n * (poorer[1:] + poorer[:-1])))

    def missing(self, k: int, order: Order = "top") -> int | None:
        """Name the coarse bin that holds the k-th score, where no window shows it."""
        if k == 0:
            return None
        coarse, outside = _find(self.count, k, order)
        return None if self._place(coarse, k - outside, order) else coarse

    def coarse_bin(self, k: int, order: Order = "top") -> int:
        """Find the coarse bin that holds the k-th score, 1 ≤ k ≤ elements."""
        return _find(self.count, k, order)[0]

    def cut(self, k: int, order: Order = "top") -> Cut:
        """Find where the first k scores end, 0 ≤ k ≤ elements.

        Raises:
            KeyError: no window shows the k-th score.
        """
        if k == 0:
            return Cut(math.inf if order == "top" else -math.inf, 0, 0, 0.0, 0.0)
        coarse, outside = _find(self.count, k, order)
        place = self._place(coarse, k - outside, order)
        if place is None:
            raise KeyError(coarse)
        value = float(values([(coarse << 16) + place.low])[0])
        before = outside + place.before
        beyond = _beyond(coarse, order)
        lowest, unit = _spacing(coarse)
        inside = place.before * lowest + place.low_sum * unit
        total = math.fsum([*self.sums()[beyond], inside, (k - before) * value])
        share = (k - before) / place.equal
        weight = float(self.weight[beyond].sum()) + place.weight + share * place.equal_weight
        return Cut(value, before, place.equal, total, weight)

    def _place(self, coarse: int, k: int, order: Order) -> _Place | None:
        """Find the k-th score of a coarse bin in its window."""
        found = self.fine.inside(coarse)
        if found is None:
            return None
        lows = found.low + np.arange(len(found.counts))
        weights = found.weights
        if not self.weighted:
            weights = found.counts * values((coarse << 16) + lows) ** 2
        before, low_sum, weight = 0, 0, 0.0
        if order == "bottom":  # what lies below the window is what is left
            before = int(self.count[coarse]) - int(found.counts.sum())
            low_sum = int(self.low[coarse]) - int(found.counts @ lows)
            weight = float(self.weight[coarse]) - float(weights.sum())
        if not before < k <= before + int(found.counts.sum()):
            return None
        at, passed = _find(found.counts, k - before, order)
        within = _beyond(at, order)
        return _Place(
            low=int(lows[at]),
            before=before + passed,
            equal=int(found.counts[at]),
            low_sum=low_sum + int(found.counts[within] @ lows[within]),
            weight=weight + float(weights[within].sum()),
            equal_weight=float(weights[at]),
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """A score inside its coarse bin: its lower half, and what comes before it there."""

    low: int
    before: int
    equal: int
    low_sum: int
    weight: float
    equal_weight: float


def _spacing(coarse: int) -> tuple[float, float]:
    """Give the smallest value of a coarse bin and the distance between its values."""
    lowest, following = values([coarse << 16, (coarse << 16) + 1])
    return float(lowest), float(following - lowest)


def values(keys: Int64 | Sequence[int]) -> Float64:
    """Give the floats that have these bits.

    >>> values([0x3F800000]).tolist()
    [1.0]
    """
    return np.asarray(keys, np.uint32).view(np.float32).astype(np.float64)


def _find(counts: Int64, k: int, order: Order) -> tuple[int, int]:
    """Give the bin of the k-th entry, and how many entries lie in the bins before it."""
    ordered = counts[::-1] if order == "top" else counts
    cumulative = np.cumsum(ordered)
    at = int(np.searchsorted(cumulative, k))
    before = int(cumulative[at] - ordered[at])
    return (len(counts) - 1 - at if order == "top" else at), before


def _beyond(at: int, order: Order) -> slice:
    return slice(at + 1, None) if order == "top" else slice(0, at)
