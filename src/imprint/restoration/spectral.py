"""Spectral repair: of each matrix' change, keep the singular values that stand above noise.

DG-Hard (arXiv 2605.20296) takes the singular values of Δ = tuned − base and keeps those above the
optimal hard threshold for a matrix of independent noise, whose level the median singular value
tells (Gavish and Donoho 2014).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from imprint.checkpoints import Checkpoint
from imprint.checkpoints.dtypes import FLOATS, Array, Float32, from_float32, to_float32
from imprint.errors import CheckpointError
from imprint.executors import Executor
from imprint.progress import Bar, Silent
from imprint.restoration.parts import Chunk, Part, chunks
from imprint.restoration.rules import Rule
from imprint.stats.products import one_blas_thread

SMALLEST = 1024  # weights of a matrix below which no noise level is told
FAINTEST = 1e-8  # a largest change that counts as none
HELD = 1 << 30  # bytes of factors kept from planning to writing; beyond, they are computed anew


@dataclass(frozen=True, slots=True)
class Factors:
    """The strongest part of a change: Δ ≈ left @ right.

    Attributes:
        left: left singular vectors times singular values, [rows, k].
        right: right singular vectors, [k, columns].
    """

    left: Float32
    right: Float32

    def product(self, rank: int) -> Float32:
        """Give the best approximation of a rank, [rows, columns]."""
        # copies: the bits must not depend on how many further values are held
        return np.ascontiguousarray(self.left[:, :rank]) @ np.ascontiguousarray(self.right[:rank])


@dataclass(frozen=True, slots=True)
class Repair:
    """What is kept of one matrix' change at each strength.

    Attributes:
        part: where the matrix lies.
        matrix: its number in a stack of experts, ``None`` for a plain matrix.
        shape: rows and columns.
        norm: ‖Δ‖, Frobenius.
        noise: standard deviation of the noise per weight.
        threshold: at strength 1.
        ranks: singular values kept, per strength.
        removed: Frobenius norm of what is removed, per strength.
        factors: for the largest of these ranks, where memory allows.
    """

    part: Part
    matrix: int | None
    shape: tuple[int, int]
    norm: float
    noise: float
    threshold: float
    ranks: tuple[int, ...]
    removed: tuple[float, ...]
    factors: Factors | None = None


def omega(ratio: float) -> float:
    """Give the optimal threshold in units of the noise (Gavish and Donoho 2014).

    Args:
        ratio: shorter over longer side, above 0 to 1.
    """
    root = math.sqrt(ratio**2 + 14 * ratio + 1)
    return math.sqrt(2 * (ratio + 1) + 8 * ratio / (ratio + 1 + root))


@lru_cache(maxsize=1024)
def mu(ratio: float) -> float:
    """Give the median singular value of noise: the root of the Marchenko-Pastur median.

    Args:
        ratio: shorter over longer side, above 0 to 1. The noise has variance 1 / longer side.
    """
    from scipy import integrate, optimize  # a quarter of a second, and few commands need them

    root = math.sqrt(ratio)

    def value(t: float) -> float:  # a variable in which the density is smooth at both ends
        return (1 - root) ** 2 + 4 * root * math.sin(t / 2) ** 2

    def density(t: float) -> float:
        return 2 / math.pi * math.sin(t) ** 2 / value(t)

    def beyond_half(t: float) -> float:
        return float(integrate.quad(density, 0, t)[0]) - 0.5

    middle = float(optimize.brentq(beyond_half, 1e-6, math.pi, xtol=1e-14))
    return math.sqrt(value(middle))


def threshold(values: Float32, shape: tuple[int, int]) -> tuple[float, float]:
    """Give the noise per weight and the threshold at strength 1.

    Args:
        values: all singular values, [shorter side].
        shape: rows and columns.
    """
    ratio = min(shape) / max(shape)
    level = float(np.median(values)) / mu(ratio)
    return level / math.sqrt(max(shape)), omega(ratio) * level


def matrix_of(shape: Sequence[int]) -> tuple[int, int] | None:
    """Give rows and columns of a matrix, or of each in a stack of experts; else ``None``.

    One row or column alone has a single singular value, which tells nothing about noise.
    """
    if len(shape) not in (2, 3) or min(shape[-2:]) < 2:
        return None
    return shape[-2], shape[-1]


def piece(part: Part) -> int | None:
    """Give the weights of a part that are worked on together; ``None`` where none need be."""
    shape = matrix_of(part.pair.shape)
    return math.prod(shape) if shape and math.prod(shape) >= SMALLEST else None


def repairs(
    base: Checkpoint,
    tuned: Checkpoint,
    parts: Iterable[Part],
    strengths: Sequence[float],
    executor: Executor,
    bar: Bar | None = None,
) -> list[Repair]:
    """Decompose the change of every matrix in the region, one matrix per worker at a time.

    Args:
        base, tuned, parts: what to read.
        strengths: multiples of the threshold.
        executor: works on several matrices at the same time.
        bar: told of weights.

    Returns:
        In flat order. Matrices of fewer than 1,024 weights or whose largest change is at most
        1e-8 are left out: they keep their tuned weights.

    Raises:
        CheckpointError: values that are not finite, or a decomposition that does not converge.
    """
    found: list[Repair] = []
    held, bar = 0, bar or Silent()
    looked = [part for part in parts if piece(part) and _floats(base, tuned, part)]
    with one_blas_thread():
        every = executor.map_in_order(
            lambda number: _repairs(base, tuned, looked[number], strengths), range(len(looked))
        )
        for part, several in zip(looked, every, strict=True):
            for repair in several:
                size = _bytes(repair.factors)
                keep = held + size <= HELD
                held += size if keep else 0
                found.append(repair if keep else replace(repair, factors=None))
            bar.advance(part.pair.elements)
    return found


def repaired(found: Iterable[Repair], at: int, tuned: Checkpoint) -> Rule:
    """Put base + what is kept of the change in the place of every decomposed matrix.

    Where all is kept, the tuned weights keep their bits; where nothing is, the base's come back.

    Args:
        found: from ``repairs``.
        at: which of the strengths.
        tuned: gives the type to round to.
    """
    known = {(repair.part.number, repair.matrix or 0): repair for repair in found}

    def rule(chunk: Chunk) -> tuple[Array, int]:
        size = piece(chunk.part)
        repair = known.get((chunk.part.number, chunk.start // size)) if size else None
        if repair is None or not repair.removed[at]:
            return chunk.stored, 0
        if not repair.ranks[at]:
            return chunk.original, len(chunk.stored)
        return _rebuilt(chunk, repair, at, tuned), 0

    return rule


def totals(found: Iterable[Repair], at: int) -> dict[str, Any]:
    """Say what one strength does: matrices, ranks and the share of ‖Δ‖² that is removed."""
    found = list(found)
    whole = sum(repair.norm**2 for repair in found)
    gone = sum(repair.removed[at] ** 2 for repair in found)
    return {
        "matrices": len(found),
        "rank": sum(repair.ranks[at] for repair in found),
        "full_rank": sum(min(repair.shape) for repair in found),
        "removed": gone / whole if whole else 0.0,
    }


def decompose(change: Float32, where: str) -> tuple[Float32, Float32, Float32]:
    """Give left vectors, singular values and right vectors, thin, in float32 (LAPACK gesdd).

    Raises:
        CheckpointError: it does not converge.
    """
    try:
        left, values, right = np.linalg.svd(change, full_matrices=False)
    except np.linalg.LinAlgError as failed:
        raise CheckpointError(f"the change has no spectrum: {failed}", where=where) from None
    return left, values, right


def _repairs(
    base: Checkpoint, tuned: Checkpoint, part: Part, strengths: Sequence[float]
) -> list[Repair]:
    found, shape = [], matrix_of(part.pair.shape) or ()
    for chunk in chunks(base, tuned, part, math.prod(shape)):
        change = _change(chunk, tuned).reshape(shape)
        if np.abs(change).max() > FAINTEST:
            found.append(_repair(chunk, change, strengths))
    return found


def _repair(chunk: Chunk, change: Float32, strengths: Sequence[float]) -> Repair:
    shape = (change.shape[0], change.shape[1])
    left, values, right = decompose(change, f"tensor {chunk.part.pair.name!r}")
    noise, unit = threshold(values, shape)
    ranks = tuple(int(np.count_nonzero(values > strength * unit)) for strength in strengths)
    squares = np.square(values, dtype=np.float64)
    removed = tuple(math.sqrt(squares[rank:].sum()) for rank in ranks)
    most = max(rank if lost else 0 for rank, lost in zip(ranks, removed, strict=True))
    stacked = len(chunk.part.pair.shape) == 3
    return Repair(
        chunk.part,
        chunk.start // change.size if stacked else None,
        shape,
        math.sqrt(squares.sum()),
        noise,
        unit,
        ranks,
        removed,
        _factors(left, values, right, most) if most else None,
    )


def _factors(left: Float32, values: Float32, right: Float32, rank: int) -> Factors:
    return Factors(left[:, :rank] * values[:rank], right[:rank].copy())


def _rebuilt(chunk: Chunk, repair: Repair, at: int, tuned: Checkpoint) -> Array:
    name = chunk.part.pair.tuned.name
    dtype = tuned.info(name).dtype
    with one_blas_thread():
        factors, rank = repair.factors, repair.ranks[at]
        if factors is None:
            change = _change(chunk, tuned).reshape(repair.shape)
            factors = _factors(*decompose(change, f"tensor {name!r}"), rank)
        kept = factors.product(rank).reshape(-1)
    moved = from_float32(chunk.base + kept, dtype)
    tuned.refuse_not_finite(name, to_float32(moved, dtype))
    return moved


def _change(chunk: Chunk, tuned: Checkpoint) -> Float32:
    with np.errstate(over="ignore"):
        change: Float32 = chunk.tuned - chunk.base
    tuned.refuse_not_finite(chunk.part.pair.tuned.name, change, chunk.start)
    return change


def _floats(base: Checkpoint, tuned: Checkpoint, part: Part) -> bool:
    kinds = base.info(part.pair.base.name).dtype, tuned.info(part.pair.tuned.name).dtype
    return all(kind in FLOATS for kind in kinds)


def _bytes(factors: Factors | None) -> int:
    return factors.left.nbytes + factors.right.nbytes if factors else 0
