"""Long work cut into sections, so that what is finished can be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Generic, TypeVar

from imprint.executors import Executor

Item = TypeVar("Item")
Found = TypeVar("Found")


def sections(sizes: Sequence[int], least: int) -> Iterator[range]:
    """Cut items into consecutive ranges of at least a size together; the last may be smaller.

    >>> [*sections([2, 2, 5, 1], 4)]
    [range(0, 2), range(2, 3), range(3, 4)]
    """
    start, size = 0, 0
    for at, more in enumerate(sizes):
        size += more
        if size >= least:
            yield range(start, at + 1)
            start, size = at + 1, 0
    if start < len(sizes):
        yield range(start, len(sizes))


class Ahead(Generic[Item, Found]):
    """Works on items in their order, ahead of who asks, from the first that is asked for.

    Sections that an earlier run kept are never worked on, and no worker waits at a section's end.

    Args:
        executor: works on several items at a time.
        function: the work.
        items: all of them.

    Attributes:
        stop: where the range that was last taken ends.
    """

    def __init__(
        self, executor: Executor, function: Callable[[Item], Found], items: Sequence[Item]
    ):
        self._executor, self._function, self._items = executor, function, items
        self._results: Iterator[Found] = iter(())
        self.stop = -1

    def take(self, part: range) -> Iterator[Found]:
        """Give the results of a range of items, which must be taken whole."""
        if part.start != self.stop:
            rest = self._items[part.start :]
            self._results = self._executor.map_in_order(self._function, rest)
        self.stop = part.stop
        return islice(self._results, len(part))
