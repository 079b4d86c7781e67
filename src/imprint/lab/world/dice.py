"""Random draws that are the same on every machine: integers only, from PCG64's raw stream."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")
BLOCK = 1 << 13


class Dice:
    """A stream of draws that follows from its labels alone.

    No floating point takes part, and numpy keeps the raw stream of a bit generator from version
    to version, so that the same labels give the same draws everywhere.

    Args:
        labels: seed and what the stream is for; streams of different labels are independent.
    """

    __slots__ = ("_at", "_block", "_raw")

    def __init__(self, *labels: int | str):
        digest = hashlib.sha256("\0".join(map(str, labels)).encode()).digest()
        self._raw = np.random.PCG64(int.from_bytes(digest[:16], "big"))
        self._block: list[int] = []
        self._at = BLOCK

    def below(self, n: int) -> int:
        """Draw from 0 … n − 1."""
        if self._at == BLOCK:
            raw = self._raw.random_raw(BLOCK)
            self._block = (np.asarray(raw) >> np.uint64(32)).tolist()
            self._at = 0
        drawn = self._block[self._at]
        self._at += 1
        return (drawn * n) >> 32

    def pick(self, options: Sequence[T]) -> T:
        """Draw one of several, all alike."""
        return options[self.below(len(options))]

    def percent(self, share: int) -> bool:
        """Say yes in ``share`` of 100 cases."""
        return self.below(100) < share

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """Give all in an order drawn (Fisher and Yates)."""
        found = list(options)
        for last in range(len(found) - 1, 0, -1):
            other = self.below(last + 1)
            found[last], found[other] = found[other], found[last]
        return found

    def sample(self, options: Sequence[T], count: int) -> list[T]:
        """Draw several different ones; all, where there are not more."""
        return self.shuffled(options)[:count]


class Weighted(Generic[T]):
    """Options with whole-number weights, to draw from quickly.

    Args:
        options: what is drawn.
        weights: of each, at least 0, one at least 1.
    """

    __slots__ = ("_bounds", "_options", "total")

    def __init__(self, options: Sequence[T], weights: Sequence[int]):
        self._options = list(options)
        self._bounds = list(accumulate(weights))
        self.total = self._bounds[-1]

    def draw(self, dice: Dice) -> T:
        """Draw one, as often as its weight says."""
        return self._options[bisect_right(self._bounds, dice.below(self.total))]
