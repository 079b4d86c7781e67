"""The report of a forecast: verdicts, domains beside their null, predictors, outcomes, latents."""

from __future__ import annotations

import polars as pl

from imprint.forecast.choice import HELD, SIGNED, UNPROVEN
from imprint.forecast.report_latents import ablation, fit, latents
from imprint.forecast.report_outcomes import JUDGED, history, outcomes
from imprint.forecast.report_parts import FORMATS, add_table, by_set, draw_forest, of_first_set
from imprint.forecast.result import ForecastResult
from imprint.report import Page, manifest_section, summary_html
from imprint.report import summary as markdown
from imprint.report.figures import bars, heatmap
from imprint.report.markdown import escape

TITLE = "Which domains SFT will change"
ROWS = 5000
SHORT = (
    "sft", "domain", "score", "low", "high", "null", "excess", "excess_low", "excess_high", "rank",
    "rank_low", "rank_high", "top", "direction", "observed",
)  # fmt: skip


def render(result: ForecastResult) -> str:
    """Render the result as one HTML page."""
    page = Page(TITLE, _subtitle(result))
    page.verdicts(result.verdicts, headline=result.headline)
    parts = (
        _domains, _ranks, outcomes, _sets, latents, _mixture, ablation, history, fit, _scores,
        _findings, _method,
    )  # fmt: skip
    for add in parts:
        add(page, result)
    return page.render()


def summary(result: ForecastResult) -> str:
    """Write the result as Markdown."""
    tables = result.tables
    chosen = {"Domains": by_set(result, tables["forecast"].select(SHORT), "rank")}
    if "evaluation" in tables:
        judged = by_set(result, tables["evaluation"].select(JUDGED), "pearson", descending=True)
        chosen["Predictors against what was observed"] = judged.select(JUDGED[:12])
    sets = tables["sets"].filter(predictor=result.data["score"])
    if len(sets) > 1:
        chosen["SFT sets"] = sets
    for title, name in (("Mixture plan", "mixture"), ("Past forecasts", "history")):
        if name in tables:
            chosen[title] = tables[name]
    warned = tables["findings"].filter(pl.col("level") != "info")
    if len(warned):
        chosen["Findings"] = warned.select("check", "detail")
    words = escape(result.headline)  # it names domains and sets as the user's files do
    return markdown(TITLE, result.verdicts, chosen, formats=FORMATS, headline=words)


def fragment(result: ForecastResult) -> str:
    """Show the result in a notebook."""
    return summary_html(result.headline, result.verdicts, result.tables["forecast"].select(SHORT))


def _subtitle(result: ForecastResult) -> str:
    sets = [entry["sft"] for entry in result.data["sets"]]
    more = f" and {len(sets) - 4} more" if len(sets) > 4 else ""
    return f"{result.data['model']}, SFT on {', '.join(sets[:4])}{more}"


def _domains(page: Page, result: ForecastResult) -> None:
    rows = of_first_set(result, "forecast")
    if rows is None:
        return
    who = result.data["score"]
    section = page.section(
        "Domains",
        f"{who} of each domain under SFT on {result.data['sft']}. Intervals draw texts within the "
        "domain and demonstrations, 95 %. A score forecasts an order, never points of accuracy.",
    )
    if direction := result.data["direction"]:
        section.text(_directions(direction["by"], direction["why"]))
    rows = rows.drop_nulls("rank").sort("rank", maintain_order=True)
    draw_forest(section, rows, ("score", "low", "high"), who, None)
    if rows["excess"].null_count() < len(rows):
        ends = ("excess", "excess_low", "excess_high")
        draw_forest(
            section, rows.sort("excess", descending=True), ends, f"{who} less its null", 0.0
        )
    listed = result.tables["forecast"].select(*SHORT, "texts", "tokens")
    add_table(section, by_set(result, listed, "rank"), "Domains")


def _directions(by: str, why: str) -> str:
    """Say whose directions the table tells, and why."""
    trials = "did best of the signed ones" if by in SIGNED[:2] else "did not hold"
    reason = {
        HELD: "the signed predictor that past forecasts validate",
        UNPROVEN: f"which is unproven here and {trials} in our trials (docs/predictors.md)",
    }
    return f"Directions are those of {by}, {reason.get(why, 'which the scores are of too')}."


def _ranks(page: Page, result: ForecastResult) -> None:
    rows = of_first_set(result, "predictors")
    if rows is None:
        return
    rows = rows.filter(~pl.col("predictor").str.ends_with("_raw"))  # the same on another scale
    section = page.section(
        "Predictors side by side",
        "Where each predictor puts each domain: 1 changes most, 0 least. Signed ones are ranked by "
        "size. A predictor that a trivial one agrees with says nothing of its own.",
    )
    best = rows.filter(predictor=result.data["score"]).sort("rank", nulls_last=True)
    order = best["domain"].to_list()
    amount = pl.when("signed").then(pl.col("score").abs()).otherwise("score")
    place = amount.rank("average").over("predictor") - 1  # domains that tie share a place
    count = pl.col("score").count().over("predictor")
    drawn = rows.with_columns(value=place / (count - 1).clip(1)).sort(
        pl.col("predictor") != result.data["score"],
        pl.col("domain").cast(pl.Enum(order)),
        maintain_order=True,
    )
    chart = heatmap(
        drawn.select(row="predictor", column="domain", value="value"),
        title="Place",
        domain=(0.0, 1.0),
    )
    section.figure(chart, f"Domains from left to right as {result.data['score']} orders them.")
    add_table(section.details("What each predictor says"), result.notes["titles"], "Predictors")


def _sets(page: Page, result: ForecastResult) -> None:
    frame = result.tables["sets"]
    if len(result.data["sets"]) < 2:
        return
    rows = frame.filter(predictor=result.data["score"])
    section = page.section(
        "SFT sets", "The mean score over all domains: which set changes these domains most."
    )
    if len(rows):
        rows = rows.sort("rank", maintain_order=True).rename({"sft": "domain"})
        draw_forest(section, rows, ("score", "low", "high"), result.data["score"], None)
    add_table(section, frame.rename({"first": "share first"}), "SFT sets by every predictor")


def _mixture(page: Page, result: ForecastResult) -> None:
    frame = result.tables.get("mixture")
    if frame is None:
        return
    section = page.section(
        "Mixture plan",
        "Examples to add so that domains at risk are practised again, in proportion to their score "
        "in excess of the null. mixture.jsonl holds the SFT set and the added examples, whose "
        "completions are outputs of the base model and not gold answers (column origin).",
    )
    section.text("Do not evaluate on the prompts that were added.")
    chart = bars(frame.select(label="domain", value="examples"), title="Examples to add")
    section.figure(chart, "Examples of each domain.", wide=True)
    add_table(section, frame, "Mixture plan")


def _scores(page: Page, result: ForecastResult) -> None:
    section = page.section("All scores", "Every predictor on every domain, with interval and null.")
    frame = result.tables["predictors"].drop("family", "observed_se")
    add_table(section, frame.head(ROWS), "Scores")


def _findings(page: Page, result: ForecastResult) -> None:
    found = result.tables["findings"]
    section = page.section("Findings", f"{len(found)} things to know about the input.")
    if len(found):
        add_table(section, found.select("level", "check", "detail"), "Findings")


def _method(page: Page, result: ForecastResult) -> None:
    config = result.notes["config"]
    section = page.section("Method")
    section.text(
        "A domain's score is the mean over draws of demonstrations of the mean over its texts. One "
        "bootstrap draws texts within each domain, and draws; all predictors and their nulls see "
        "the same. Ranks and the probability to be among the first come from it too.",
        "A predictor counts as validated where, on observed changes, the interval of its "
        "correlation lies above 0, its permutation p stays below .05 after adjusting for all "
        "predictors of all SFT sets, and leaving any one domain out does not halve it. On past "
        "forecasts, where the predictor that the others choose holds on the one left out.",
        "What a score cannot say: points of accuracy; whether a change comes from knowledge or "
        "from format and truncated answers; and, for predictors of amounts, its direction.",
    )
    section.facts(config.settings | {"seed": config.seed})
    manifest_section(page, result)
