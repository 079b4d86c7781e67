"""Ways to exchange labelled things, all of them or a random sample."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np

from .arrays import Floats, Ints


def arrangements(labels: Ints) -> int:
    """Number of ways to exchange units within blocks."""
    return math.prod(math.factorial(int(k)) for k in np.unique(labels, return_counts=True)[1])


def every_shuffle(labels: Ints) -> Ints:
    """All exchanges of units sorted by block: [R, M] positions, the identity among them."""
    rows, start = np.zeros((1, 0), np.int64), 0
    for size in np.unique(labels, return_counts=True)[1]:
        block = orders(int(size)) + start
        pairs = (np.repeat(rows, len(block), axis=0), np.tile(block, (len(rows), 1)))
        rows, start = np.hstack(pairs), start + int(size)
    return rows


@cache
def orders(size: int) -> Ints:
    """[size!, size] all orders of range(size); kept, so never write into it."""
    flat = itertools.chain.from_iterable(itertools.permutations(range(size)))
    ways = math.factorial(size)
    return np.fromiter(flat, np.int64, ways * size).reshape(ways, size)


def every_total(x: Floats, y: Floats, labels: Ints) -> Floats:
    """Sums of products under all exchanges within blocks, as `every_shuffle` gives them, unordered.

    Blocks are exchanged apart, and within a block the first half of the positions apart from the
    second for each choice of what goes there, so that sums are added and not computed anew.

    Args:
        x, y: [M], sorted by block.
        labels: [M] blocks.

    Returns:
        [R].
    """
    totals, start = np.zeros(1), 0
    for size in np.unique(labels, return_counts=True)[1]:
        part = slice(start, start := start + int(size))
        totals = np.add.outer(totals, _block_totals(x[part], y[part])).ravel()
    return totals


def _block_totals(x: Floats, y: Floats) -> Floats:
    first, second = _halves(len(x))
    half = first.shape[-1]
    return np.asarray((y[first] @ x[:half])[:, :, None] + (y[second] @ x[half:])[:, None]).ravel()


@cache
def _halves(size: int) -> tuple[Ints, Ints]:
    """Every choice for the first half in every order, [C, h!, h], and the rest likewise."""
    half, ways = size // 2, math.comb(size, size // 2)
    picked = list(itertools.combinations(range(size), half))
    chosen = np.array(picked, np.int64).reshape(ways, half)
    rest = np.array([sorted(set(range(size)) - set(one)) for one in picked], np.int64)
    return chosen[:, orders(half)], rest.reshape(ways, size - half)[:, orders(size - half)]


def random_shuffles(labels: Ints, count: int, seed: int) -> Ints:
    """[count, M] random exchanges of units sorted by block."""
    _, member = np.unique(labels, return_inverse=True)
    keys = np.random.default_rng(seed).random((count, len(labels)))
    return np.argsort(keys + member.reshape(-1), axis=1)
