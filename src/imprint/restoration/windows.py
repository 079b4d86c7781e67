"""Scores counted value by value inside a few windows of their bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imprint.checkpoints.dtypes import Float32
from imprint.restoration import kernels
from imprint.restoration.kernels import Float64, Int64, UInt32

COARSE = 1 << 15  # upper halves of the bits of a float32 that is not negative
FINE = 1 << 16  # lower halves


@dataclass(frozen=True, slots=True)
class Inside:
    """What was counted in one window.

    Attributes:
        low: its first lower half.
        counts: scores by their lower half, from ``low`` on, [window].
        weights: sums of their weights, [window]; empty where nothing is weighted.
    """

    low: int
    counts: Int64
    weights: Float64


class Windows:
    """Counts inside windows; each reaches from a value to the end of its coarse bin.

    Args:
        windows: coarse bin → first lower half that is counted. A value takes 8 bytes, weighted 16.
        weighted: whether the squares of changes are summed as well.
    """

    def __init__(self, windows: Mapping[int, int], *, weighted: bool):
        self.weighted = weighted
        self.windows = dict(windows)
        self._first = np.full(COARSE, FINE, np.int32)
        self._starts = np.zeros(COARSE, np.int64)
        end = 0
        for coarse, low in windows.items():
            self._first[coarse], self._starts[coarse] = low, end - low
            end += FINE - low
        self._counts = np.zeros(end, np.int64)
        self._weights = np.zeros(end if weighted else 0, np.float64)

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """What the compiled loops take after the scores."""
        found = self._first, self._starts, self._counts
        return (*found, self._weights) if self.weighted else found

    def add(self, keys: UInt32, changes: Float32 | None) -> None:
        """Count scores by their bits, [n], with the changes, [n], that come along."""
        if self.windows and changes is None:
            kernels.count_finely(keys, *self.arrays)
        elif self.windows:
            kernels.count_finely_weighted(keys, changes, *self.arrays)

    def merge(self, other: Windows) -> None:
        """Add the counts of the same windows."""
        self._counts += other._counts
        self._weights += other._weights

    def refine(self, other: Windows) -> None:
        """Take over the windows of another; those of the same bin are replaced."""
        for coarse, low in other.windows.items():
            self._first[coarse] = low
            self._starts[coarse] = other._starts[coarse] + len(self._counts)
        self.windows |= other.windows
        self._counts = np.concatenate([self._counts, other._counts])
        self._weights = np.concatenate([self._weights, other._weights])

    def inside(self, coarse: int) -> Inside | None:
        """Give what was counted in a coarse bin; ``None`` where it has no window."""
        if coarse not in self.windows:
            return None
        low, start = self.windows[coarse], int(self._starts[coarse])
        here = slice(start + low, start + FINE)
        return Inside(low, self._counts[here], self._weights[here])
