"""Random controls: as many rows as a chosen set, of the same domains, about as long."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl

Draw = Callable[[float], npt.NDArray[np.int64]]
Floats = npt.NDArray[np.float64]
STEEPEST = 20.0  # standard deviations of length by which a draw may lean
HALVINGS = 40


def random_control(eligible: pl.DataFrame, chosen: pl.DataFrame, *, seed: list[int]) -> pl.Series:
    """Draw a control of a set.

    Within each domain as many rows are drawn at random as the set has. Where the set's rows are
    longer (or shorter) than others, draws lean to longer (shorter) rows, by weights exp(λ·length)
    with the one λ that brings the total nearest to the set's: the least lean that does.

    Args:
        eligible: rows that the set could have had, itself included: ``row``, ``domain``,
            ``length``.
        chosen: the set, with the same columns.
        seed: of the draw.

    Returns:
        ``row`` of the drawn, in random order.
    """
    if chosen.is_empty():
        return eligible["row"].clear()
    rng = np.random.default_rng(seed)
    frame = eligible.select("row", "domain", "length").sort("domain", "row")
    wanted = dict(chosen.group_by("domain").len().iter_rows())
    noise = rng.gumbel(size=len(frame))  # the largest keys are a draw without replacement
    lengths = frame["length"].to_numpy()
    spread = float(lengths.std()) or 1.0
    groups = _groups(frame["domain"], wanted)
    target = float(chosen["length"].sum())

    def draw(lean: float) -> npt.NDArray[np.int64]:
        keys = noise + lean * lengths / spread
        return np.concatenate([_largest(keys, start, stop, m) for start, stop, m in groups])

    return frame["row"].gather(rng.permutation(_nearest(draw, lengths, target)))


def _groups(domains: pl.Series, wanted: dict[str, int]) -> list[tuple[int, int, int]]:
    found, start = [], 0
    for domain, count in domains.rle().struct.unnest().select("value", "len").iter_rows():
        if wanted.get(domain):
            found.append((start, start + count, min(wanted[domain], count)))
        start += count
    return found


def _largest(keys: Floats, start: int, stop: int, count: int) -> npt.NDArray[np.int64]:
    part = np.argpartition(keys[start:stop], stop - start - count)[stop - start - count :]
    return np.asarray(start + np.sort(part), dtype=np.int64)


def _nearest(draw: Draw, lengths: Floats, target: float) -> npt.NDArray[np.int64]:
    """Bisect the lean; the total grows with it."""
    low, high = -STEEPEST, STEEPEST
    best = draw(0.0)
    gap = lengths[best].sum() - target
    for _ in range(HALVINGS):
        if abs(gap) <= 1e-3 * abs(target):
            break
        middle = 0.0 if (low, high) == (-STEEPEST, STEEPEST) else (low + high) / 2
        found = draw(middle)
        off = lengths[found].sum() - target
        if abs(off) < abs(gap):
            best, gap = found, off
        low, high = (middle, high) if off < 0 else (low, middle)
    return best
