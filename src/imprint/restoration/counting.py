"""Counting all changes of a region: one pass over the weights where the sample guessed well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from imprint.executors import Executor
from imprint.progress import Bar
from imprint.restoration.concentration import Counted, Counter, Tally, Wanted
from imprint.restoration.config import DiffConfig
from imprint.restoration.kept import Unit
from imprint.restoration.kept_counts import kept_counts
from imprint.restoration.sample import sample
from imprint.restoration.scores import score
from imprint.restoration.sections import Ahead, sections
from imprint.restoration.selection import likely_windows, missing_windows, place_of
from imprint.restoration.sites import Group

BATCH = 1 << 25  # weights counted together
SECTION = 1 << 31  # weights whose counts are kept together


@dataclass(frozen=True, slots=True)
class Batch:
    """Groups that are counted as one, so that few counts must be added up."""

    groups: tuple[Group, ...]

    def __str__(self) -> str:
        names = [site.name for group in self.groups for site in group.sites]
        return names[0] + (f" and {len(names) - 1} more tensors" if len(names) > 1 else "")

    @property
    def weights(self) -> int:
        """The number of tuned weights that are compared."""
        return sum(site.elements * len(site.tuned) for group in self.groups for site in group.sites)


def batches(groups: Sequence[Group]) -> Iterator[Batch]:
    """Put groups together, each batch with ``BATCH`` weights of the base or more."""
    batch: list[Group] = []
    for group in groups:
        batch.append(group)
        if sum(site.elements for one in batch for site in one.sites) >= BATCH:
            yield Batch(tuple(batch))
            batch = []
    if batch:
        yield Batch(tuple(batch))


@dataclass(frozen=True)
class Counting:
    """How and where a region is counted.

    Attributes:
        counter: knows the checkpoints and the scores.
        groups: the region.
        executor: counts several batches at a time.
        unit: keeps what was counted, as `imprint.runs.Run.unit`; without one nothing is kept.
        bar: told of weights.
    """

    counter: Counter
    groups: Sequence[Group]
    executor: Executor
    unit: Unit | None
    bar: Bar

    def count(self) -> Counted:
        """Count everything, again and again until every threshold is shown.

        Sections of the work are kept as they are finished; sums are taken section by section, so
        that a run that goes on gives the very numbers of one that was never stopped.

        Raises:
            CheckpointError: a weight is NaN or infinite, or a file became shorter.
        """
        config, rounds = self.counter.config, 0
        wanted = [self._likely(number) for number in range(len(self.counter.tuned))]
        total = self._pass("counts", wanted, config.permutations or 0)
        while any(missing := [_missing(tally, config) for tally in total.tallies]):
            rounds += 1
            wanted = [more or Wanted() for more in missing]
            _refine(total, self._pass(f"counts-again-{rounds}", wanted, 0))
        return total

    def _pass(self, name: str, wanted: Sequence[Wanted], draws: int) -> Counted:
        together = list(batches(self.groups))
        sizes = [batch.weights for batch in together]
        work = partial(_counted, self.counter, tuple(wanted), draws)
        ahead: Ahead[Batch, Counted] = Ahead(self.executor, work, together)
        empty = partial(self.counter.empty, wanted, draws)

        def section(part: range) -> Counted:
            found = empty()
            for at, counted in zip(part, ahead.take(part), strict=True):
                found.merge(counted)
                self.bar.advance(sizes[at])
            return found

        total = empty()
        for number, part in enumerate(sections(sizes, SECTION)):
            find = partial(section, part)
            total.merge(kept_counts(self.unit, f"{name}-{number:04}", empty, find))
            if ahead.stop != part.stop:  # an earlier run has counted it
                self.bar.advance(sum(sizes[at] for at in part))
        return total

    def _likely(self, number: int) -> Wanted:
        config, pieces = self.counter.config, sample(self.counter, self.groups, number).values()
        if not pieces:
            return Wanted()
        relative = np.concatenate([score("relative", b, t, config.eps) for b, t in pieces])
        absolute = np.concatenate([score("absolute", b, t) for b, t in pieces])
        kept = likely_windows(relative, [config.enrichment_at])
        ratios = (config.enrichment_at, *config.top)
        return Wanted(
            likely_windows(relative, ratios), likely_windows(absolute, config.top), tuple(kept)
        )


def _counted(counter: Counter, wanted: Sequence[Wanted], draws: int, batch: Batch) -> Counted:
    return counter.count(batch.groups, wanted, draws)


def _refine(total: Counted, more: Counted) -> None:
    for tally, extra in zip(total.tallies, more.tallies, strict=True):
        tally.relative.fine.refine(extra.relative.fine)
        tally.absolute.fine.refine(extra.absolute.fine)
        for mine, theirs in zip(tally.parts, extra.parts, strict=True):
            mine.profiles.update(theirs.profiles)


def _missing(tally: Tally, config: DiffConfig) -> Wanted | None:
    elements = tally.relative.elements
    kept = missing_windows(tally.relative, [place_of(config.enrichment_at, elements)])
    places = [place_of(ratio, elements) for ratio in config.top]
    relative = {**kept, **missing_windows(tally.relative, places)}
    absolute = missing_windows(tally.absolute, places)
    return Wanted(relative, absolute, tuple(kept)) if relative or absolute else None
