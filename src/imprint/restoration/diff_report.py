"""The report of a comparison: verdicts, the curve beside its nulls, enrichment, tables, method."""

from __future__ import annotations

import polars as pl

from imprint.report import Page, manifest_section, summary_html
from imprint.report import summary as markdown
from imprint.report.figures import curve, forest
from imprint.report.section import Body
from imprint.restoration.diff_result import DiffResult
from imprint.restoration.spectrum_report import add_spectrum
from imprint.restoration.spectrum_tables import by_place

TITLE = "What fine-tuning changed in the weights"
WORDS = ("share", "null_permuted", "null_gaussian", "null_rounded", "excess")
PERCENT = {
    **dict.fromkeys(("top", "unchanged_fraction", "within_1e-5_fraction"), ".1%"),
    **dict.fromkeys(("share", "null_permuted", "null_gaussian", "null_rounded"), ".2%"),
    **dict.fromkeys(("effective_rank_share", "null_effective_rank_share"), ".1%"),
    "share_of_squares": ".2%",
    **dict.fromkeys(("share_of_parameters", "share_of_top", "share_of_relative"), ".2%"),
    "excess": "+.2%",
    "null_permuted_sd": ".2%",
    **dict.fromkeys(("mean_relative", "mean_absolute", "change_norm", "base_rms"), ".3e"),
    **dict.fromkeys(("threshold", "relative_norm"), ".3e"),
}
SERIES = {
    "share": "measured",
    "null_permuted": "shuffled",
    "null_gaussian": "normal noise",
    "null_rounded": "normal noise, rounded",
}


def render(result: DiffResult) -> str:
    """Render the result as one HTML page."""
    page = Page(TITLE, _subtitle(result))
    page.verdicts(result.verdicts, headline=result.headline)
    for add in (
        _concentration,
        _enrichment,
        add_spectrum,
        _over_steps,
        _tensors,
        _findings,
        _method,
    ):
        add(page, result)
    return page.render()


def summary(result: DiffResult) -> str:
    """Write the result as Markdown."""
    tables = {
        "Checkpoints": result.tables["tuned"],
        "Concentration": result.tables["concentration"].select("tuned", "by", "top", *WORDS),
        "Modules": result.tables["modules"],
    }
    if "spectrum" in result.tables:
        tables["Spectrum"] = by_place(result.tables["spectrum"], "module")
    warned = result.tables["findings"].filter(pl.col("level") != "info")
    if len(warned):
        tables["Findings"] = warned.select("check", "detail")
    return markdown(TITLE, result.verdicts, tables, formats=PERCENT, headline=result.headline)


def fragment(result: DiffResult) -> str:
    """Show the result in a notebook."""
    return summary_html(result.headline, result.verdicts, result.tables["concentration"])


def _subtitle(result: DiffResult) -> str:
    data = result.data
    names = ", ".join(result.tables["tuned"]["tuned"].to_list()[:4])
    return f"{data['base']} → {names}: {data['parameters']:,} weights in {data['region']!r}"


def _concentration(page: Page, result: DiffResult) -> None:
    section = page.section(
        "Concentration beside chance",
        "The share of all change that the most changed weights hold. A high curve alone says "
        "nothing: relative change is large wherever the weight before was small.",
    )
    frame = result.tables["concentration"]
    for kind, title in (("relative", "relative change"), ("absolute", "absolute change")):
        rows = frame.filter(pl.col("by") == kind)
        for name in rows["tuned"].unique(maintain_order=True).to_list()[-4:]:
            drawn = _series(rows.filter(pl.col("tuned") == name))
            if len(drawn):
                section.figure(
                    curve(
                        drawn,
                        x_title="Share of the weights, most changed first",
                        y_title=f"Share of all {title}",
                        y_domain=(0.0, 1.0),
                    ),
                    f"{name}, by {title}: measured and by chance.",
                    wide=True,
                )
    _table(section, frame, "Concentration, both scores")


def _series(rows: pl.DataFrame) -> pl.DataFrame:
    parts = [
        rows.select(x="top", y=pl.col(column).cast(pl.Float64), series=pl.lit(name))
        for column, name in SERIES.items()
    ]
    return pl.concat(parts).drop_nulls("y")


def _enrichment(page: Page, result: DiffResult) -> None:
    at = result.data["enrichment_at"]
    section = page.section(
        "Where the change lies",
        f"Enrichment: the share of the top {at:.3g} by relative change over the share of the "
        "parameters. One is what size alone gives.",
    )
    name = result.data["tuned"]
    for by in ("modules", "layers"):
        key = by.removesuffix("s")
        rows = result.tables[by].filter(pl.col("tuned") == name).drop_nulls("enrichment")
        if len(rows):
            label = pl.concat_str(pl.lit(f"{key} "), pl.col(key).cast(pl.String)).fill_null(
                "outside"
            )
            highest = rows["enrichment"].max()
            end = max(2.0, float(highest) if isinstance(highest, int | float) else 2.0)
            drawn = rows.select(
                label=label, estimate="enrichment", low="enrichment", high="enrichment"
            )
            chart = forest(drawn, title="Enrichment", domain=(0.0, end), threshold=1.0, zero=None)
            section.figure(chart, f"Enrichment of each {key}, {name}.", wide=True)
        _table(section, result.tables[by], f"Enrichment by {key}")


def _over_steps(page: Page, result: DiffResult) -> None:
    section = page.section(
        "Checkpoints", "How far each tuned checkpoint moved, and how much stayed as it was."
    )
    frame = result.tables["tuned"]
    steps = frame.drop_nulls("step")
    if len(steps) > 1:
        for column, title in (
            ("unchanged_fraction", "Share of weights unchanged"),
            ("change_norm", "Norm of the change"),
        ):
            drawn = steps.select(x=pl.col("step").cast(pl.Float64), y=column)
            section.figure(curve(drawn, x_title="Step", y_title=title), f"{title}, by step.")
    _table(section, frame, "Tuned checkpoints")
    if "cosines" in result.tables:
        _table(section, result.tables["cosines"], "Cosine between the changes of two checkpoints")


def _tensors(page: Page, result: DiffResult) -> None:
    section = page.section("Tensors", "Also as Parquet in the run folder.")
    frame = result.tables["tensors"].head(20_000)
    _table(section.details("All tensors"), frame, "Change of each tensor")


def _findings(page: Page, result: DiffResult) -> None:
    found = result.tables["findings"]
    section = page.section("Findings", f"{len(found)} things to know about the checkpoints.")
    if len(found):
        _table(section, found, "Findings")


def _method(page: Page, result: DiffResult) -> None:
    config = result.notes["config"]
    section = page.section("Method and nulls")
    section.text(
        f"Relative change is |Δ| / (|base| + {config.eps:g}) in float32. Counts, thresholds and "
        "sums are exact: scores are counted by their bits, and equal scores are taken in flat "
        "order.",
        f"Shuffled: the mean of {config.permutations} draws in which each tensor's changes are "
        "put in a random order while its weights stay. Normal noise: independent normal weights "
        "and changes, with the root mean square of the region's base weights; for absolute "
        "change its closed form. Excess is over the shuffled null for relative change, and over "
        "normal noise for absolute change, where shuffling changes nothing. Normal noise, rounded: "
        "where weights have 16 bits, normal changes of a sample of the base's weights, rounded as "
        "the tuned weights are stored, with the measured root mean square after rounding.",
        "Concentration is told as beyond chance where some share exceeds its null by more than "
        "two points and three standard deviations between draws; for absolute change the larger "
        "of both nulls counts.",
    )
    section.facts(config.settings | {"seed": config.seed})
    manifest_section(page, result)


def _table(body: Body, frame: pl.DataFrame, caption: str) -> None:
    lean = frame.select(c for c in frame.columns if frame[c].null_count() < len(frame))
    formats = {name: spec for name, spec in PERCENT.items() if name in lean.columns}
    body.table(lean, caption, formats=formats)
