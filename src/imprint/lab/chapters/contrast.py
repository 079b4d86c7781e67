"""Two ways of training compared on the same held-out items, over several trainings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy.special import stdtrit

from imprint.report import Section, State

TRAININGS = 3  # of each way, below which nothing is decided
CLUSTERS = 8  # domains, below which items are taken as independent
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Contrast:
    """Mean difference of the probability of the right answer.

    Attributes:
        estimate, low, high: the difference and its interval; NaN where there is nothing to compare.
        trainings: pairs of trainings.
        items: held-out items.
        clusters: domains that items are resampled by.
    """

    estimate: float
    low: float
    high: float
    trainings: int
    items: int
    clusters: int

    @property
    def state(self) -> State:
        """Whether the first way is better.

        One or two trainings decide nothing: how much trainings differ by chance is then not known.
        """
        if self.trainings < TRAININGS or not self.low * self.high > 0:
            return "undetermined"
        return "holds" if self.low > 0 else "does_not_hold"

    @property
    def each(self) -> str:
        """Say how many trainings of either way there are."""
        return "one training each" if self.trainings == 1 else f"{self.trainings} trainings each"

    @property
    def points(self) -> str:
        """Write the difference in points (hundredths) with its interval."""
        if not math.isfinite(self.estimate):
            return "not measured"
        if not math.isfinite(self.low):
            return f"{_points(self.estimate)} points"
        return f"{_points(self.estimate)} points [{_points(self.low)}, {_points(self.high)}]"

    @property
    def words(self) -> str:
        """Write the same with the numbers of trainings and items."""
        if not math.isfinite(self.estimate):
            return self.points
        return f"{self.points} ({self.each}, {self.items} items)"

    @property
    def turned(self) -> Contrast:
        """The second way less the first."""
        return replace(self, estimate=-self.estimate, low=-self.high, high=-self.low)


NOTHING = Contrast(math.nan, math.nan, math.nan, 0, 0, 0)


def contrast(pairs: Sequence[tuple[pl.DataFrame, pl.DataFrame]], level: float = LEVEL) -> Contrast:
    """Compare two ways of training by scores of the same items.

    The variance of the mean is that over items, by domain where there are eight or more, plus that
    over trainings (of which each may have items of its own). The sum counts the noise of items
    twice and so errs on the wide side; degrees of freedom are Satterthwaite's.

    Args:
        pairs: for each training the scores of either way, rows as ``asked.score`` gives them.
        level: coverage.

    Returns:
        The first way less the second.
    """
    gaps = [gap for a, b in pairs if (gap := _gap(a, b))]
    if not gaps:
        return NOTHING
    domains = {name: place for a, _ in pairs for name, place in a.select("item", "domain").rows()}
    by_domain = len({domains[item] for gap in gaps for item in gap}) >= CLUSTERS
    return _interval(gaps, domains if by_domain else {}, level)


def combined(a: Contrast, b: Contrast, level: float = LEVEL) -> Contrast:
    """Give a − b of two contrasts of different trainings, their errors taken as independent."""
    if not (math.isfinite(a.estimate) and math.isfinite(b.estimate)):
        return NOTHING
    reach = math.hypot(a.high - a.estimate, b.high - b.estimate)
    at, trainings = a.estimate - b.estimate, min(a.trainings, b.trainings)
    return Contrast(at, at - reach, at + reach, trainings, min(a.items, b.items), a.clusters)


def draw(section: Section, frame: pl.DataFrame, caption: str) -> None:
    """Add a figure of differences to a section; rows without an estimate are left out.

    Args:
        section: of a chapter.
        frame: ``label``, ``estimate``, ``low``, ``high``; optionally ``group`` and ``state``.
        caption: what is told.
    """
    from imprint.report.figures import forest

    shown = frame.drop_nulls("estimate")
    if shown.is_empty():
        return
    ends = shown.select(pl.max_horizontal(pl.col("low", "high", "estimate").abs())).to_series()
    reach = max((float(one) for one in ends.drop_nulls()), default=0.0) or 0.1
    chart = forest(shown, title="Difference of probability", domain=(-reach, reach))
    section.figure(chart, caption)


def listed(section: Section, frame: pl.DataFrame, caption: str) -> None:
    """Add a table of differences whose states stand beside the names, where they are seen."""
    states = [name for name in frame.columns if name.endswith("state")]
    rest = [name for name in frame.columns[1:] if name not in states]
    shown = frame.select(frame.columns[0], *states, *rest)
    section.table(shown, caption, formats=dict.fromkeys(states, "state"))


def _gap(a: pl.DataFrame, b: pl.DataFrame) -> dict[str, float]:
    joined = a.select("item", "probability").join(b.select("item", other="probability"), on="item")
    return {item: p - q for item, p, q in joined.iter_rows()}


def _interval(
    gaps: Sequence[Mapping[str, float]], groups: Mapping[str, str], level: float
) -> Contrast:
    means = np.array([np.mean(list(gap.values())) for gap in gaps])
    trainings, mean = len(gaps), float(means.mean())
    sums: dict[str, float] = {}
    for gap, its in zip(gaps, means, strict=True):
        for item, value in gap.items():
            group = groups.get(item, item)
            sums[group] = sums.get(group, 0.0) + (value - its) / (trainings * len(gap))
    many, items = len(sums), len({item for gap in gaps for item in gap})
    if many < 2:
        return Contrast(mean, math.nan, math.nan, trainings, items, many)
    over_items = many / (many - 1) * sum(one**2 for one in sums.values())
    spread = float(means.var(ddof=1)) / trainings if trainings > 1 else 0.0
    total = over_items + spread
    free = over_items**2 / (many - 1) + spread**2 / max(trainings - 1, 1)
    reach = 0.0
    if total > 0:
        reach = float(stdtrit(total**2 / free, (1 + level) / 2)) * math.sqrt(total)
    return Contrast(mean, mean - reach, mean + reach, trainings, items, many)


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")
