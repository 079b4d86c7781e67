"""Counting the changes of groups of tensors, in every tuned checkpoint, each byte read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from imprint.checkpoints import Checkpoint
from imprint.checkpoints.dtypes import Float32
from imprint.restoration.config import DiffConfig
from imprint.restoration.histogram import Histogram, Totals, values
from imprint.restoration.kernels import Float64, Int64
from imprint.restoration.nulls import Pairing, pairing
from imprint.restoration.sites import Group, Site, change
from imprint.restoration.sites import values as read_values
from imprint.restoration.windows import Inside

WITHIN = np.float32(1e-5)
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Profile:
    """How many scores of a group lie in or beyond a window, and where inside it.

    Attributes:
        above: scores above the window's coarse bin.
        keys, counts: the values that occur in it, and how often.
    """

    above: int
    keys: Float64
    counts: Float64

    def beyond(self, value: float) -> tuple[int, int]:
        """Count the scores strictly above a value of the window, and those equal to it."""
        above = self.above + int(self.counts[self.keys > value].sum())
        return above, int(self.counts[self.keys == value].sum())


@dataclass(frozen=True, slots=True)
class Part:
    """What is kept of one group for one tuned checkpoint.

    Attributes:
        parameters: scores counted.
        profiles: coarse bin → profile of the relative scores.
    """

    parameters: int
    profiles: dict[int, Profile]


@dataclass
class Tally:
    """What was counted in one tuned checkpoint.

    Attributes:
        relative, absolute: scores by their bits; relative ones with the squared change as weight.
        permuted: relative scores of each permutation, coarse.
        tensors: one row per tensor, with the fields of ``Totals``.
        parts: one per group.
    """

    relative: Histogram
    absolute: Histogram
    permuted: list[Histogram] = field(default_factory=list)
    tensors: list[Row] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    def total(self, field: str) -> Any:
        """Sum a field of the rows."""
        return sum(row[field] for row in self.tensors)

    def merge(self, other: Tally) -> None:
        """Add the counts of further groups."""
        self.relative.merge(other.relative)
        self.absolute.merge(other.absolute)
        for mine, theirs in zip(self.permuted, other.permuted, strict=True):
            mine.merge(theirs)
        self.tensors += other.tensors
        self.parts += other.parts


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is counted finely: windows of both scores, and the coarse bins kept for each group."""

    relative: Mapping[int, int] = field(default_factory=dict)
    absolute: Mapping[int, int] = field(default_factory=dict)
    kept: tuple[int, ...] = ()


@dataclass
class Counted:
    """The counts of some groups.

    Attributes:
        tallies: one per tuned checkpoint.
        products: Σ Δᵢ Δⱼ of every two tuned checkpoints, [tuned, tuned].
    """

    tallies: list[Tally]
    products: Float64

    def merge(self, other: Counted) -> None:
        """Add the counts of further groups."""
        for mine, theirs in zip(self.tallies, other.tallies, strict=True):
            mine.merge(theirs)
        self.products += other.products


class Counter:
    """Counts groups of two or more checkpoints; used from several threads.

    Args:
        base: the one before.
        tuned: those after.
        config: which scores.
    """

    def __init__(self, base: Checkpoint, tuned: Sequence[Checkpoint], config: DiffConfig):
        self.base, self.tuned, self.config = base, list(tuned), config
        self.limits = np.float32(config.eps), WITHIN

    def empty(self, wanted: Sequence[Wanted], draws: int) -> Counted:
        """Give counts of nothing; ``wanted`` has one entry per tuned checkpoint."""
        tallies = [
            Tally(
                Histogram(own.relative, weighted=True),
                Histogram(own.absolute),
                [Histogram() for _ in range(draws)],
            )
            for own in wanted
        ]
        return Counted(tallies, np.zeros((len(self.tuned), len(self.tuned))))

    def count(self, groups: Sequence[Group], wanted: Sequence[Wanted], draws: int) -> Counted:
        """Count some groups, with ``draws`` permutations.

        Raises:
            CheckpointError: a value is NaN or infinite, or a file became shorter.
        """
        found = self.empty(wanted, draws)
        for group in groups:
            before = [_state(t, own) for t, own in zip(found.tallies, wanted, strict=True)]
            with np.errstate(over="ignore"):
                for site in group.sites:
                    self._count_site(site, found, draws)
            for tally, own, old in zip(found.tallies, wanted, before, strict=True):
                tally.parts.append(_part(old, _state(tally, own)))
        return found

    def sample(self, site: Site, number: int, size: int) -> tuple[Float32, Float32]:
        """Read a few pieces of a site: base and tuned weights, [about size]."""
        pieces = max(1, min(8, site.elements // max(size, 1)))
        length = max(size // pieces, 1)
        starts = np.linspace(0, max(site.elements - length, 0), pieces).astype(int)
        base, after = [], []
        for start in map(int, starts):
            stop = min(start + length, site.elements)
            base.append(read_values(self.base, site.base, start, stop))
            after.append(read_values(self.tuned[number], site.tuned[number], start, stop))
        return np.concatenate(base), np.concatenate(after)

    def _count_site(self, site: Site, found: Counted, draws: int) -> None:
        pairs = pairing(site.elements, draws, self.config.seed, site.name)
        rows = {number: _row(site) for number in site.tuned}
        seen = {number: self._early(site, number, pairs) for number in rows}
        for visit, (start, stop) in enumerate(pairs.visits):
            base = read_values(self.base, site.base, start, stop)
            changes = {}
            for number, span in site.tuned.items():
                tally = found.tallies[number]
                after = read_values(self.tuned[number], span, start, stop)
                totals, moved, inverse = tally.relative.count_changes(
                    base, after, self.limits, tally.absolute
                )
                _permute(tally, pairs, visit, seen[number], moved, inverse)
                for key, value in totals._asdict().items():
                    rows[number][key] += value
                if len(found.tallies) > 1:
                    changes[number] = after - base
            _multiply(found.products, changes)
        for number, row in rows.items():
            found.tallies[number].tensors.append(row)

    def _early(self, site: Site, number: int, pairs: Pairing) -> dict[int, Float32]:
        tuned, visits = self.tuned[number], pairs.visits
        return {
            visit: np.abs(change(self.base, tuned, site, number, *visits[visit]))
            for visit in pairs.early
        }


def _permute(
    tally: Tally,
    pairs: Pairing,
    visit: int,
    seen: dict[int, Float32],
    moved: Float32,
    inverse: Float32,
) -> None:
    if not tally.permuted:
        return
    seen[visit] = moved
    for draw, histogram in enumerate(tally.permuted):
        source, order = pairs.source(visit, draw)
        histogram.add_permuted(seen[source], order, inverse)
    seen.pop(visit - max(pairs.offsets), None)


def _row(site: Site) -> Row:
    return {"tensor": site.name, "parameters": site.elements, **dict.fromkeys(Totals._fields, 0)}


def _multiply(products: Float64, changes: dict[int, Float32]) -> None:
    if len(changes) < 2:
        return
    wide = {number: moved.astype(np.float64) for number, moved in changes.items()}
    for one in wide:
        for other in wide:
            if one <= other:
                products[one, other] += float(np.dot(wide[one], wide[other]))


@dataclass(frozen=True, slots=True)
class _State:
    """Counts at a moment, to be subtracted from later ones."""

    counts: Int64
    inside: dict[int, Inside]


def _state(tally: Tally, wanted: Wanted) -> _State:
    counts = tally.relative
    found = {b: counts.fine.inside(b) for b in wanted.kept}
    inside = {b: replace(i, counts=i.counts.copy()) for b, i in found.items() if i is not None}
    return _State(counts.count.copy(), inside)


def _part(before: _State, after: _State) -> Part:
    counts = after.counts - before.counts
    profiles = {b: _profile(counts, b, before.inside[b], after.inside[b]) for b in after.inside}
    return Part(int(counts.sum()), profiles)


def _profile(counts: Int64, coarse: int, before: Inside, after: Inside) -> Profile:
    fine = after.counts - before.counts
    filled = np.flatnonzero(fine)
    above = int(counts[coarse + 1 :].sum())
    keys = values((coarse << 16) + after.low + filled)
    return Profile(above, keys, fine[filled].astype(np.float64))
