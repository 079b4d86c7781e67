"""The report's sections on predictors against outcomes: of this run, and of past ones."""

from __future__ import annotations

from typing import Any

import polars as pl

from imprint.forecast.choice import validated
from imprint.forecast.report_parts import add_table, by_set, of_first_set
from imprint.forecast.result import ForecastResult
from imprint.report import Page
from imprint.report.figures import forest, influence, scatter
from imprint.report.section import Body

JUDGED = (
    "sft", "predictor", "target", "domains", "pearson", "low", "high", "spearman", "p",
    "p_adjusted", "without_low", "without_high", "rests_most_on", "one_domain", "partial_digits",
    "noise_ceiling", "sign_accuracy", "sign_chance",
)  # fmt: skip


def outcomes(page: Page, result: ForecastResult) -> None:
    """Say how well each predictor follows what was observed."""
    judged = of_first_set(result, "evaluation")
    if judged is None:
        return
    section = page.section(
        "What was observed",
        "Pearson's r of each predictor with the size of the observed change, of a signed one with "
        "the change itself; Fisher's 95 % interval. p permutes domains and is adjusted over all "
        "predictors. The noise ceiling is what a perfect predictor would reach on these outcomes.",
    )
    passed = validated(judged)
    drawn = judged.drop_nulls("pearson").sort("pearson", descending=True)
    if len(drawn):
        against = pl.when(pl.col("high") < 0).then(pl.lit("does_not_hold"))
        state = (
            pl.when(pl.col("predictor").is_in(passed))
            .then(pl.lit("holds"))
            .otherwise(against.otherwise(pl.lit("undetermined")))
        )
        rows = drawn.select(
            label="predictor",
            estimate="pearson",
            low=pl.col("low").fill_null(-1),
            high=pl.col("high").fill_null(1),
            state=state,
        )
        words: Any = {
            "holds": "validated",
            "does_not_hold": "the wrong way",
            "undetermined": "not validated",
        }
        chart = forest(rows, title="Correlation with the outcome", words=words)
        section.figure(chart, "Predictors against the observed changes.", wide=True)
        _scatter(section, result, drawn["predictor"][0])
        _influence(section, result, drawn["predictor"].head(8).to_list())
    listed = result.tables["evaluation"].select(JUDGED)
    listed = by_set(result, listed, "pearson", descending=True)
    add_table(section, listed, "Predictors and outcomes")
    across = result.tables.get("across_sets")
    if across is not None and len(across):
        add_table(section, across, "Mean of Spearman's ρ over the SFT sets of this run")
        held = result.tables["across_held_out"]
        add_table(section, held, "For each set, the predictor that did best on the others")


def _scatter(body: Body, result: ForecastResult, best: str) -> None:
    names = list(dict.fromkeys([result.data["score"], best, "digit_share"]))
    rows = result.tables["predictors"].filter(pl.col("predictor").is_in(names))
    rows = rows.drop_nulls(["observed", "score"]).with_columns(
        y=pl.when("signed").then("observed").otherwise(pl.col("observed").abs())
    )
    for name in names:
        own = rows.filter(predictor=name)
        if own.is_empty():
            continue
        drawn = own.select(label="domain", x="score", y="y", group="sft")
        if drawn["group"].n_unique() < 2:
            drawn = drawn.drop("group")
        target = "Observed change" if own["signed"][0] else "Size of the observed change"
        chart = scatter(drawn, x_title=name, y_title=target)
        body.figure(chart, f"{name} against the outcome; hovering names the domain.")


def _influence(body: Body, result: ForecastResult, names: list[str]) -> None:
    rows = of_first_set(result, "influence")
    if rows is None:
        return
    rows = rows.filter(pl.col("predictor").is_in(names)).drop_nulls("r_without")
    if len(rows):
        drawn = rows.select("r_without", "r", benchmark="predictor", unit="domain")
        body.figure(
            influence(drawn, title="r"),
            "r without each single domain; the bar is r with all. Hovering names who was left out.",
            wide=True,
        )


def history(page: Page, result: ForecastResult) -> None:
    """Say how well each did on past forecasts."""
    frame = result.tables.get("history")
    if frame is None:
        return
    section = page.section(
        "Past forecasts",
        "Spearman's ρ of each predictor with past outcomes, the mean over forecasts with Student's "
        "interval. Held out: for each forecast the predictor that did best on the others.",
    )
    rows = frame.drop_nulls("mean").head(30)
    if len(rows):
        drawn = rows.select(
            label="predictor",
            estimate="mean",
            low=pl.col("low").fill_null(-1),
            high=pl.col("high").fill_null(1),
        )
        section.figure(forest(drawn, title="Mean ρ"), "Predictors on past forecasts.", wide=True)
    add_table(section, frame, "Predictors on past forecasts")
    add_table(section, result.tables["held_out"], "The choice, held out")
