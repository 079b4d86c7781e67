"""The report of a mastery run: verdicts, levels, relations, templates, facts, method."""

from __future__ import annotations

import polars as pl

from imprint.mastery.result import MasteryResult
from imprint.mastery.stopping import most_saved
from imprint.report import Page, manifest_section, summary_html
from imprint.report import summary as markdown
from imprint.report.figures import bars, forest, heatmap

TITLE = "What the model knows"
RATE = ("score", "low", "high", "null", "excess", "excess_low", "excess_high", "share", "rate")
FORMATS = dict.fromkeys((*RATE, "score_low", "score_high", "rate_low", "rate_high"), ".3f")
SHOWN = [
    "fact",
    "relation",
    "subject",
    "answer",
    "level",
    "score",
    "score_low",
    "score_high",
    "hits",
    "samples",
    "slick",
]
LISTED = 500  # facts in the page; all are in the table on disk


def render(result: MasteryResult) -> str:
    """Render the result as one HTML page."""
    page = Page(TITLE, _subtitle(result))
    page.verdicts(result.verdicts, headline=result.headline)
    for add in (_levels, _relations, _templates, _facts, _splits, _findings, _method):
        add(page, result)
    return page.render()


def summary(result: MasteryResult) -> str:
    """Write the result as Markdown."""
    relations = result.tables["relations"].select(
        "relation", "split", "facts", "score", "low", "high", "null"
    )
    tables = {"Levels": _named_splits(result.tables["levels"]), "Relations": relations}
    warned = [(f.check, f.detail) for f in result.findings if f.level != "info"]
    if warned:
        tables["Findings"] = pl.DataFrame(warned, schema=["check", "detail"], orient="row")
    return markdown(TITLE, result.verdicts, tables, formats=FORMATS, headline=result.headline)


def fragment(result: MasteryResult) -> str:
    """Show the result in a notebook."""
    return summary_html(result.headline, result.verdicts, result.tables["levels"])


def _formats(columns: set[str]) -> dict[str, str]:
    return {name: spec for name, spec in FORMATS.items() if name in columns}


def _named_splits(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.drop("split") if frame["split"].null_count() == len(frame) else frame


def _subtitle(result: MasteryResult) -> str:
    data = result.data
    told = f"{data['model']['model']}; {data['facts']:,} facts"
    drawn, full = data["samples_drawn"], data["samples_in_full"]
    return f"{told}; {drawn:,} of {full:,} samples drawn" if drawn else f"{told}; likelihood only"


def _levels(page: Page, result: MasteryResult) -> None:
    section = page.section(
        "Levels",
        "Level 0: no sample gave the answer; level i: a share in ((i − 1)/4, i/4]. Bars are shares "
        "of facts with 95 % Wilson intervals.",
    )
    levels = result.tables["levels"]
    alone = levels["split"].n_unique() == 1
    label = pl.format("level {}", "level")
    split = pl.col("split").fill_null("facts")
    drawn = levels.select(
        label=label if alone else pl.format("{}, level {}", split, "level"),
        value="share",
        low="low",
        high="high",
        **({} if alone else {"group": split}),
    )
    caption = "How many facts are of each level."
    section.figure(bars(drawn, title="Share of facts", number_format=".1%"), caption, wide=True)
    section.table(_named_splits(levels), "Facts per level", formats=_formats(set(levels.columns)))
    matching = {rule: rate for rule, rate in result.data["matching"].items() if rate is not None}
    if matching:
        section.text(
            "Share of samples that match, by rule: "
            + ", ".join(f"{rule} {rate:.4f}" for rule, rate in matching.items())
            + f". Levels follow {result.data['settings']['mastery']['match']}."
        )
    if result.data["slick"]:
        section.facts({f"SliCK: {name}": count for name, count in result.data["slick"].items()})


def _relations(page: Page, result: MasteryResult) -> None:
    section = page.section(
        "Relations",
        "Mean score of the facts of each relation with 95 % intervals over facts. The null is the "
        "rate at which the same samples name the answer of another fact of the relation.",
    )
    frame = result.tables["relations"].sort(
        "split", "score", nulls_last=True, descending=[False, True]
    )
    groups = {} if frame["split"].null_count() else {"group": pl.col("split")}
    drawn = frame.select(label="relation", estimate="score", low="low", high="high", **groups)
    section.figure(
        forest(drawn, title="Mean score", domain=(0, 1)), "Scores by relation.", wide=True
    )
    section.table(frame, "Relations", formats=_formats(set(frame.columns)), hidden_after=9)


def _templates(page: Page, result: MasteryResult) -> None:
    frame = result.tables["template_success"]
    if not len(frame) or result.data["samples_drawn"] == 0:
        return
    section = page.section(
        "Templates",
        "Share of samples that match, by template; orange below one half, blue above. A template "
        "far below the others of its relation asks badly, or invites another type of answer.",
    )
    drawn = frame.select(
        row="relation", column=(pl.col("template") + 1).cast(pl.String), value="rate"
    )
    chart = heatmap(drawn, title="Success", domain=(0, 1))
    section.figure(chart, "Share of samples that match, by relation and template.", wide=True)
    section.table(frame, "Templates", formats=_formats(set(frame.columns)))


def _facts(page: Page, result: MasteryResult) -> None:
    section = page.section("Facts", f"The first {LISTED}; all are in tables/mastery.parquet.")
    frame = result.tables["mastery"].head(LISTED)
    frame = frame.with_columns(answer=pl.col("answers").list.first()).select(SHOWN)
    frame = frame.select(s for s in frame if s.null_count() < len(s))
    section.table(frame, "Facts", formats=_formats(set(frame.columns)))


def _splits(page: Page, result: MasteryResult) -> None:
    if "splits" not in result.tables or not len(result.tables["splits"]):
        return
    section = page.section(
        "Sets for fine-tuning and tests",
        "JSON lines with prompt and completion in tables/splits, balanced over relations.",
    )
    sets = result.tables["splits"].unique("file", maintain_order=True)
    section.table(sets.select("file", "role", "split", "level", "asked", "facts", "seed"), "Sets")


def _findings(page: Page, result: MasteryResult) -> None:
    if result.findings:
        section = page.section("Noticed")
        for finding in result.findings:
            section.text(f"{finding.check}: {finding.detail}")


def _method(page: Page, result: MasteryResult) -> None:
    section = page.section("Method and null")
    config = result.data["settings"]["mastery"]
    per_fact = result.data["samples_per_fact"]
    bound = f" (at most {most_saved(per_fact)} of {per_fact} can be saved)" if per_fact else ""
    section.text(
        "The score of a fact is the share of samples, over templates, in which the answer or "
        "another accepted name occurs (arXiv 2509.16596). Levels follow by integer comparison. "
        "Intervals of a fact take its samples as independent, which is cautious, since every "
        "template has equally many; intervals of relations are over facts.",
        f"Stopping: {config['stop']}. The exact rule stops a fact when its remaining samples "
        f"cannot change its level{bound}; a probability stops it when one level of the full run is "
        "that certain. A fact's probabilities of levels are those of another full run, given "
        "its hits and a beta prior fitted to all facts of the run; stopping takes Jeffreys' prior.",
        "A sample ends once no rule of matching can change its answer any more. The null is "
        "counted on the first sample of every template, which is always written to its end.",
    )
    section.facts({k: v for k, v in config.items() if v not in (None, (), [])})
    manifest_section(page, result)
