"""Scores counted value by value inside a few windows of their bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from imprint.checkpoints.dtypes import Float32
from imprint.restoration import kernels
from imprint.restoration.kernels import Float64, Int64, UInt32

COARSE = 1 << 15  # upper halves of the bits of a float32 that is not negative
FINE = 1 << 16  # lower halves
Window = tuple[int, int]
WHOLE: Window = (0, FINE)


@dataclass(frozen=True, slots=True)
class Inside:
    """What was counted in one coarse bin.

    Attributes:
        low: the first lower half of the window.
        counts: scores by their lower half, from ``low`` on, [window].
        weights: sums of their weights, [window]; empty where nothing is weighted.
        above, above_low: scores of the bin beyond the window, and the sum of their lower halves.
        above_weight: the sum of their weights.
    """

    low: int
    counts: Int64
    weights: Float64
    above: int
    above_low: int
    above_weight: float


class Windows:
    """Counts inside windows, at most one in each coarse bin.

    Args:
        windows: coarse bin → first and last-but-one lower half; a value takes 8 bytes, weighted 16.
        weighted: whether the squares of changes are summed as well.
    """

    def __init__(self, windows: Mapping[int, Window], *, weighted: bool):
        self.weighted = weighted
        self.windows = dict(windows)
        ends = np.array(list(windows.values()), np.int64).reshape(-1, 2)
        widths = ends[:, 1] - ends[:, 0]
        self._ends, self._starts = ends, np.cumsum([0, *widths])[:-1]
        self._slot = np.full(COARSE, -1, np.int32)
        self._slot[list(windows)] = np.arange(len(windows))
        self._counts = np.zeros(int(widths.sum()), np.int64)
        self._weights = np.zeros(len(self._counts) if weighted else 0, np.float64)
        self._above = np.zeros((len(windows), 2), np.int64)
        self._above_weight = np.zeros(len(windows), np.float64)

    def add(self, keys: UInt32, changes: Float32 | None) -> None:
        """Count scores by their bits, [n], with the changes, [n], that come along."""
        if not self.windows:
            return
        where = self._slot, self._ends, self._starts
        if changes is None:
            kernels.count_finely(keys, *where, self._counts, self._above)
        else:
            sums = self._counts, self._weights, self._above, self._above_weight
            kernels.count_finely_weighted(keys, changes, *where, *sums)

    def merge(self, other: Windows) -> None:
        """Add the counts of the same windows."""
        self._counts += other._counts
        self._weights += other._weights
        self._above += other._above
        self._above_weight += other._above_weight

    def refine(self, other: Windows) -> None:
        """Take over the windows of another; those of the same bin are replaced."""
        rows = len(self._ends)
        self._slot[list(other.windows)] = np.arange(len(other.windows)) + rows
        self.windows |= other.windows
        self._ends = np.concatenate([self._ends, other._ends])
        self._starts = np.concatenate([self._starts, other._starts + len(self._counts)])
        self._counts = np.concatenate([self._counts, other._counts])
        self._weights = np.concatenate([self._weights, other._weights])
        self._above = np.concatenate([self._above, other._above])
        self._above_weight = np.concatenate([self._above_weight, other._above_weight])

    def inside(self, coarse: int) -> Inside | None:
        """Give what was counted in a coarse bin; ``None`` where it has no window."""
        row = int(self._slot[coarse])
        if row < 0:
            return None
        low, high = (int(end) for end in self._ends[row])
        here = slice(int(self._starts[row]), int(self._starts[row]) + high - low)
        above, above_low = (int(n) for n in self._above[row])
        weight = float(self._above_weight[row])
        return Inside(low, self._counts[here], self._weights[here], above, above_low, weight)
