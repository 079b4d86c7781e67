"""The section of the report on the spectra of changes."""

from __future__ import annotations

import polars as pl

from imprint.report import Page
from imprint.report.figures import curve, forest
from imprint.report.section import Section
from imprint.restoration.diff_result import DiffResult
from imprint.restoration.spectrum_tables import by_place

TITLE = "Effective rank over full rank"
SERIES = {"effective_rank_share": "measured", "null_effective_rank_share": "shuffled"}
FORMATS = dict.fromkeys((*SERIES, "share_1", "share_8", "share_64"), ".1%")


def add_spectrum(page: Page, result: DiffResult) -> None:
    """Add charts by layer and module, and the table, where the spectrum was asked for."""
    if "spectrum" not in result.tables:
        return
    section = page.section(
        "Directions of the change",
        "The effective rank says over how many directions the change of a matrix is spread. "
        "Shuffled are the same entries in a random order, without structure. Means over the "
        "matrices that changed.",
    )
    table, name = result.tables["spectrum"], result.data["tuned"]
    own = table.filter(pl.col("tuned") == name)
    _by_layer(section, by_place(own, "layer").drop_nulls("layer"), name)
    _by_module(section, by_place(own, "module"), name)
    section.table(by_place(table, "module"), "Spectrum by module", formats=_formats())
    listed = table.head(20_000)
    lean = listed.select(c for c in listed.columns if listed[c].null_count() < len(listed))
    formats = {key: spec for key, spec in _formats(*FORMATS).items() if key in lean.columns}
    section.details("All matrices").table(lean, "Spectrum of each matrix", formats=formats)


def _by_layer(section: Section, rows: pl.DataFrame, name: str) -> None:
    if len(rows) < 2:
        return
    drawn = pl.concat(
        rows.select(x=pl.col("layer").cast(pl.Float64), y=column, series=pl.lit(series))
        for column, series in SERIES.items()
    ).sort("x", maintain_order=True)
    chart = curve(drawn, x_title="Layer", y_title=TITLE, y_domain=(0.0, 1.0))
    section.figure(chart, f"By layer, {name}: measured and shuffled.", wide=True)


def _by_module(section: Section, rows: pl.DataFrame, name: str) -> None:
    if rows.is_empty():
        return
    measured, null = SERIES
    drawn = rows.select(
        label="module",
        estimate=measured,
        low=pl.min_horizontal(measured, null),
        high=pl.max_horizontal(measured, null),
    )
    chart = forest(drawn, title=TITLE, domain=(0.0, 1.0), zero=None)
    caption = f"By module, {name}: the point is measured, the line reaches to the shuffled value."
    section.figure(chart, caption, wide=True)


def _formats(*names: str) -> dict[str, str]:
    return {name: FORMATS[name] for name in names or SERIES}
