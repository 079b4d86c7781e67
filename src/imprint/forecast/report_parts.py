"""What the sections of the report share: rows in order, forests of intervals, tables."""

from __future__ import annotations

import math

import polars as pl

from imprint.forecast.result import ForecastResult
from imprint.report.figures import forest
from imprint.report.section import Body

FORMATS = {
    **dict.fromkeys(("pearson", "spearman", "kendall", "without_low", "without_high"), ".2f"),
    **dict.fromkeys(("partial_digits", "noise_ceiling", "mean", "worst"), ".2f"),
    **dict.fromkeys(("spearman_low", "spearman_high", "bootstrap_low", "bootstrap_high"), ".2f"),
    **dict.fromkeys(("p", "p_adjusted", "p_greater", "sign_p"), "p"),
    **dict.fromkeys(("top", "first", "sign_accuracy", "sign_chance"), ".0%"),
    **dict.fromkeys(("stability", "share", "fires"), ".1%"),
    **dict.fromkeys(("rank", "rank_low", "rank_high"), ".0f"),
    **dict.fromkeys(("observed", "observed_se", "m"), "+.3f"),
}


def by_set(
    result: ForecastResult, frame: pl.DataFrame, by: str, *, descending: bool = False
) -> pl.DataFrame:
    """Order rows by SFT set as they were named, and within one by a column."""
    sets = pl.Enum([entry["sft"] for entry in result.data["sets"]])
    return frame.sort(pl.col("sft").cast(sets), by, descending=[False, descending], nulls_last=True)


def of_first_set(result: ForecastResult, name: str) -> pl.DataFrame | None:
    """Give the rows of the first SFT set, which the headline is about."""
    frame = result.tables.get(name)
    if frame is None or frame.is_empty():
        return None
    return frame.filter(sft=result.data["sft"])


def draw_forest(
    body: Body, rows: pl.DataFrame, names: tuple[str, str, str], title: str, zero: float | None
) -> None:
    """Draw an estimate of each domain with its interval, columns of ``names``."""
    estimate, low, high = names
    unit = _unit(rows[estimate])
    drawn = rows.select(
        label="domain",
        estimate=pl.col(estimate) / unit,
        low=pl.col(low).fill_null(pl.col(estimate)) / unit,
        high=pl.col(high).fill_null(pl.col(estimate)) / unit,
    ).drop_nulls("estimate")
    title = title if unit == 1 else f"{title}, in units of {unit:g}"
    span = _span([drawn[name] for name in ("low", "high", "estimate")], zero)
    chart = forest(drawn.head(60), title=title, domain=span, threshold=None, zero=zero)
    body.figure(chart, f"{title} by domain, with 95 % intervals.", wide=True)


def _unit(values: pl.Series) -> float:
    """Give the power of ten that brings values near 1, where two digits would not show them."""
    largest = max((abs(float(v)) for v in values.drop_nulls()), default=0.0)
    return 1.0 if largest == 0 or 0.1 <= largest < 1000 else 10.0 ** math.floor(math.log10(largest))


def _span(columns: list[pl.Series], zero: float | None) -> tuple[float, float]:
    values = [float(v) for column in columns for v in column.drop_nulls()]
    values += [] if zero is None else [zero]
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.04 * (high - low) or 0.5
    return low - margin, high + margin


def add_table(body: Body, frame: pl.DataFrame, caption: str) -> None:
    """Add a table, without columns that hold nothing."""
    lean = frame.select(c for c in frame.columns if frame[c].null_count() < len(frame))
    formats = {n: s for n, s in FORMATS.items() if n in lean.columns and lean[n].dtype.is_float()}
    body.table(lean, caption, formats=formats)
