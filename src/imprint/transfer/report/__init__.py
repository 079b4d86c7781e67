"""The report of a transfer study: verdicts, pictures, tables, then method, audit and manifest."""

from __future__ import annotations

import polars as pl

from imprint.report import Page, summary_html
from imprint.report import summary as markdown
from imprint.transfer.report.agreement import calibration, coherence, confidence, items
from imprint.transfer.report.choosing import all_tables, effects, predictors, scales, units
from imprint.transfer.report.method import method
from imprint.transfer.report.order import (
    categories,
    correlations,
    decisions,
    influence,
    ranks,
    verdict_table,
)
from imprint.transfer.report.parts import WORDS
from imprint.transfer.result import TransferResult
from imprint.transfer.words import benchmark_verdicts, category_verdicts, named

SECTIONS = (
    categories,
    ranks,
    correlations,
    decisions,
    coherence,
    confidence,
    calibration,
    items,
    predictors,
    units,
    scales,
    effects,
    influence,
    all_tables,
    method,
)


def render(result: TransferResult) -> str:
    """Render the result as one HTML page."""
    page = Page("What survives post-training", _subtitle(result))
    verdicts = benchmark_verdicts(result.tables)
    page.verdicts(verdicts, headline=f"{result.headline} {named(result.tables)}", words=WORDS)
    for add in SECTIONS:
        add(page, result)
    return page.render()


def summary(result: TransferResult) -> str:
    """Write the result as Markdown."""
    tables = {}
    if "reliability" in result.tables:
        tables["Benchmarks"] = verdict_table(result).head(200)
    if "cross_stage_category" in result.tables:
        tables["Categories"] = result.tables["cross_stage_category"].select(
            "comparison", "scale", "category", "metric", "r_mean", "ci_lo", "ci_hi", "verdict"
        )
    audit = result.tables["design_audit"].filter(pl.col("level") != "info")
    if len(audit):
        tables["Audit"] = audit.select("check", "count", "detail")
    return markdown("What survives post-training", [], tables, headline=result.headline)


def fragment(result: TransferResult) -> str:
    """Show the result in a notebook."""
    frame = verdict_table(result) if "reliability" in result.tables else None
    return summary_html(result.headline, category_verdicts(result.tables), frame)


def _subtitle(result: TransferResult) -> str:
    said = []
    for panel in result.notes["panels"]:
        clusters = "" if panel.clusters is None else f" in {len(set(panel.clusters))} clusters"
        scale = f" at {panel.scale}" if panel.scale else ""
        said.append(
            f"{panel.comparison}{scale}: {len(panel.units)} units{clusters}, "
            f"{len(panel.members(None))} benchmarks"
        )
    return " · ".join(said[:4]) + (" · …" if len(said) > 4 else "")
