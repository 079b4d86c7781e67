"""What every experiment is: units of work that give points, and conclusions drawn from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from imprint.report import Verdict
from imprint.theory.config import TheoryConfig
from imprint.theory.verdicts import Level, median_interval

POINTS = {
    "panel": pl.String,
    "curve": pl.String,
    "x": pl.Float64,
    "seed": pl.Int64,
    "value": pl.Float64,
}
LINES = {
    "panel": pl.String,
    "curve": pl.String,
    "line": pl.String,
    "x": pl.Float64,
    "value": pl.Float64,
}
Point: TypeAlias = tuple[str, str, float, int, float]
Line: TypeAlias = tuple[str, str, str, float, float]


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work that the run's ledger keeps.

    Attributes:
        name: letters, digits, ``.``, ``-`` and ``_``.
        work: gives points (panel, curve, x, seed, value); it depends on the settings alone.
        memory: bytes that it holds at its peak, about.
        cost: how long it takes, beside the experiment's other units.
    """

    name: str
    work: Callable[[], Iterable[Point]]
    memory: float = 0.0
    cost: float = 1.0


@dataclass(frozen=True, slots=True)
class Plot:
    """How the curves of some panels are drawn.

    Attributes:
        caption: one or two sentences on how to read it.
        x_title, y_title: axis titles.
        panels: which panels; empty for all.
        lines: which lines of theory; empty for all.
        log_x, log_y: logarithmic axes.
    """

    caption: str
    x_title: str
    y_title: str = "Squared error per dimension"
    panels: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    log_x: bool = True
    log_y: bool = True


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What an experiment says of its points.

    Attributes:
        headline: the answer in a sentence or two.
        verdicts: the claims, each with its state.
        regime: sentences that place the setting: β, r/η, trA/n, χ, ν.
        protocol: what was done, and which protocol gives a published claim where that is open.
        plots: the figures.
        tables: further tables, name → frame.
    """

    headline: str
    verdicts: list[Verdict]
    regime: list[str]
    protocol: list[str]
    plots: list[Plot]
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Curves:
    """Medians of the points with their intervals, theory beside them.

    Attributes:
        points: one row per realisation, columns as ``POINTS``.
        lines: theory, columns as ``LINES``.
        table: panel, curve, x, seeds, median, low, high, coverage, and a column for each line.
    """

    points: pl.DataFrame
    lines: pl.DataFrame
    table: pl.DataFrame

    def of(self, panel: str, curve: str) -> list[Level]:
        """Give the medians of one curve in the order of x."""
        kept = self.table.filter(
            (pl.col("panel") == panel) & (pl.col("curve") == curve) & pl.col("median").is_not_null()
        )
        names = ("x", "median", "low", "high", "seeds")
        return [Level(*row) for row in kept.sort("x").select(names).iter_rows()]

    def line(self, panel: str, curve: str, line: str) -> list[Level]:
        """Give the theory of one curve in the order of x."""
        wanted = {"panel": panel, "curve": curve, "line": line}
        kept = self.lines.filter(pl.all_horizontal(pl.col(k) == v for k, v in wanted.items()))
        return [Level.exact(value, x) for x, value in kept.sort("x").select("x", "value").rows()]


@dataclass(frozen=True, slots=True)
class Experiment:
    """One named experiment.

    Attributes:
        title: of its page.
        question: what it answers, in a sentence.
        defaults: the settings it reads, with its defaults.
        paper: what ``paper_size`` changes.
        units: settings and run folder → units of work.
        lines: settings → the theory beside the points.
        conclude: settings and curves → what they say.
    """

    title: str
    question: str
    defaults: Mapping[str, Any]
    units: Callable[[TheoryConfig, Path], Sequence[Unit]]
    lines: Callable[[TheoryConfig], Iterable[Line]]
    conclude: Callable[[TheoryConfig, Curves], Conclusion]
    paper: Mapping[str, Any] = field(default_factory=dict)


def gather(points: pl.DataFrame, lines: Iterable[Line]) -> Curves:
    """Put medians and theory beside each other."""
    theory = pl.DataFrame(list(lines), schema=LINES, orient="row")
    keys = ["panel", "curve", "x"]
    rows = []
    for key, group in points.group_by(keys, maintain_order=True):
        values = group["value"].drop_nulls().drop_nans().to_numpy()
        if len(values):
            low, high, coverage = median_interval(values)
            rows.append((*key, len(values), float(np.median(values)), low, high, coverage))
    schema = {
        **{name: POINTS[name] for name in keys},
        "seeds": pl.Int64,
        **dict.fromkeys(("median", "low", "high", "coverage"), pl.Float64),
    }
    table = pl.DataFrame(rows, schema=schema, orient="row")
    for (name,), group in theory.group_by("line", maintain_order=True):
        part = group.select(*keys, pl.col("value").alias(str(name)))
        table = table.join(part, on=keys, how="left", maintain_order="left", nulls_equal=True)
    return Curves(points, theory, table)
