"""Permutation p-values of a correlation under the design that was declared.

Units are exchanged freely, only within blocks, by whole clusters, or by relabelling the levels of a
factorial. The statistic is the sum of products after centring x where units may be exchanged, so
that two-sided means as far from the permutation mean as observed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from imprint.errors import DataError

from .arrays import Bools, Floats, Ints, complete
from .correlation import midranks, status
from .shuffles import arrangements, every_total, orders, random_shuffles

TIE = 1e-10
"""Share of the largest possible statistic within which two values are the same."""


@dataclass(frozen=True)
class PermutationResult:
    """Two-sided p-values.

    Attributes:
        p: [B]; NaN where the correlation is undefined or nothing can be exchanged.
        method: what was exchanged, and whether all ways were tried.
        count: number of permutations, the identity included when exact.
    """

    p: Floats
    method: str
    count: int


def permutation_p(
    X: Floats,
    Y: Floats,
    blocks: Ints | None = None,
    count: int = 9999,
    seed: int = 0,
    exact_limit: int = 400_000,
    *,
    ranks: bool = False,
) -> PermutationResult:
    """Permute units within blocks; all benchmarks of the same units share their permutations.

    Args:
        X, Y: [M, B].
        blocks: [M] within which units are exchanged; ``None`` exchanges them freely.
        count: random permutations, where there are more than `exact_limit`.
        seed: of the random permutations.
        exact_limit: most permutations that are enumerated.
        ranks: test Spearman's ρ.

    Returns:
        p per column; (1 + as extreme)/(1 + count) where random.
    """
    X, Y, paired = _prepared(X, Y, ranks)
    block = np.zeros(len(X), np.int64) if blocks is None else np.asarray(blocks)
    possible = arrangements(block[paired.any(axis=1)])
    exact = possible <= exact_limit
    p = np.full(X.shape[1], np.nan)
    for rows, columns in _patterns(paired):
        order = np.argsort(block[rows], kind="stable")
        x, y = X[rows][order][:, columns], Y[rows][order][:, columns]
        labels = block[rows][order]
        x, y = x - _block_means(x, labels), y - _block_means(y, labels)
        if exact:
            p[columns] = _exact_share(x, y, labels)
        else:
            p[columns] = _tail_share(x, y, random_shuffles(labels, count, seed), identity=True)
    within = "free" if blocks is None else "within blocks"
    done = possible if exact else count
    kind = f"all {possible}" if exact else f"{count} random"
    return PermutationResult(p, f"permutation of units, {within}, {kind}", done)


def _prepared(X: Floats, Y: Floats, ranks: bool) -> tuple[Floats, Floats, Bools]:
    """Complete pairs only, columns without a defined correlation blanked, each of unit spread."""
    X, Y, paired = complete(X, Y)
    paired = paired & (status(X, Y) == "ok")
    X, Y = np.where(paired, X, np.nan), np.where(paired, Y, np.nan)
    if ranks:
        X, Y = midranks(X), midranks(Y)
    return _standardised(X, paired), _standardised(Y, paired), paired


def _standardised(X: Floats, paired: Bools) -> Floats:
    n = np.maximum(paired.sum(axis=0), 1)
    X = X - np.sum(X, axis=0, where=paired) / n
    spread = np.sqrt(np.sum(X * X, axis=0, where=paired) / n)
    return np.asarray(X / np.where(spread > 0, spread, 1))


def _patterns(paired: Bools) -> Iterator[tuple[Bools, Ints]]:
    """Rows in use, and the columns that use exactly these; columns without rows are left out."""
    patterns, which = np.unique(paired, axis=1, return_inverse=True)
    for k in range(patterns.shape[1]):
        if patterns[:, k].any():
            yield patterns[:, k], np.flatnonzero(which.reshape(-1) == k)


def _block_means(x: Floats, labels: Ints) -> Floats:
    _, member, size = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.zeros((len(size), x.shape[1]))
    np.add.at(means, member, x)
    return np.asarray((means / size[:, None])[member])


def _exact_share(x: Floats, y: Floats, labels: Ints) -> Floats:
    """As `_tail_share`, over all exchanges within blocks."""
    bound, usable = _bound(x, y)
    shares = [
        np.mean(np.abs(every_total(x[:, b], y[:, b], labels)) >= bound[b])
        for b in range(x.shape[1])
    ]
    return np.where(usable, shares, np.nan)


def _bound(x: Floats, y: Floats) -> tuple[Floats, Bools]:
    """Give the observed |sum of products| less rounding, and where exchanging changes anything."""
    observed = np.abs(np.einsum("mb,mb->b", x, y))
    largest = np.sqrt((x * x).sum(axis=0) * (y * y).sum(axis=0))
    # constant within every block: no exchange changes anything
    return observed - TIE * largest, np.asarray(largest > TIE * len(x))


def _tail_share(x: Floats, y: Floats, shuffles: Ints, *, identity: bool) -> Floats:
    """Share of shuffles whose |sum of products| reaches the observed one, [B].

    Args:
        x, y: [M, B], centred where units may be exchanged.
        shuffles: [R, M] positions.
        identity: count the data themselves too, where the shuffles do not hold them.
    """
    bound, usable = _bound(x, y)
    reached = np.zeros(x.shape[1])
    batch = max(1, 2**18 // max(1, x.size))
    for start in range(0, len(shuffles), batch):
        total = np.einsum("rmb,mb->rb", y[shuffles[start : start + batch]], x)
        reached += (np.abs(total) >= bound).sum(axis=0)
    p = (reached + identity) / (len(shuffles) + identity)
    return np.where(usable, p, np.nan)


def cluster_sign_p(
    X: Floats,
    Y: Floats,
    groups: Ints,
    count: int = 9999,
    seed: int = 0,
    *,
    ranks: bool = False,
) -> PermutationResult:
    """Flip the sign of each cluster's share of the correlation.

    A cluster's score is the sum over its units of the product of both standardised values. Without
    correlation its sign is arbitrary, as far as clusters are exchangeable around the common mean.

    Args:
        X, Y: [M, B].
        groups: [M] cluster of each unit.
        count: random flips, where there are more than 16 clusters.
        seed: of the random flips.
        ranks: test Spearman's ρ.

    Returns:
        p per column; at least 2/2^G for G clusters.
    """
    X, Y, _ = _prepared(X, Y, ranks)
    names, member = np.unique(groups, return_inverse=True)
    scores = np.zeros((len(names), X.shape[1]))
    np.add.at(scores, member.reshape(-1), np.nan_to_num(X * Y))
    exact = len(names) <= 16
    if exact:
        signs = 1 - 2 * ((np.arange(2 ** len(names))[:, None] >> np.arange(len(names))) & 1)
    else:
        signs = 2 * np.random.default_rng(seed).integers(0, 2, (count, len(names))) - 1
    largest = np.abs(scores).sum(axis=0)
    bound = np.abs(scores.sum(axis=0)) - TIE * largest
    reached = (np.abs(signs @ scores) >= bound).sum(axis=0)
    p = (reached + (not exact)) / (len(signs) + (not exact))
    kind = f"all {len(signs)}" if exact else f"{count} random"
    usable = (largest > 0) & (len(names) > 1)
    method = f"sign flips of {len(names)} clusters, {kind}"
    return PermutationResult(np.where(usable, p, np.nan), method, len(signs))


def relabel_p(
    X: Floats, Y: Floats, rows: Ints, cols: Ints, *, ranks: bool = False
) -> PermutationResult:
    """Relabel whole rows and whole columns of a complete factorial with one unit per cell.

    Args:
        X, Y: [M, B].
        rows, cols: [M] levels of the two factors.
        ranks: test Spearman's ρ.

    Returns:
        Exact p per column over all relabellings, 36 for 3 × 3; NaN where a cell is missing.

    Raises:
        DataError: the units do not fill each cell of the factorial exactly once, or there are more
            than a million relabellings.
    """
    row, col = (np.unique(levels, return_inverse=True)[1].reshape(-1) for levels in (rows, cols))
    height, width = int(row.max(initial=-1)) + 1, int(col.max(initial=-1)) + 1
    cells = row * width + col
    if not np.array_equal(np.sort(cells), np.arange(height * width)):
        raise DataError(
            f"{len(cells)} units do not fill a {height} × {width} factorial once per cell",
            remedy="average replicates and leave out incomplete levels, or declare other factors",
        )
    possible = math.factorial(height) * math.factorial(width)
    if possible > 10**6:
        raise DataError(
            f"a {height} × {width} factorial has {possible} relabellings, too many to try",
            remedy="declare one factor, so that units are exchanged within its levels",
        )
    X, Y, paired = _prepared(X, Y, ranks)
    order = np.argsort(cells)
    moved = orders(height)[:, None, :, None] * width + orders(width)[None, :, None, :]
    full = paired.all(axis=0)
    p = np.full(X.shape[1], np.nan)
    shuffles = moved.reshape(possible, -1)
    p[full] = _tail_share(X[order][:, full], Y[order][:, full], shuffles, identity=False)
    return PermutationResult(p, f"relabelling of rows and columns, all {possible}", possible)
