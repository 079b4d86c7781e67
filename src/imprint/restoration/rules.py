"""What becomes of a chunk of tuned weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from imprint.checkpoints import Checkpoint
from imprint.checkpoints.dtypes import Array, Float32, from_float32, to_float32
from imprint.executors import Executor
from imprint.restoration import kernels
from imprint.restoration.mask import Cut, Scores
from imprint.restoration.methods import Scorer, uniform
from imprint.restoration.parts import Chunk, Part, chunks

Rule = Callable[[Chunk], tuple[Array, int]]  # the new values, and how many of them are put back


def selected(scorer: Scorer, cuts: dict[str, Cut]) -> Rule:
    """Put the selected weights back to base; all others keep their bits."""

    def rule(chunk: Chunk) -> tuple[Array, int]:
        mask = cuts[chunk.part.group].mask(chunk.part.number, chunk.start, scorer(chunk))
        values = np.empty_like(chunk.stored)
        bits = f"u{values.itemsize}"
        columns = (array.view(bits) for array in (chunk.original, chunk.stored, values))
        return values, int(kernels.put_back(mask, *columns))

    return rule


def interpolated(weights: dict[str, float], tuned: Checkpoint) -> Rule:
    """Shrink every change: p + α Δ, with α of the group, in float32."""

    def rule(chunk: Chunk) -> tuple[Array, int]:
        weight = weights[chunk.part.group]
        if weight in (0, 1):
            return _whole(chunk, back=not weight)
        return _moved(chunk, np.float32(weight), tuned), 0

    return rule


def dropped(share: float, seed: int, tuned: Checkpoint) -> Rule:
    """Drop every change with probability q and scale the rest by 1/(1 - q) (DARE, 2311.03099)."""

    def rule(chunk: Chunk) -> tuple[Array, int]:
        if share in (0, 1):
            return _whole(chunk, back=bool(share))
        drawn = uniform(seed, chunk.part.pair.name, chunk.start, len(chunk.base))
        kept = _moved(chunk, np.float32(1 / (1 - share)), tuned)
        gone = drawn < np.float32(share)
        return np.where(gone, chunk.original, kept), int(np.count_nonzero(gone))

    return rule


def matched_weights(
    scores: Scores, cuts: Sequence[dict[str, Cut]], executor: Executor
) -> list[dict[str, float]]:
    """Give the weight of interpolation that leaves as much of ‖Δ‖ as a restoration does.

    A restoration that removes the share R of ‖Δ‖² leaves √(1 - R) ‖Δ‖; so does p + √(1 - R) Δ.

    Returns:
        One dictionary per ratio: group → α. Where nothing changed, α is 1.
    """
    numbers = range(len(scores.parts))
    norms = executor.map_in_order(lambda n: _norms(scores, cuts, scores.parts[n]), numbers)
    total: dict[str, float] = {}
    removed: list[dict[str, float]] = [{} for _ in cuts]
    for part, (whole, gone) in zip(scores.parts, norms, strict=True):
        total[part.group] = total.get(part.group, 0.0) + whole
        for sums, value in zip(removed, gone, strict=True):
            sums[part.group] = sums.get(part.group, 0.0) + value
    return [
        {group: _remaining(sums[group], whole) for group, whole in total.items()}
        for sums in removed
    ]


def _norms(scores: Scores, cuts: Sequence[dict[str, Cut]], part: Part) -> tuple[float, list[float]]:
    whole, gone = 0.0, [0.0] * len(cuts)
    for chunk in chunks(scores.base, scores.tuned, part):
        square = np.square(chunk.tuned.astype(np.float64) - chunk.base)
        ranked = scores.scorer(chunk)
        whole += float(square.sum())
        for at, cut in enumerate(cuts):
            gone[at] += float(square[cut[part.group].mask(part.number, chunk.start, ranked)].sum())
    return whole, gone


def _remaining(removed: float, whole: float) -> float:
    return math.sqrt(max(0.0, 1 - removed / whole)) if whole else 1.0


def _whole(chunk: Chunk, *, back: bool) -> tuple[Array, int]:
    return (chunk.original, len(chunk.stored)) if back else (chunk.stored, 0)


def _moved(chunk: Chunk, weight: np.float32, tuned: Checkpoint) -> Array:
    name = chunk.part.pair.tuned.name
    dtype = tuned.info(name).dtype
    with np.errstate(over="ignore"):  # refused below
        change = chunk.tuned - chunk.base
        values: Float32 = chunk.base + weight * change
    moved = from_float32(values, dtype)
    tuned.refuse_not_finite(name, to_float32(moved, dtype))
    return np.where(change == 0, chunk.stored, moved)
