"""The report of a sweep: verdicts, dev scores along the sweep, the test, tables, method."""

from __future__ import annotations

import polars as pl

from imprint.report import Page, manifest_section, summary_html
from imprint.report import summary as markdown
from imprint.report.figure import Chart
from imprint.report.figures import curve, forest
from imprint.restoration.sweep.result import SweepResult

TITLE = "How much of the change to put back"
FORMATS = {
    "top": ".4f",
    **dict.fromkeys(("score", "low", "high", "retained", "change_norm"), ".4f"),
    "mean": "+.4f",
    "margin": ".4f",
}
SERIES = {
    "method": "restoration",
    "interpolate": "interpolation of the same norm",
    "random": "random restoration",
    "bottom": "the other end of the order",
    "tuned": "tuned",
    "base": "base",
}
SHORT = {**SERIES, "interpolate": "interpolation", "random": "random", "bottom": "other end"}
SHOWN = ["point", "region", "top", "seed", "score", "low", "high", "retained", "change_norm"]


def render(result: SweepResult) -> str:
    """Render the result as one HTML page."""
    page = Page(TITLE, _subtitle(result))
    page.verdicts(result.verdicts, headline=result.headline)
    for add in (_dev, _test, _tables, _method):
        add(page, result)
    return page.render()


def summary(result: SweepResult) -> str:
    """Write the result as Markdown."""
    frame = result.tables["sweep"]
    dev, test = (frame.filter(pl.col("split") == split).select(SHOWN) for split in ("dev", "test"))
    tables = {"Dev": dev.drop("retained"), "Test, and the score on retain": test}
    warned = [(f.check, f.detail) for f in result.findings if f.level != "info"]
    if warned:
        tables["Findings"] = pl.DataFrame(warned, schema=["check", "detail"], orient="row")
    return markdown(
        TITLE, result.verdicts, tables, formats=FORMATS, rows=200, headline=result.headline
    )


def fragment(result: SweepResult) -> str:
    """Show the result in a notebook."""
    frame = result.tables["comparisons"].select("split", "against", "mean", "low", "high", "state")
    return summary_html(result.headline, result.verdicts, frame)


def _subtitle(result: SweepResult) -> str:
    data = result.data
    items = ", ".join(f"{n:,} items of {split}" for split, n in data["items"].items())
    return f"{data['tuned']} towards {data['base']}; {items}; {data['unit']}"


def _dev(page: Page, result: SweepResult) -> None:
    section = page.section(
        "Along the sweep",
        "Mean scores on dev, on which the point was chosen, with 95 % intervals over items.",
    )
    rows = result.tables["sweep"].filter(pl.col("split") == "dev")
    chart = _curve(rows, result) if result.data["axis"] == "ratios" else _forest(rows)
    caption = "Dev scores at every point, beside the controls. Higher is better."
    section.figure(chart, caption, wide=True)


def _curve(rows: pl.DataFrame, result: SweepResult) -> Chart:
    parts = [_series(rows, role) for role in ("method", "interpolate", "random", "bottom")]
    ends = rows.filter(pl.col("role") == "method")["top"]
    parts += [_line(rows, role, ends) for role in ("tuned", "base")]
    return curve(
        pl.concat([part for part in parts if len(part)]),
        x_title=f"Share of {result.data['region']} put back",
        y_title=f"Dev score ({result.data['unit']})",
    )


def _series(rows: pl.DataFrame, role: str) -> pl.DataFrame:
    # random restoration has several seeds: their mean, and the mean of their intervals' ends
    found = rows.filter(pl.col("role") == role).group_by("top", maintain_order=True)
    means = found.agg(pl.col("score", "low", "high").mean())
    return means.select(x="top", y="score", low="low", high="high", series=pl.lit(SERIES[role]))


def _line(rows: pl.DataFrame, role: str, at: pl.Series) -> pl.DataFrame:
    score = rows.filter(pl.col("role") == role)["score"][0]
    level = pl.lit(score)
    drawn = pl.DataFrame({"x": at.unique().sort()})
    return drawn.select("x", y=level, low=level, high=level, series=pl.lit(SERIES[role]))


def _forest(rows: pl.DataFrame) -> Chart:
    reference = pl.col("role").is_in(["tuned", "base"])
    named = pl.col("role").replace_strict(SHORT)
    random = pl.col("role") == "random"
    share = pl.when(pl.col("top") < 1).then(pl.format(" {}", "top")).otherwise(pl.lit(""))
    drawn = rows.select(
        label=pl.when(reference)
        .then(named)
        .when(random)
        .then(pl.format("{} {}{}", named, "seed", share))
        .otherwise(pl.format("{}{}", named, share)),
        estimate="score",
        low="low",
        high="high",
        group=pl.when(reference).then(pl.lit("")).otherwise("region"),
    )
    order = pl.Enum(drawn["group"].unique(maintain_order=True))
    drawn = drawn.sort(pl.col("group").cast(order), maintain_order=True)
    return forest(drawn, title="Dev score", domain=_span(drawn), zero=None)


def _span(frame: pl.DataFrame) -> tuple[float, float]:
    low, high = frame["low"].min(), frame["high"].max()
    if not isinstance(low, float) or not isinstance(high, float) or low == high:
        return (-1.0, 1.0)
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _test(page: Page, result: SweepResult) -> None:
    section = page.section(
        "The test",
        "The chosen point against its rivals on the same items, once. Each interval must lie "
        "above 0; on retain it must not lie below the loss that is called none.",
    )
    frame = result.tables["comparisons"]
    if not len(frame):
        section.text(result.headline)
        return
    drawn = frame.select(
        label=pl.format(
            "{}: chosen − {}", "split", pl.col("against").str.replace("_best", " (best)")
        ),
        estimate="mean",
        low="low",
        high="high",
        state="state",
    )
    low, high = _span(drawn)
    span = (min(low, -0.01), max(high, 0.01))
    chart = forest(drawn, title="Difference", domain=span, zero=0.0)
    section.figure(chart, "Paired differences with 95 % intervals over items.", wide=True)
    section.table(frame, "Comparisons", formats={k: v for k, v in FORMATS.items() if k in frame})


def _tables(page: Page, result: SweepResult) -> None:
    section = page.section("All points", "Also as Parquet in the run folder.")
    frame = result.tables["sweep"]
    section.table(frame, "Scores", formats={k: v for k, v in FORMATS.items() if k in frame})
    for finding in result.findings:
        section.text(f"{finding.check}: {finding.detail}")


def _method(page: Page, result: SweepResult) -> None:
    section = page.section("Method and controls")
    section.text(
        "Weights are restored in memory; they equal those of the checkpoint that is written for "
        "the same settings. The point with the best mean dev score is chosen, among equals the one "
        "with the fewest weights put back; top 0 is the tuned model itself. Test and retain are "
        "scored only for the chosen point, its controls, tuned and base.",
        "Interpolation shrinks all changes to the norm that the point leaves. Random restoration "
        "puts back as many weights, drawn by chance; its score on an item is the mean over seeds. "
        "Where a whole region goes back, both work on all swept regions, since within the region "
        "they would do the same.",
        "Intervals are 95 % percentile intervals of a bootstrap over items; differences are paired "
        "by item. Repair helps only where every comparison holds, so nothing is corrected for "
        "their number. The intervals say nothing about other trainings of the same model.",
    )
    settings = result.data["settings"]
    restored = dict(settings["sweep"]["restore"])
    if not restored["compat"]:
        del restored["dtype"]
    model = {"axis": result.data["axis"], "model in": settings["sweep"]["dtype"] or "stored type"}
    section.facts({**restored, **settings["evaluation"], **model})
    manifest_section(page, result)
