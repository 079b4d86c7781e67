"""What requests share: contexts shared by options, beginnings shared by contexts.

A beginning that many contexts share (few-shot examples) is read once and its keys and values kept;
the rest goes into trees, one per context or, where the beginning is long, several in a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from imprint.models.requests import Request

SHORTEST = 32  # tokens from which a common beginning is worth a pass of its own
ROW = 256  # tokens that a row may have in any case
TOGETHER = 256  # contexts among which beginnings are looked for
Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """Requests that begin alike.

    Attributes:
        skip: how many first tokens all have in common; they are read once, and their keys and
            values kept.
        rows: the requests (their numbers) that are laid out together.
    """

    skip: int
    rows: list[list[int]]


def plan(
    requests: Sequence[Request], longest: float = float("inf")
) -> tuple[list[Family], list[int]]:
    """Find what requests share.

    Args:
        requests: any.
        longest: most tokens of a request that may share.

    Returns:
        Families, and the numbers of the requests that share nothing.
    """
    contexts: dict[Ids, list[int]] = {}
    alone = []
    for number, one in enumerate(requests):
        if len(one.ids) > longest:
            alone.append(number)
        else:
            contexts.setdefault(one.ids[: len(one.ids) - len(one.targets) + 1], []).append(number)
    families, single = [], Family(0, [])
    ordered = sorted(contexts)
    for start in range(0, len(ordered), TOGETHER):
        for skip, members in _families(ordered[start : start + TOGETHER]):
            groups = [contexts[member] for member in members]
            if skip:
                families.append(Family(skip, _filled(groups, requests, skip)))
            elif len(groups[0]) == 1:
                alone += groups[0]
            else:
                single.rows.extend(_split(groups[0], requests))
    return [*families, *([single] if single.rows else [])], alone


def _families(contexts: list[Ids]) -> Iterator[tuple[int, list[Ids]]]:
    """Part sorted contexts so that as many tokens as possible are read only once."""
    shared = [min(_common(a, b), len(a) - 1, len(b) - 1) for a, b in pairwise(contexts)]
    for begin, end in _parts(np.array(shared, dtype=np.int64), 0, len(contexts))[1]:
        skip = min(shared[begin : end - 1], default=0)
        yield skip, contexts[begin:end]


def _parts(
    shared: np.ndarray[tuple[int], np.dtype[np.int64]], begin: int, end: int
) -> tuple[int, list[tuple[int, int]]]:
    """Give the tokens saved by the best partition of a range of contexts, and its parts."""
    if end - begin == 1:
        return 0, [(begin, end)]
    least = begin + int(shared[begin : end - 1].argmin())
    whole = int(shared[least]) * (end - begin - 1) if shared[least] >= SHORTEST else 0
    left, right = _parts(shared, begin, least + 1), _parts(shared, least + 1, end)
    if whole and whole >= left[0] + right[0]:
        return whole, [(begin, end)]
    return left[0] + right[0], left[1] + right[1]


def _filled(groups: list[list[int]], requests: Sequence[Request], skip: int) -> list[list[int]]:
    """Put contexts into rows: as long as half the beginning, which every token looks back on."""
    room = max(ROW, skip // 2)
    rows: list[list[int]] = []
    used = room
    for part in (part for group in groups for part in _split(group, requests)):
        size = _size(part, requests) - skip
        if used + size > room:
            rows.append([])
            used = 0
        rows[-1] += part
        used += size
    return rows


def _split(group: list[int], requests: Sequence[Request]) -> Iterator[list[int]]:
    """Cut the options of a context so that they are not much longer than the context itself."""
    context = len(requests[group[0]].ids) - len(requests[group[0]].targets) + 1
    part: list[int] = []
    used = 0
    for number in sorted(group, key=lambda n: requests[n].ids):
        size = len(requests[number].targets)
        if part and used + size > max(ROW, context):
            yield part
            part, used = [], 0
        part.append(number)
        used += size
    yield part


def _size(part: list[int], requests: Sequence[Request]) -> int:
    """Count the tokens of a context and its options, those that options share counted twice."""
    context = len(requests[part[0]].ids) - len(requests[part[0]].targets) + 1
    return context + sum(len(requests[number].targets) - 1 for number in part)


def _common(one: Ids, other: Ids) -> int:
    """Count the first tokens that two rows have in common, by halving."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
