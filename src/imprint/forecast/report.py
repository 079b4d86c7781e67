"""The report of a forecast: verdicts, domains beside their null, predictors, outcomes, latents."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from imprint.forecast.choice import validated
from imprint.forecast.result import ForecastResult
from imprint.report import Page, manifest_section, summary_html
from imprint.report import summary as markdown
from imprint.report.figures import bars, forest, heatmap, influence, scatter
from imprint.report.markdown import escape
from imprint.report.section import Body

TITLE = "Which domains SFT will change"
ROWS = 5000
SHORT = (
    "sft", "domain", "score", "low", "high", "null", "excess", "excess_low", "excess_high", "rank",
    "rank_low", "rank_high", "top", "direction", "observed",
)  # fmt: skip
JUDGED = (
    "sft", "predictor", "target", "domains", "pearson", "low", "high", "spearman", "p",
    "p_adjusted", "without_low", "without_high", "rests_most_on", "one_domain", "partial_digits",
    "noise_ceiling", "sign_accuracy", "sign_chance",
)  # fmt: skip
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


def render(result: ForecastResult) -> str:
    """Render the result as one HTML page."""
    page = Page(TITLE, _subtitle(result))
    page.verdicts(result.verdicts, headline=result.headline)
    parts = (
        _domains, _ranks, _outcomes, _sets, _latents, _mixture, _ablation, _history, _fit, _scores,
        _findings, _method,
    )  # fmt: skip
    for add in parts:
        add(page, result)
    return page.render()


def summary(result: ForecastResult) -> str:
    """Write the result as Markdown."""
    tables = result.tables
    chosen = {"Domains": _by_set(result, tables["forecast"].select(SHORT), "rank")}
    if "evaluation" in tables:
        judged = _by_set(result, tables["evaluation"].select(JUDGED), "pearson", descending=True)
        chosen["Predictors against what was observed"] = judged.select(JUDGED[:12])
    by_set = tables["sets"].filter(predictor=result.data["score"])
    if len(by_set) > 1:
        chosen["SFT sets"] = by_set
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


def _by_set(
    result: ForecastResult, frame: pl.DataFrame, by: str, *, descending: bool = False
) -> pl.DataFrame:
    """Order rows by SFT set as they were named, and within one by a column."""
    sets = pl.Enum([entry["sft"] for entry in result.data["sets"]])
    return frame.sort(pl.col("sft").cast(sets), by, descending=[False, descending], nulls_last=True)


def _first(result: ForecastResult, name: str) -> pl.DataFrame | None:
    """Give the rows of the first SFT set, which the headline is about."""
    frame = result.tables.get(name)
    if frame is None or frame.is_empty():
        return None
    return frame.filter(sft=result.data["sft"])


def _domains(page: Page, result: ForecastResult) -> None:
    rows = _first(result, "forecast")
    if rows is None:
        return
    who = result.data["score"]
    section = page.section(
        "Domains",
        f"{who} of each domain under SFT on {result.data['sft']}. Intervals draw texts within the "
        "domain and demonstrations, 95 %. A score forecasts an order, never points of accuracy.",
    )
    rows = rows.drop_nulls("rank").sort("rank", maintain_order=True)
    _forest(section, rows, ("score", "low", "high"), who, None)
    if rows["excess"].null_count() < len(rows):
        ends = ("excess", "excess_low", "excess_high")
        _forest(section, rows.sort("excess", descending=True), ends, f"{who} less its null", 0.0)
    listed = result.tables["forecast"].select(*SHORT, "texts", "tokens")
    _table(section, _by_set(result, listed, "rank"), "Domains")


def _forest(
    body: Body, rows: pl.DataFrame, names: tuple[str, str, str], title: str, zero: float | None
) -> None:
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


def _ranks(page: Page, result: ForecastResult) -> None:
    rows = _first(result, "predictors")
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
    _table(section.details("What each predictor says"), result.notes["titles"], "Predictors")


def _outcomes(page: Page, result: ForecastResult) -> None:
    judged = _first(result, "evaluation")
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
    listed = _by_set(result, listed, "pearson", descending=True)
    _table(section, listed, "Predictors and outcomes")
    across = result.tables.get("across_sets")
    if across is not None and len(across):
        _table(section, across, "Mean of Spearman's ρ over the SFT sets of this run")
        held = result.tables["across_held_out"]
        _table(section, held, "For each set, the predictor that did best on the others")


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
    rows = _first(result, "influence")
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
        _forest(section, rows, ("score", "low", "high"), result.data["score"], None)
    _table(section, frame.rename({"first": "share first"}), "SFT sets by every predictor")


def _latents(page: Page, result: ForecastResult) -> None:
    rows = _first(result, "shifted")
    if rows is None:
        return
    section = page.section(
        "Shifted latents",
        f"The latents that {result.data['sft']} shifts most surely, found by "
        f"{result.data['shift']} and ordered by the size of t. Stability is the share of draws "
        "that find the latent again, null the share of the null's draws that find it too.",
    )
    overlap = _first(result, "overlap")
    if overlap is not None:
        section.text(f"The null of every score of latents stands on {overlap['null'][0]}.")
        shown = overlap.rename({"stability": "overlap of draws"})
        _table(section, shown, "How many are found under the null too")
    name = "label" if "label" in rows.columns else "latent"
    drawn = rows.head(30)
    if "share" in drawn.columns and len(drawn):
        label = pl.format("{} {}", "latent", name) if name == "label" else pl.col("latent")
        chart = bars(
            drawn.select(label=label.cast(pl.String), value="share"), title="Share of total shift"
        )
        section.figure(chart, "Share of the total shift, the thirty surest first.", wide=True)
    _table(section, result.tables["shifted"], "Shifted latents")
    strongest = _first(result, "strongest")
    if strongest is not None:
        _table(section.details("Strongest texts"), strongest, "Texts that fire each latent most")


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
    _table(section, frame, "Mixture plan")


def _ablation(page: Page, result: ForecastResult) -> None:
    frame = _first(result, "ablation")
    if frame is None:
        return
    section = page.section(
        "Ablation",
        "Loss on gold answers, nats per token, when the strongest shifted latents are zeroed (what "
        "the SAE does not reconstruct is left as it is), beside random latents of like density.",
    )
    drawn = frame.select("domain", "excess", "low", "high").drop_nulls("excess")
    _forest(section, drawn, ("excess", "low", "high"), "Loss beyond random latents", 0.0)
    _table(section, frame, "Ablation")


def _history(page: Page, result: ForecastResult) -> None:
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
    _table(section, frame, "Predictors on past forecasts")
    _table(section, result.tables["held_out"], "The choice, held out")


def _fit(page: Page, result: ForecastResult) -> None:
    frame = result.tables.get("fit")
    if frame is not None:
        section = page.section(
            "Fit of the SAE",
            "Measured on these texts: fraction of variance unexplained (0 is perfect, 1 no better "
            "than the mean), latents that fire per token (L0), latents that never fire.",
        )
        _table(section, frame, "Fit")


def _scores(page: Page, result: ForecastResult) -> None:
    section = page.section("All scores", "Every predictor on every domain, with interval and null.")
    frame = result.tables["predictors"].drop("family", "observed_se")
    _table(section, frame.head(ROWS), "Scores")


def _findings(page: Page, result: ForecastResult) -> None:
    found = result.tables["findings"]
    section = page.section("Findings", f"{len(found)} things to know about the input.")
    if len(found):
        _table(section, found.select("level", "check", "detail"), "Findings")


def _method(page: Page, result: ForecastResult) -> None:
    config = result.notes["config"]
    section = page.section("Method")
    section.text(
        "A domain's score is the mean over draws of demonstrations of the mean over its texts. One "
        "bootstrap draws texts within each domain, and draws; all predictors and their nulls see "
        "the same. Ranks and the probability to be among the first come from it too.",
        "A predictor counts as validated where, on observed changes, the interval of its "
        "correlation lies above 0, its permutation p stays below .05 after adjusting for the "
        "number of predictors, and leaving any one domain out does not halve it. On past "
        "forecasts, where the predictor that the others choose holds on the one left out.",
        "What a score cannot say: points of accuracy; whether a change comes from knowledge or "
        "from format and truncated answers; and, for predictors of amounts, its direction.",
    )
    section.facts(config.settings | {"seed": config.seed})
    manifest_section(page, result)


def _table(body: Body, frame: pl.DataFrame, caption: str) -> None:
    lean = frame.select(c for c in frame.columns if frame[c].null_count() < len(frame))
    formats = {n: s for n, s in FORMATS.items() if n in lean.columns and lean[n].dtype.is_float()}
    body.table(lean, caption, formats=formats)
