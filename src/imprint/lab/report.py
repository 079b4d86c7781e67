"""The report of a study: verdicts, what agrees with the papers, the chapters, the manifest."""

from __future__ import annotations

import polars as pl

from imprint.lab.result import StudyResult
from imprint.report import Page, Section, manifest_section, summary_html
from imprint.report import summary as markdown

TITLE = "What carries over"


def render(result: StudyResult) -> str:
    """Render the result as one HTML page."""
    page = Page(TITLE, _subtitle(result))
    page.verdicts(result.verdicts, headline=result.headline)
    _agreement(page, result)
    for chapter in result.chapters:
        if not chapter.sections:
            page.section(f"{chapter.number}. {chapter.title}", chapter.verdict)
        for number, section in enumerate(chapter.sections):
            _adopt(page, section, f"chapter-{chapter.number}-{number}")
            if number == 0 and chapter.verdict:
                section.intro = f"{chapter.verdict} {section.intro}".strip()
    _checkpoints(page, result)
    _method(page, result)
    return page.render()


def summary(result: StudyResult) -> str:
    """Write the result as Markdown."""
    tables = {"Beside the papers": result.tables["agreement"]}
    missing = [f.detail for f in result.findings]
    if missing:
        tables["Missing"] = pl.DataFrame({"missing": missing})
    shown = {name: frame for name, frame in tables.items() if len(frame)}
    return markdown(TITLE, result.verdicts, shown, headline=result.headline)


def fragment(result: StudyResult) -> str:
    """Show the result in a notebook."""
    return summary_html(result.headline, result.verdicts, result.tables["agreement"])


def _subtitle(result: StudyResult) -> str:
    data = result.data
    return f"preset {data['preset']}, seed {data['seed']}; {len(data['checkpoints'])} checkpoints"


def _adopt(page: Page, section: Section, anchor: str) -> None:
    section.anchor = anchor
    page.sections.append(section)


def _agreement(page: Page, result: StudyResult) -> None:
    table = result.tables["agreement"]
    if len(table):
        section = page.section(
            "Beside the papers", "Where the lab agrees, where not, and where it cannot tell."
        )
        section.table(
            table.select("stance", "chapter", "claim", "lab", "paper"),
            "Each claim: whether the lab agrees, what it found, and the paper's figures.",
            formats={"stance": "state", "claim": "words", "lab": "words", "paper": "words"},
            columns={"chapter": "ch."},
            page_size=40,
        )


def _checkpoints(page: Page, result: StudyResult) -> None:
    if "checkpoints" in result.tables:
        section = page.section("Checkpoints")
        section.table(result.tables["checkpoints"].drop("model"), "All models of the study.")


def _method(page: Page, result: StudyResult) -> None:
    section = page.section("Method", "Every number comes from the models' own answers.")
    cost = result.tables["chapters"].select("number", "title", "seconds", "peak_bytes")
    section.table(cost, "Time and peak memory of each chapter.")
    units = result.tables["units"]
    if len(units):
        kinds = units.with_columns(kind=pl.col("unit").str.split("-").list.first())
        totals = kinds.group_by("kind", maintain_order=True).agg(
            pl.len().alias("units"), pl.col("seconds").sum(), pl.col("peak_bytes").max()
        )
        section.table(totals, "Units of the grid: seconds of a worker, and peak memory.")
    if result.findings:
        section.details("Missing", *(finding.detail for finding in result.findings))
    manifest_section(page, result)
