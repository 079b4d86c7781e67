"""Requests that share their beginnings, laid out as one tree of tokens.

A token that several requests read after the same beginning stands once. Each sees its ancestors
alone and has its depth as its position, so a model reads from the tree what it reads from each
request by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from imprint.models.requests import Request

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """A tree, or several, of the tokens of requests; those that predict a target stand last.

    Attributes:
        tokens: ids, [N].
        depths: how many tokens stand before each, [N].
        sees: which tokens (columns) each token (row) attends to, itself included, [N, N].
        answers: for each request the places where its targets are predicted, [targets].
        wanted: how many of the last places predict a target.
    """

    tokens: Integers
    depths: Integers
    sees: npt.NDArray[np.bool_]
    answers: list[Integers]
    wanted: int


def grow(requests: Sequence[Request], skip: int = 0) -> Tree:
    """Lay requests out as a tree.

    Args:
        requests: at least one.
        skip: first tokens that all have in common and that are left out; fewer than any context.
    """
    rows = [np.array(one.ids[skip:], dtype=np.int64) for one in requests]
    order = sorted(range(len(rows)), key=lambda n: requests[n].ids)
    kept = [0, *(common(rows[a], rows[b]) for a, b in pairwise(order))]
    size = sum(map(len, rows)) - sum(kept)
    tokens, depths = np.zeros(size, np.int64), np.zeros(size, np.int64)
    sees = np.zeros((size, size), bool)
    paths: dict[int, Integers] = {}
    used, path = 0, np.zeros(0, np.int64)
    for at, shared in zip(order, kept, strict=True):
        new = np.arange(used, used + len(rows[at]) - shared)
        tokens[new], depths[new] = rows[at][shared:], np.arange(shared, len(rows[at]))
        sees[np.ix_(new, path[:shared])] = True
        sees[np.ix_(new, new)] = np.tri(len(new), dtype=bool)
        paths[at] = path = np.concatenate([path[:shared], new])
        used += len(new)
    answers = [paths[at][len(rows[at]) - len(one.targets) :] for at, one in enumerate(requests)]
    wanted = np.unique(np.concatenate(answers))
    last = np.concatenate([np.setdiff1d(np.arange(size), wanted), wanted])
    places = np.argsort(last)
    return Tree(
        tokens[last],
        depths[last],
        sees[np.ix_(last, last)],
        [places[answer] for answer in answers],
        len(wanted),
    )


def common(one: Integers, other: Integers) -> int:
    """Count the first tokens that two rows have in common.

    >>> common(np.array([1, 2, 3]), np.array([1, 2, 4, 5]))
    2
    """
    length = min(len(one), len(other))
    differs = one[:length] != other[:length]
    return int(differs.argmax()) if differs.any() else length
