"""The inner loops of counting, compiled; each lets other threads run beside it.

They take slices and pieces of a few thousand values on purpose: inside a slice the compiler can
prove that an index is in bounds, and uses vector instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from imprint.checkpoints.dtypes import Float32

UInt32 = npt.NDArray[np.uint32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.unsignedinteger[Any]]
PIECE = 4096  # values whose scores stay in the fastest cache
ONE = 1 << 40  # a count of one, above the sum of up to 2^23 lower halves
SIGNLESS = np.uint32(0x7FFF)  # keeps any index inside, also where the sign is set
LARGEST = np.finfo(np.float32).max  # stands in for scores beyond float32

compiled: Callable[..., Any] = numba.njit(nogil=True, cache=True, error_model="numpy")
summed: Callable[..., Any] = numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})


@compiled
def score_changes(
    base: Float32,
    tuned: Float32,
    eps: np.float32,
    within: np.float32,
    relative: Float32,
    absolute: Float32,
) -> tuple[int, int]:
    """Write |Δ| / (|base| + eps) and |Δ|, [n]; give how many are unchanged bit by bit, and within.

    Args:
        base, tuned: finite, [n].
        eps: positive.
        within: changes up to this are counted.
        relative, absolute: filled, [n].
    """
    unchanged, near = 0, 0
    bits, other = base.view(np.uint32), tuned.view(np.uint32)
    relative_changes(base, tuned, eps, relative)
    absolute_changes(base, tuned, absolute)
    for i in range(base.size):
        unchanged += bits[i] == other[i]
        near += absolute[i] <= within
    return unchanged, near


@compiled
def relative_changes(base: Float32, tuned: Float32, eps: np.float32, scores: Float32) -> None:
    """Write |Δ| / (|base| + eps), [n]."""
    for i in range(base.size):
        score = abs(tuned[i] - base[i]) / (abs(base[i]) + eps)
        scores[i] = score if score < LARGEST else LARGEST


@compiled
def absolute_changes(base: Float32, tuned: Float32, scores: Float32) -> None:
    """Write |Δ|, [n]."""
    for i in range(base.size):
        score = abs(tuned[i] - base[i])
        scores[i] = score if score < LARGEST else LARGEST


@compiled
def put_back(mask: Mask, original: Bits, stored: Bits, values: Bits) -> int:
    """Write the original values where the mask is set, else the stored; give how many are set."""
    count = 0
    for i in range(mask.size):
        values[i] = original[i] if mask[i] else stored[i]
        count += mask[i]
    return count


@summed
def sum_of_squares(values: Float32) -> float:
    """Give Σ x² in float64."""
    total = 0.0
    for i in range(values.size):
        wide = np.float64(values[i])
        total += wide * wide
    return total


@summed
def sum_of(values: Float32) -> float:
    """Give Σ x in float64."""
    total = 0.0
    for i in range(values.size):
        total += np.float64(values[i])
    return total


@compiled
def count(keys: UInt32, packed: Int64) -> None:
    """Count scores by the upper half of their bits, and sum the lower halves.

    Args:
        keys: the bits of scores, none negative, [n].
        packed: per upper half, [2^15]: ONE times the count, plus the sum. It holds 2^23 - 1 scores.
    """
    for i in range(keys.size):
        key = keys[i]
        packed[key >> np.uint32(16) & SIGNLESS] += ONE + np.int64(key & np.uint32(0xFFFF))


@compiled
def count_weighted(keys: UInt32, changes: Float32, packed: Int64, weight: Float64) -> None:
    """Count as ``count``, and sum the squares of the changes, [n], into ``weight``, [2^15]."""
    for i in range(keys.size):
        key = keys[i]
        at = key >> np.uint32(16) & SIGNLESS
        packed[at] += ONE + np.int64(key & np.uint32(0xFFFF))
        change = np.float64(changes[i])
        weight[at] += change * change


@compiled
def _hits(keys: UInt32, first: Int32, hits: Int32) -> int:
    """List the scores that lie in a window, without a branch to be guessed wrongly."""
    found = 0
    for i in range(keys.size):
        key = keys[i]
        hits[found] = i
        found += np.int32(key & np.uint32(0xFFFF)) >= first[key >> np.uint32(16) & SIGNLESS]
    return found


@compiled
def count_finely(keys: UInt32, first: Int32, starts: Int64, counts: Int64) -> None:
    """Count scores by the lower half of their bits, inside windows.

    Args:
        keys: the bits of scores, [n].
        first: upper half → first lower half that is counted; 2^16 where none is, [2^15].
        starts: upper half → where the count of lower half 0 would lie, [2^15].
        counts: of all windows, one behind the other.
    """
    hits = np.empty(PIECE + 1, np.int32)
    for start in range(0, keys.size, PIECE):
        piece = keys[start : start + PIECE]
        for j in range(_hits(piece, first, hits)):
            key = piece[hits[j]]
            low = np.int64(key & np.uint32(0xFFFF))
            counts[starts[key >> np.uint32(16) & SIGNLESS] + low] += 1


@compiled
def count_finely_weighted(
    keys: UInt32, changes: Float32, first: Int32, starts: Int64, counts: Int64, weights: Float64
) -> None:
    """Count as ``count_finely``, and sum the squares of the changes, [n], in the same places."""
    hits = np.empty(PIECE + 1, np.int32)
    for start in range(0, keys.size, PIECE):
        piece, moved = keys[start : start + PIECE], changes[start : start + PIECE]
        for j in range(_hits(piece, first, hits)):
            key, change = piece[hits[j]], np.float64(moved[hits[j]])
            low = np.int64(key & np.uint32(0xFFFF))
            place = starts[key >> np.uint32(16) & SIGNLESS] + low
            counts[place] += 1
            weights[place] += change * change


@compiled
def count_permuted(changes: Float32, order: Int32, inverse: Float32, packed: Int64) -> None:
    """Count |Δ| / (|base| + eps) with the changes in another order, as ``count``.

    Args:
        changes: |Δ|, [n].
        order: which change goes where, [n].
        inverse: 1 / (|base| + eps), [n].
        packed: as in ``count``.
    """
    scores = np.empty(PIECE, np.float32)
    keys = scores.view(np.uint32)
    for start in range(0, order.size, PIECE):
        here = order[start : start + PIECE]
        scale = inverse[start : start + PIECE]
        for i in range(here.size):
            score = changes[here[i]] * scale[i]
            scores[i] = score if score < LARGEST else LARGEST
        for i in range(here.size):
            key = keys[i]
            packed[key >> np.uint32(16) & SIGNLESS] += ONE + np.int64(key & np.uint32(0xFFFF))


@compiled
def count_changes(
    base: Float32,
    tuned: Float32,
    limits: tuple[np.float32, np.float32],
    coarse: tuple[Int64, Float64, Int64],
    relative_windows: tuple[Any, ...],
    absolute_windows: tuple[Any, ...],
    moved: Float32,
    inverse: Float32,
) -> tuple[int, int, float, float, float, float]:
    """Count the scores of changes, a piece at a time so that all of it stays in the fastest cache.

    Args:
        base, tuned: finite, [n].
        limits: eps, and the change up to which weights count as near.
        coarse: packed counts and weights of relative change, packed counts of absolute change.
        relative_windows, absolute_windows: what ``count_finely_weighted`` takes after the changes,
            and ``count_finely`` after the scores.
        moved: filled with |Δ|, [n].
        inverse: filled with 1 / (|base| + eps), [n].

    Returns:
        How many are unchanged and near; Σ base², Σ relative, Σ absolute and Σ Δ².
    """
    eps, within = limits
    same, near, squares, sums, lengths_sum, changed = 0, 0, 0.0, 0.0, 0.0, 0.0
    scores, changes = np.empty(PIECE, np.float32), np.empty(PIECE, np.float32)
    for start in range(0, base.size, PIECE):
        before, after = base[start : start + PIECE], tuned[start : start + PIECE]
        size, scale = moved[start : start + PIECE], inverse[start : start + PIECE]
        score, change = scores[: before.size], changes[: before.size]
        for i in range(before.size):
            change[i] = after[i] - before[i]
            scale[i] = np.float32(1) / (abs(before[i]) + eps)
        one, other = score_changes(before, after, eps, within, score, size)
        same += one
        near += other
        squares += sum_of_squares(before)
        sums += sum_of(score)
        lengths_sum += sum_of(size)
        changed += sum_of_squares(change)
        keys, lengths = score.view(np.uint32), size.view(np.uint32)
        count_weighted(keys, change, coarse[0], coarse[1])
        count(lengths, coarse[2])
        count_finely_weighted(keys, change, *relative_windows)
        count_finely(lengths, *absolute_windows)
    return same, near, squares, sums, lengths_sum, changed
