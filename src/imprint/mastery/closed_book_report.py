"""The report of a closed-book evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from imprint.report import Page, manifest_section
from imprint.report import summary as markdown
from imprint.report.figures import bars, forest

if TYPE_CHECKING:
    from imprint.mastery.closed_book import ClosedBookResult

TITLE = "Closed-book answers"
RATES = ("accuracy", "null", "low", "high", "macro", "macro_present")
FORMATS = dict.fromkeys((*RATES, *(f"{name}_sd" for name in RATES)), ".3f")


def render(result: ClosedBookResult) -> str:
    """Render the result as one HTML page."""
    page = Page(TITLE, f"{result.data['mastery']}; greedy, at most 16 new tokens")
    page.verdicts(result.verdicts, headline=result.headline)
    levels = result.tables["levels"]
    section = page.section(
        "By level",
        "Accuracy on the facts of each level of the base model, with 95 % Wilson intervals. The "
        "macro mean weighs all five levels alike, so facts that nobody knew count a fifth.",
    )
    label = pl.format("{} level {}", pl.col("split").fill_null(""), "level").str.strip_chars()
    drawn = levels.select(label=label, estimate="accuracy", low="low", high="high", group="model")
    section.figure(
        forest(drawn, title="Accuracy", domain=(0, 1)), "Accuracy by level and model.", wide=True
    )
    section.table(levels, "Levels", formats=_formats(levels))
    section = page.section("Over models", "Means and standard deviations, and each model.")
    for name, caption in (("spread", "All models"), ("accuracy", "Each model")):
        section.table(result.tables[name], caption, formats=_formats(result.tables[name]))
    _relations(page, result)
    section = page.section("Method")
    section.facts(
        {k: v for k, v in result.data["settings"]["mastery"].items() if v not in (None, (), [])}
    )
    manifest_section(page, result)
    return page.render()


def summary(result: ClosedBookResult) -> str:
    """Write the result as Markdown."""
    tables = {name.capitalize(): result.tables[name] for name in ("spread", "accuracy", "levels")}
    warned = [(f.check, f.detail) for f in result.findings if f.level != "info"]
    if warned:
        tables["Findings"] = pl.DataFrame(warned, schema=["check", "detail"], orient="row")
    return markdown(TITLE, result.verdicts, tables, formats=FORMATS, headline=result.headline)


def _relations(page: Page, result: ClosedBookResult) -> None:
    section = page.section("By relation")
    relations = result.tables["relations"]
    means = relations.group_by("relation", maintain_order=True).agg(
        pl.col("accuracy").mean().alias("value")
    )
    drawn = means.sort("value", descending=True).select(label="relation", value="value")
    section.figure(
        bars(drawn, title="Accuracy, mean over models and splits"), "By relation.", wide=True
    )
    section.table(relations, "Relations", formats=_formats(relations))


def _formats(frame: pl.DataFrame) -> dict[str, str]:
    return {name: spec for name, spec in FORMATS.items() if name in frame.columns}
