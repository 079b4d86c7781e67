"""The report of an experiment: verdicts, figures, tables, regime, protocol."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from imprint.report import Page, manifest_section, summary_html
from imprint.report import summary as markdown
from imprint.report.verdict import STATES
from imprint.theory.config import shown
from imprint.theory.figure import panels
from imprint.theory.result import TheoryResult

PAPER = (
    "The theory is that of arXiv 2603.01293, “Theoretical Perspectives on Data Quality and "
    "Synergistic Effects in Pre- and Post-Training Reasoning Models” (Javanmard, Mirzasoleiman, "
    "Mirrokni, 2026), with the corrections listed by `imprint theory errata`. Its subject is "
    "linear regression in context on synthetic data; “outcome supervision” is regression on the "
    "last step, without sampling or rewards. It says nothing on its own of a language model."
)
HIDDEN_AFTER = 9
ROUNDING = 1e-12  # what is smaller is a rounded zero
LARGE = 1000.0  # beside such numbers a fourth digit behind the point says nothing
UNFOLDED = 4  # sentences that are shown without a click


def render(result: TheoryResult) -> str:
    """Render the result as one HTML page."""
    experiment = result.notes["experiment"]
    page = Page(experiment.title, experiment.question)
    page.verdicts(result.verdicts, headline=result.headline)
    for add in (_figures, _regime, _protocol, _tables, _method):
        add(page, result)
    manifest_section(page, result)
    return page.render()


def summary(result: TheoryResult) -> str:
    """Write the result as Markdown."""
    own = result.notes["conclusion"].tables
    tables = {name.replace("_", " ").capitalize(): frame for name, frame in own.items()}
    if len(result.tables["curves"]):
        tables["Curves"] = _curves(result)
    title = result.notes["experiment"].title
    formats = _formats(tables.values())
    return markdown(title, result.verdicts, tables, headline=result.headline, formats=formats)


def fragment(result: TheoryResult) -> str:
    """Show the result in a notebook."""
    own = result.notes["conclusion"].tables
    shown = next(iter(own.values()), _curves(result))
    return summary_html(result.headline, result.verdicts, shown)


def _figures(page: Page, result: TheoryResult) -> None:
    plots = result.notes["conclusion"].plots
    if not plots:
        return
    section = page.section("Curves", "Theory and simulation.")
    for plot in plots:
        drawn = panels(result.tables["curves"], result.tables["theory"], plot)
        section.figure(drawn, plot.caption, wide=True)


def _regime(page: Page, result: TheoryResult) -> None:
    section = page.section(
        "Regime",
        "β: prompts per feature. r/η: scale of the SFT data on what is known; 1 is the scale of "
        "the test. trA/n: how much sampling one prompt's inputs adds. χ and ν: how far the shift "
        "exceeds what pretraining covers; from 1 on, repeated steps diverge.",
    )
    sentences = result.notes["conclusion"].regime
    if len(sentences) <= UNFOLDED:
        section.text(*sentences)
    else:
        section.text(sentences[0])
        section.details(f"{len(sentences) - 1} more", *sentences[1:])


def _protocol(page: Page, result: TheoryResult) -> None:
    page.section("Protocol").text(*result.notes["conclusion"].protocol)


def _tables(page: Page, result: TheoryResult) -> None:
    section = page.section(
        "Numbers",
        "Median over seeds with an interval from order statistics, which covers the median with "
        "the probability in the column coverage; theory beside it.",
    )
    frames = {
        name.replace("_", " ").capitalize(): frame
        for name, frame in result.notes["conclusion"].tables.items()
    }
    if len(result.tables["curves"]):
        frames["Curves"] = _curves(result)
    for name, frame in frames.items():
        section.table(frame, name, formats=_formats([frame]), hidden_after=HIDDEN_AFTER)


def _curves(result: TheoryResult) -> pl.DataFrame:
    """Give the curves without lines that have no value, and whole numbers as such."""
    frame = result.tables["curves"]
    frame = frame.select(name for name in frame.columns if frame[name].null_count() < len(frame))
    whole = [
        name
        for name in ("x",)
        if name in frame.columns and (frame[name] == frame[name].floor()).all()
    ]
    return frame.with_columns(pl.col(whole).cast(pl.Int64))


def _formats(frames: Iterable[pl.DataFrame]) -> dict[str, str]:
    """Write numbers with four digits behind the point (two among large ones), or three in all.

    States are written as such.
    """
    return {
        column.name: found
        for frame in frames
        for column in frame
        if (found := _format(column)) is not None
    }


def _format(column: pl.Series) -> str | None:
    if column.dtype == pl.Float64:
        sizes = column.drop_nulls().abs()
        tiny = sizes.is_between(ROUNDING, 1e-3, closed="none").any()
        if tiny:
            return ".2e"
        return ",.2f" if column.name == "coverage" or (sizes >= LARGE).any() else ",.4f"
    if column.dtype == pl.String and column.drop_nulls().is_in(STATES).all() and len(column):
        return "state"
    return None


def _method(page: Page, result: TheoryResult) -> None:
    section = page.section("Method")
    section.text(PAPER)
    section.text("Verdicts are one by one, not corrected for their number.")
    settings = {**result.data["settings"], "seed": result.data["seed"]}
    section.facts({name: shown(value) for name, value in settings.items()})
