"""Work on a few threads, with results in the order of the items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from imprint.executors import Threads

Item = TypeVar("Item")
Found = TypeVar("Found")


def map_in_order(
    function: Callable[[Item], Found], items: Iterable[Item], threads: int
) -> Iterator[Found]:
    """Apply a function on threads; at most two results per thread wait to be taken."""
    return Threads(threads).map_in_order(function, items)
