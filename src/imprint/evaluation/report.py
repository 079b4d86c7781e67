"""The report of an evaluation: scores beside chance, calibration, pass rates, method."""

from __future__ import annotations

import polars as pl

from imprint.evaluation.judging import BINS
from imprint.evaluation.result import EvaluateResult
from imprint.evaluation.subjects import LABELS
from imprint.report import Page, manifest_section, summary_html
from imprint.report import summary as markdown
from imprint.report.figures import bars, forest, reliability_diagram
from imprint.stats import reliability_curve

TITLE = "How models answer"
FORMATS = {
    **dict.fromkeys(("accuracy", "accuracy_low", "accuracy_high", "chance"), ".3f"),
    **dict.fromkeys(("confidence", "confidence_low", "confidence_high"), ".3f"),
    **dict.fromkeys(("ece", "null_mean", "null_high"), ".3f"),
    **dict.fromkeys(("pass_at_k", "low", "high"), ".3f"),
    "p": "p",
    "q": "p",
    "state": "state",
}
WORDS = {"holds": "above chance", "does_not_hold": "below chance"}
SCORES = [
    *("unit", "scale", "stage", "replicate", "step", "benchmark", "metric", "items", "chance"),
    *("accuracy", "accuracy_low", "accuracy_high", "confidence", "confidence_low"),
    *("confidence_high", "cut_items", "shots", "chat_template", "q", "state"),
]
PANELS = 12  # reliability diagrams on a page


def render(result: EvaluateResult) -> str:
    """Render the result as one HTML page."""
    page = Page(TITLE, _subtitle(result))
    page.verdicts(result.verdicts, headline=result.headline, words=WORDS)  # type: ignore[arg-type]
    for add in (_scores, _calibration, _rollouts, _findings, _method):
        add(page, result)
    return page.render()


def summary(result: EvaluateResult) -> str:
    """Write the result as Markdown."""
    tables = {}
    if "benchmarks" in result.tables:
        tables["Scores"] = _shown(result.tables["benchmarks"], SCORES)
    if "calibration" in result.tables:
        tables["Calibration"] = _shown(result.tables["calibration"], [])
    if "pass_at_k" in result.tables:
        tables["Mean pass@k"] = _shown(result.tables["pass_at_k"], [])
    warned = [(f.check, f.detail) for f in result.findings if f.level != "info"]
    if warned:
        tables["Findings"] = pl.DataFrame(warned, schema=["check", "detail"], orient="row")
    return markdown(
        TITLE, result.verdicts, tables, formats=FORMATS, rows=200, headline=result.headline
    )


def fragment(result: EvaluateResult) -> str:
    """Show the result in a notebook."""
    frame = result.tables.get("benchmarks", result.tables.get("pass_at_k", pl.DataFrame()))
    return summary_html(result.headline, result.verdicts, _shown(frame, SCORES))


def _subtitle(result: EvaluateResult) -> str:
    settings = result.data["settings"]
    models = len(result.data["engines"])
    return f"{models} model{'s' if models != 1 else ''}, engine {settings['engine']}"


def _scores(page: Page, result: EvaluateResult) -> None:
    if "benchmarks" not in result.tables:
        return
    section = page.section(
        "Scores",
        "Accuracy and confidence (the probability of the selected option) per model and "
        "benchmark, with 95 % intervals, beside what guessing would give.",
    )
    frame = result.tables["benchmarks"]
    for name in frame["benchmark"].unique(maintain_order=True):
        rows = frame.filter(pl.col("benchmark") == name)
        chance = rows["chance"][0]
        caption = f"{name}: " + (
            f"chance is {chance:.3f}, dashed." if chance else "chance unknown."
        )
        chart = forest(_drawn(rows), title="Share", domain=(0.0, 1.0), threshold=chance, zero=None)
        section.figure(chart, caption, wide=True)
    shown = _shown(frame, SCORES)
    section.table(shown, "All scores", formats={k: v for k, v in FORMATS.items() if k in shown})


def _drawn(rows: pl.DataFrame) -> pl.DataFrame:
    """Give a row for accuracy and one for confidence of each model."""
    parts = []
    for name in ("accuracy", "confidence"):
        parts.append(
            rows.select(
                label=_name(rows),
                estimate=pl.col(name).cast(pl.Float64),
                low=pl.col(f"{name}_low").cast(pl.Float64),
                high=pl.col(f"{name}_high").cast(pl.Float64),
                group=pl.lit(name),
            )
        )
    return pl.concat([part for part in parts if part["estimate"].null_count() < len(part)])


def _name(frame: pl.DataFrame) -> pl.Expr:
    names = [c for c in ("unit", "scale", "stage", "replicate", "step") if c in frame.columns]
    return pl.concat_str(names, separator=" ", ignore_nulls=True)


def _calibration(page: Page, result: EvaluateResult) -> None:
    frame = result.tables.get("calibration")
    if frame is None:
        return
    section = page.section(
        "Calibration",
        "Does confidence mean what it says? Expected calibration error in 15 bins of equal mass, "
        "beside what chance gives a model whose answers are right exactly as often as it is sure.",
    )
    enough = frame.drop_nulls("ece")
    if len(enough):
        chart = reliability_diagram(_bins(result.tables["items"], enough.head(PANELS)))
        left = len(enough) - PANELS
        told = f" {left} more are left out." if left > 0 else ""
        section.figure(chart, "Accuracy against confidence; on the line they agree." + told)
    shown = _shown(frame, [])
    section.table(
        shown, "Calibration error", formats={k: v for k, v in FORMATS.items() if k in shown}
    )


def _bins(items: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Give the bins of every row's items, a panel per benchmark and model."""
    keys = [c for c in (*LABELS, "benchmark") if c in rows.columns]
    parts = []
    for row in rows.iter_rows(named=True):
        same = [pl.col(c).eq_missing(pl.lit(row[c])) for c in keys]
        own = items.filter(*same).drop_nulls(["confidence", "correct"])
        found = reliability_curve(own["confidence"].to_numpy(), own["correct"].to_numpy(), BINS)
        panel = " ".join(str(row[c]) for c in keys if row[c] is not None)
        columns = {"confidence": found.confidence, "accuracy": found.accuracy}
        bins = pl.DataFrame({**columns, "count": found.items}, nan_to_null=True)
        parts.append(bins.with_columns(panel=pl.lit(panel), count=pl.col("count").cast(pl.Int64)))
    return pl.concat(parts)


def _rollouts(page: Page, result: EvaluateResult) -> None:
    rates = result.tables.get("pass_rates")
    if rates is None:
        return
    section = page.section(
        "Verified rollouts",
        "How often what a model wrote was right, and how often at least one of k was; means over "
        "prompts with 95 % intervals of a bootstrap over prompts.",
    )
    means = result.tables["pass_at_k"]
    drawn = means.select(
        label=pl.format("pass@{}", "k"),
        estimate="pass_at_k",
        low="low",
        high="high",
        group=_name(means),
    )
    chart = forest(drawn, title="Share of prompts", domain=(0.0, 1.0), zero=None)
    section.figure(chart, "Mean pass@k over prompts.", wide=True)
    counted = rates.group_by("c").agg(prompts=pl.len()).sort("c")
    spread = counted.select(pl.col("c").cast(pl.String).alias("label"), pl.col("prompts"))
    section.figure(
        bars(spread.rename({"prompts": "value"}), title="Prompts"),
        f"Prompts by how many of their {result.data['settings']['samples']} rollouts passed.",
    )
    shown = _shown(means, [])
    section.table(shown, "Mean pass@k", formats={k: v for k, v in FORMATS.items() if k in shown})
    hardest = rates.select("item", "domain", "n", "c", "pass_rate", "ci_low", "ci_high")
    section.details("Prompts").table(hardest.head(1000), "Pass rate per prompt (1,000 at most)")


def _findings(page: Page, result: EvaluateResult) -> None:
    if result.findings:
        section = page.section("Findings")
        for finding in result.findings:
            section.text(f"{finding.check}: {finding.detail}")


def _method(page: Page, result: EvaluateResult) -> None:
    section = page.section("Method")
    section.text(
        "An option's score is the sum of its tokens' log-probabilities after the context, in "
        "float32, normalised as the settings say. The option with the highest score is selected, "
        "the first on ties. Confidence is the softmax over the options' scores at the selected "
        "one. Contexts that are too long are cut from the left, and counted.",
        "Accuracy has Wilson's 95 % interval, mean confidence a normal one. The test against "
        "chance is binomial, two-sided, corrected over all models and benchmarks "
        "(Benjamini–Hochberg, 5 %). The intervals are over items: they say nothing about other "
        "trainings of the same model.",
        "A rollout passes with a reward of 1. Pass@k is the unbiased estimate of arXiv 2107.03374; "
        "per prompt its interval follows from Wilson's for the pass rate.",
    )
    section.facts(result.data["settings"])
    manifest_section(page, result)


def _shown(frame: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """Leave out columns that hold nothing."""
    kept = [c for c in (columns or frame.columns) if c in frame.columns]
    return frame.select([c for c in kept if frame[c].null_count() < len(frame)])
