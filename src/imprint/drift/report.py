"""The report of a drift measurement: verdicts, coloured texts, curves, tables, method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from imprint.drift.heat import coloured_text
from imprint.drift.result import DriftResult
from imprint.report import Page, manifest_section, summary_html
from imprint.report import summary as markdown
from imprint.report.figures import curve, forest, scatter
from imprint.report.section import Body

TITLE = "Where fine-tuning moved the model"
COLOURED = 8  # texts that are drawn token by token
ROWS = 5000
SHORT = (
    "tuned",
    "step",
    "measure",
    "mean",
    "se",
    "low",
    "high",
    "median",
    "p95",
    "tokens",
    "texts",
)
FORMATS = {
    **dict.fromkeys(("mean", "se", "low", "high", "median", "min", "max"), ".4f"),
    **dict.fromkeys(("p1", "p5", "p95", "p99", "kl", "reverse_kl", "js", "kl_max"), ".4f"),
    **dict.fromkeys(("delta_logprob", "delta_p", "rank_change", "accuracy_change"), "+.3f"),
    **dict.fromkeys(("top1_same", "base_accuracy", "tuned_accuracy"), ".1%"),
    **dict.fromkeys(("excess", "excess_low", "excess_high"), "+.4f"),
}


def render(result: DriftResult) -> str:
    """Render the result as one HTML page."""
    page = Page(TITLE, _subtitle(result))
    page.verdicts(result.verdicts, headline=result.headline)
    parts = (_amounts, _coloured, _along, _domains, _facts, _policy, _layers, _accuracy, _moved)
    for add in (*parts, _null, _findings, _method):
        add(page, result)
    return page.render()


def summary(result: DriftResult) -> str:
    """Write the result as Markdown."""
    wanted = {
        "Amounts": ("summary", SHORT),
        "Domains": ("domains", (*SHORT[:2], "domain", *SHORT[2:7])),
        "Facts by level": ("levels", (*SHORT[:2], "level", *SHORT[2:7])),
        "On-policy": ("on_policy_summary", (*SHORT[:2], "per", *SHORT[2:7])),
        "Random control": ("null", None),
    }
    tables = {
        title: frame if columns is None else frame.select(columns)
        for title, (name, columns) in wanted.items()
        if (frame := result.tables.get(name)) is not None and len(frame)
    }
    warned = result.tables["findings"].filter(pl.col("level") != "info")
    if len(warned):
        tables["Findings"] = warned.select("check", "detail")
    return markdown(TITLE, result.verdicts, tables, formats=FORMATS, headline=result.headline)


def fragment(result: DriftResult) -> str:
    """Show the result in a notebook."""
    shown = next(
        result.tables[n] for n in ("summary", "levels", "on_policy_summary") if n in result.tables
    )
    return summary_html(result.headline, result.verdicts, shown)


def _subtitle(result: DriftResult) -> str:
    names = [entry["tuned"] for entry in result.data["all_tuned"]]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{result.data['base']} → {', '.join(names[:4])}{more}"


def _last(result: DriftResult, name: str) -> pl.DataFrame | None:
    frame = result.tables.get(name)
    if frame is None or frame.is_empty():
        return None
    return frame.filter(pl.col("tuned") == result.data["tuned"])


def _amounts(page: Page, result: DriftResult) -> None:
    frame = result.tables.get("summary")
    if frame is None:
        return
    section = page.section(
        "How far",
        "Means over tokens, in nats; standard errors and 95 % intervals draw whole texts. kl is "
        "KL(base‖tuned), reverse_kl KL(tuned‖base).",
    )
    _table(section, frame, "Drift of each tuned model")


def _coloured(page: Page, result: DriftResult) -> None:
    texts, tokens = _last(result, "texts"), _last(result, "drift")
    if texts is None or tokens is None:
        return
    section = page.section(
        "Texts",
        f"The texts that moved most under {result.data['tuned']}, the stronger the ground of a "
        "token, the higher its KL(base‖tuned). Hovering shows the numbers.",
    )
    strongest = max(float(tokens["kl"].quantile(0.99) or 0), 1e-6)
    tokens = tokens.with_columns(
        base_p=pl.col("base_logprob").exp(), tuned_p=pl.col("tuned_logprob").exp()
    )
    for row in texts.sort("kl", descending=True).head(COLOURED).iter_rows(named=True):
        part = tokens.filter(pl.col("text") == row["text"])
        domain = f", {row['domain']}" if row["domain"] else ""
        caption = (
            f"Text {row['text']}{domain}: mean KL {row['kl']:.3g} nats over {row['tokens']} "
            f"tokens. Full strength from {strongest:.3g} nats."
        )
        section.figure(coloured_text(part, strongest=strongest), caption, wide=True)
    _table(section, texts.sort("kl", descending=True).head(ROWS), "Texts, most moved first")


def _along(page: Page, result: DriftResult) -> None:
    """Draw drift against the step, and against every column of numbers of the models table."""
    frame = result.tables.get("summary")
    if frame is None:
        return
    rows = frame.filter(pl.col("measure").is_in(["kl", "reverse_kl", "js"]))
    for column in _axes(result, rows):
        title = "Along training" if column == "step" else f"Against {column}"
        section = page.section(title, f"Drift of each checkpoint against its {column}.")
        drawn = _points(rows, column, pl.col("measure"))
        caption = f"Mean divergence by {column}."
        section.figure(_along_chart(drawn, column, "Nats per token"), caption, wide=True)


def _axes(result: DriftResult, frame: pl.DataFrame) -> Iterator[str]:
    for column in ("step", *result.notes["labels"]):
        if frame[column].dtype.is_numeric() and frame[column].drop_nulls().n_unique() > 1:
            yield column


def _points(rows: pl.DataFrame, column: str, series: pl.Expr) -> pl.DataFrame:
    return (
        rows.drop_nulls(column)
        .sort(column, maintain_order=True)
        .select(
            x=pl.col(column).cast(pl.Float64),
            y="mean",
            low="low",
            high="high",
            series=series,
            label="tuned",
        )
    )


def _along_chart(drawn: pl.DataFrame, column: str, y_title: str) -> Any:
    title = column.capitalize() if column == "step" else column
    if drawn.select("x", "series").is_duplicated().any():
        # several models of one size, say: no line joins them
        points = drawn.select("label", "x", "y", group="series")
        return scatter(points, x_title=title, y_title=y_title)
    return _curve(drawn.drop("label"), title, y_title, log_x=column != "step" and _wide(drawn["x"]))


def _wide(values: pl.Series) -> bool:
    """Whether values spread over so many sizes that their logarithms are drawn."""
    low, high = float(values.min() or 0), float(values.max() or 0)  # type: ignore[arg-type]
    return low > 0 and high >= 8 * low


def _curve(drawn: pl.DataFrame, x_title: str, y_title: str, *, log_x: bool = False) -> Any:
    if drawn["low"].null_count():
        drawn = drawn.drop("low", "high")
    return curve(drawn, x_title=x_title, y_title=y_title, log_x=log_x)


def _domains(page: Page, result: DriftResult) -> None:
    frame = _last(result, "domains")
    if frame is None:
        return
    section = page.section("By domain", "Each domain's mean with its interval.")
    rows = frame.filter(pl.col("measure") == "kl").sort("mean", descending=True)
    _forest(section, rows, "domain", "KL(base‖tuned), nats per token")
    _table(section, result.tables["domains"], "Drift by domain")


def _forest(body: Body, rows: pl.DataFrame, by: str, title: str) -> None:
    label = pl.col(by).cast(pl.String).fill_null("none")
    drawn = rows.select(
        label=label,
        estimate="mean",
        low=pl.col("low").fill_null(pl.col("mean")),
        high=pl.col("high").fill_null(pl.col("mean")),
    )
    highest = drawn["high"].max()
    end = 1.05 * float(highest) if isinstance(highest, float) and highest > 0 else 1.0
    chart = forest(drawn.head(40), title=title, domain=(0.0, end), threshold=None, zero=None)
    body.figure(chart, f"{title}, with 95 % intervals.", wide=True)


def _facts(page: Page, result: DriftResult) -> None:
    levels, relations = _last(result, "levels"), _last(result, "relations")
    if levels is None or relations is None:
        return
    section = page.section(
        "First token of facts",
        "The tuned model's ten likeliest tokens after the prompt, both models renormalised over "
        "them, KL(tuned‖base); and the same over the whole vocabulary.",
    )
    top = pl.col("measure") == "kl_tuned_base_top10"
    for frame, by, words in (
        (levels, "level", "mastery level"),
        (relations, "relation", "relation"),
    ):
        shown = frame.filter(top).sort(by)
        if len(shown):
            _forest(section, shown, by, f"Top-ten KL(tuned‖base) by {words}")
    _table(section, result.tables["levels"].rename({"tokens": "facts"}).drop("texts"), "By level")
    _table(
        section, result.tables["relations"].rename({"tokens": "facts"}).drop("texts"), "By relation"
    )
    rows = result.tables["levels"].filter(top)
    for column in _axes(result, rows):
        drawn = _points(rows, column, pl.format("level {}", "level"))
        chart = _along_chart(drawn, column, "Top-ten KL(tuned‖base)")
        section.figure(chart, f"First-token drift by {column} and level.", wide=True)


def _policy(page: Page, result: DriftResult) -> None:
    frame = result.tables.get("on_policy_summary")
    if frame is None:
        return
    section = page.section(
        "On-policy",
        "Completions drawn from the tuned model at temperature 1. Exact divergences sum over the "
        "vocabulary at every drawn position; k1 and k3 know the drawn token alone.",
    )
    _table(section, frame, "Divergence per token and per sequence")
    worst = result.tables["on_policy_sequences"].sort("kl_tuned_base", descending=True).head(200)
    _table(section.details("Completions"), worst, "Completions, most moved first")


def _layers(page: Page, result: DriftResult) -> None:
    frame = _last(result, "layers")
    if frame is None:
        return
    section = page.section(
        "Layers", "Residual streams on the same positions; layer 0 is the embedding."
    )
    titles = {
        "relative_change": "Relative change of the state",
        "cosine": "Cosine",
        "cka": "Linear CKA",
        "lens_kl_base_tuned": "Logit-lens KL(base‖tuned), nats",
    }
    for measure, title in titles.items():
        rows = frame.filter(pl.col("measure") == measure).drop_nulls("mean")
        if len(rows):
            drawn = rows.select(
                x=pl.col("layer").cast(pl.Float64), y="mean", low="low", high="high"
            )
            section.figure(_curve(drawn, "Layer", title), f"{title} by layer.")
    _table(section, result.tables["layers"], "Layers")


def _accuracy(page: Page, result: DriftResult) -> None:
    frame = result.tables.get("accuracy")
    if frame is None or "kl" not in frame.columns:
        return
    section = page.section("Drift and accuracy", "Each point is a checkpoint on a benchmark.")
    drawn = frame.select(label="tuned", x="kl", y="accuracy_change", group="benchmark")
    chart = scatter(drawn, x_title="KL(base‖tuned)", y_title="Change of accuracy")
    section.figure(chart, "Change of accuracy against drift.", wide=True)
    _table(section, frame, "Accuracy and drift")


def _moved(page: Page, result: DriftResult) -> None:
    frame = _last(result, "token_types")
    if frame is None:
        return
    section = page.section(
        "Tokens", "Tokens that were observed at least three times, most moved first."
    )
    _table(section, frame.drop("tuned", "step").head(ROWS), "Most-moved tokens")


def _null(page: Page, result: DriftResult) -> None:
    section = page.section(
        "Null",
        "The base against itself is 0 at every position, exactly. The random control is the base "
        "with the tuned model's changes put in a random order within each tensor.",
    )
    frame = result.tables.get("null")
    if frame is None:
        section.text("The random control was not asked for (--null 1).")
    else:
        _table(section, frame, "Random control")


def _findings(page: Page, result: DriftResult) -> None:
    found = result.tables["findings"]
    section = page.section("Findings", f"{len(found)} things to know about the input.")
    if len(found):
        _table(section, found, "Findings")


def _method(page: Page, result: DriftResult) -> None:
    config = result.notes["config"]
    section = page.section("Method")
    section.text(
        "Divergences sum over the whole vocabulary; logits are taken to float32 before the "
        "softmax. Where one vocabulary is padded beyond the other, both are taken over the tokens "
        "of the smaller. Texts are teacher-forced; those longer than the context are cut into "
        "windows, and the findings say how many.",
        "delta_logprob is the tuned minus the base's log-probability of the observed token, "
        "delta_p the same of probabilities, rank_change of its rank (1 is the likeliest). Of "
        "equally likely tokens the first counts as most likely.",
    )
    section.facts(config.settings | {"seed": config.seed})
    manifest_section(page, result)


def _table(body: Body, frame: pl.DataFrame, caption: str) -> None:
    lean = frame.select(c for c in frame.columns if frame[c].null_count() < len(frame))
    formats = {n: s for n, s in FORMATS.items() if n in lean.columns and lean[n].dtype.is_float()}
    body.table(lean, caption, formats=formats)
