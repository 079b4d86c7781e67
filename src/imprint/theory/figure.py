"""Curves of an experiment: medians with intervals, and the theory as lines."""

from __future__ import annotations

import altair as alt
import polars as pl

from imprint.report.figure import Chart
from imprint.report.figures.panels import hover, layer, numbers, small_multiples
from imprint.theory.experiments.experiment import Plot

SIMULATED = "simulated"
SIZES = {1: (760, 320), 2: (335, 280)}  # panels in a row → width and height of each


def panels(table: pl.DataFrame, lines: pl.DataFrame, plot: Plot) -> Chart:
    """Draw the panels of a plot side by side.

    Args:
        table: columns ``panel``, ``curve``, ``x``, ``median``, ``low``, ``high``.
        lines: columns ``panel``, ``curve``, ``line``, ``x``, ``value``.
        plot: titles, axes and which panels.
    """
    data = _rows(table, lines, plot)
    names = data["panel"].unique(maintain_order=True).to_list()
    columns = 2 if len(names) == 4 else min(len(names), 3)
    width, height = SIZES.get(columns, (195, 230))
    drawn = small_multiples(_layers(data, plot), data, width=width, height=height, columns=columns)
    if isinstance(drawn, alt.FacetChart):
        return drawn.resolve_scale(y="independent")  # type: ignore[no-any-return]
    if isinstance(drawn, alt.LayerChart):
        return drawn.properties(width=width, height=height)
    return drawn


def _rows(table: pl.DataFrame, lines: pl.DataFrame, plot: Plot) -> pl.DataFrame:
    names = ["panel", "curve", "x"]
    seen = table.drop_nulls("median").select(
        *names, pl.lit(SIMULATED).alias("line"), pl.col("median").alias("y"), "low", "high"
    )
    if plot.lines:
        lines = lines.filter(pl.col("line").is_in(plot.lines))
    theory = lines.drop_nulls("value").select(*names, "line", pl.col("value").alias("y"))
    rows = pl.concat([seen, theory], how="diagonal").sort("x", maintain_order=True)
    if plot.panels:
        rows = rows.filter(pl.col("panel").is_in(plot.panels))
    finite = pl.col("x").is_finite() & pl.col("y").is_finite()
    positive = [pl.col(c) > 0 for c, log in (("x", plot.log_x), ("y", plot.log_y)) if log]
    rows = rows.filter(finite, *positive)
    order = pl.col("panel").replace_strict(_order(table, lines), return_dtype=pl.Int64)
    return rows.with_columns(order=order).sort("order", maintain_order=True).drop("order")


def _order(table: pl.DataFrame, lines: pl.DataFrame) -> dict[str, int]:
    names = pl.concat([table["panel"], lines["panel"]]).unique(maintain_order=True)
    return {name: number for number, name in enumerate(names)}


def _layers(data: pl.DataFrame, plot: Plot) -> alt.LayerChart:
    kinds = data["line"].unique(maintain_order=True).to_list()
    kinds.sort(key=lambda kind: kind != SIMULATED)
    x_axis, y_axis = (alt.Axis(format=".4~g", tickCount=5) for _ in "xy")
    x = alt.X(**numbers("x", plot.x_title, axis=x_axis), scale=_scale(log=plot.log_x))
    y_scale = _scale(log=plot.log_y)
    legend = alt.Legend(orient="bottom", columns=4, labelLimit=260)
    tips = hover(
        {"curve": "curve", "line": "line", "x": plot.x_title, "y": plot.y_title},
        {"x": ".4~g", "y": ".4~g"},
    )
    base = alt.Chart().encode(x=x, color=alt.Color("curve:N", title=None, sort=None, legend=legend))
    dashes = alt.StrokeDash(
        "line:N",
        title=None,
        sort=kinds,
        legend=legend,
        scale=alt.Scale(domain=kinds, range=_dashes(kinds)),
    )
    y = alt.Y(**numbers("y", plot.y_title, axis=y_axis), scale=y_scale)
    line = base.mark_line(strokeWidth=1.6).encode(y=y, strokeDash=dashes, tooltip=tips)
    seen = base.transform_filter(f"datum.line === '{SIMULATED}'")
    dots = seen.mark_circle(size=34, opacity=1).encode(y=y, tooltip=tips)
    spans = seen.mark_rule(strokeWidth=1.4, opacity=0.7).encode(
        y=alt.Y(**numbers("low", plot.y_title, axis=y_axis), scale=y_scale), y2="high:Q"
    )
    return layer(line, spans, dots) if SIMULATED in kinds else layer(line)


def _dashes(kinds: list[str]) -> list[list[int]]:
    theory = iter([[6, 3], [2, 2], [8, 3, 2, 3], [1, 3], [10, 4], [4, 2, 1, 2]] * len(kinds))
    return [[1, 0] if kind == SIMULATED else next(theory) for kind in kinds]


def _scale(*, log: bool) -> alt.Scale:
    return alt.Scale(type="log" if log else "linear", zero=False, nice=False)
