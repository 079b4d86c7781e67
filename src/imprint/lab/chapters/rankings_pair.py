"""Chapter 1 where there are too few models to rank: what fine-tuning did to each benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from imprint.lab.chapters.chapter import Chapter
from imprint.lab.chapters.part import interval
from imprint.report import Section
from imprint.report.figures import forest
from imprint.stats import benjamini_hochberg, mcnemar, paired_difference

MODEL = ("unit", "scale", "replicate")
LEVEL = 0.05
STATES = {"rises": "holds", "falls": "does_not_hold"}


def changes(items: pl.DataFrame, categories: Mapping[str, str]) -> pl.DataFrame:
    """Compare each tuned model with its base on the same items, benchmark by benchmark.

    Several prompts of an item are averaged first. ``p`` is that as many items get worse as better
    (exact; McNemar's where an item has one prompt), adjusted over all rows after Benjamini and
    Hochberg; ``change`` is told at an adjusted p of .05, where the mean went the same way.

    Args:
        items: of an evaluation, of two stages or more.
        categories: benchmark → category.

    Returns:
        A row per model, stage after ``pretrained`` and benchmark: accuracy before and after, the
        mean difference of accuracy and of confidence with Student's 95 % intervals over items, in
        shares of 1.
    """
    asked = [*(name for name in MODEL if name in items.columns), "benchmark", "item"]
    if "replicate" in asked:
        items = items.with_columns(pl.col("replicate").cast(pl.String).fill_null("0"))
    means = (
        items.drop_nulls("correct")
        .group_by(*asked, "stage", maintain_order=True)
        .agg(pl.col("correct").mean(), pl.col("confidence").mean())
    )
    before = means.filter(stage="pretrained").drop("stage")
    both = means.filter(pl.col("stage") != "pretrained").join(
        before, on=asked, suffix="_before", nulls_equal=True, maintain_order="left"
    )
    by = [name for name in asked if name != "item"] + ["stage"]
    rows = [
        dict(zip(by, key, strict=True)) | _compared(own)
        for key, own in both.group_by(by, maintain_order=True)
    ]
    return _told(pl.DataFrame(rows, infer_schema_length=None), categories) if rows else both.clear()


def pair_chapter(number: int, title: str, lacks: str, table: pl.DataFrame) -> Chapter:
    """Write the chapter: no ranking, but what changed.

    Args:
        number, title: of the chapter.
        lacks: why there is no ranking.
        table: of :func:`changes`, not empty.
    """
    counts = dict(table["change"].value_counts().iter_rows())
    by = [name for name in (*MODEL, "stage") if name in table.columns]
    parts = [_told_of(own) for _, own in table.group_by(by, maintain_order=True)]
    chapter = Chapter(number, title, f"{lacks} {' '.join(parts)}")
    chapter.missing = [lacks]
    chapter.undecided = counts.get("cannot tell", 0)
    chapter.decided = len(table) - chapter.undecided
    chapter.tables = {"rankings_changes": table}
    chapter.sections = [_section(number, title, table)]
    return chapter


def _compared(own: pl.DataFrame) -> dict[str, Any]:
    was, now = own["correct_before"].to_numpy(), own["correct"].to_numpy()
    accuracy = paired_difference(now, was)
    confidence = paired_difference(
        own["confidence"].cast(pl.Float64).to_numpy(),
        own["confidence_before"].cast(pl.Float64).to_numpy(),
    )
    lost, gained = int(np.count_nonzero(now < was)), int(np.count_nonzero(now > was))
    return {
        "items": accuracy.n,
        "before": float(np.mean(was)),
        "after": float(np.mean(now)),
        "difference": accuracy.mean,
        "low": accuracy.low,
        "high": accuracy.high,
        "lost": lost,
        "gained": gained,
        "p": float(mcnemar(lost, gained)),
        "confidence_difference": confidence.mean,
        "confidence_low": confidence.low,
        "confidence_high": confidence.high,
    }


def _told(table: pl.DataFrame, categories: Mapping[str, str]) -> pl.DataFrame:
    adjusted = pl.Series("p_adjusted", benjamini_hochberg(table["p"].to_numpy()))
    more = pl.col("gained") > pl.col("lost")
    way = pl.when(more).then(pl.lit("rises")).otherwise(pl.lit("falls"))
    # with several prompts an item, many small losses and few large gains point apart
    clear = (pl.col("p_adjusted") <= LEVEL) & ((pl.col("difference") > 0) == more)
    known = pl.col("benchmark").replace_strict(
        dict(categories), default=None, return_dtype=pl.String
    )
    return table.with_columns(adjusted, known.alias("category")).with_columns(
        pl.when(clear).then(way).otherwise(pl.lit("cannot tell")).alias("change")
    )


def _told_of(own: pl.DataFrame) -> str:
    """Say what changed in one tuned model; benchmarks have items of their own."""
    half = (own["high"] - own["low"]).to_numpy() / 2
    mean, spread = float(own["difference"].mean() or 0), float(np.sqrt((half**2).sum()) / len(half))  # type: ignore[arg-type]
    told = interval(100 * mean, 100 * (mean - spread), 100 * (mean + spread), "+.1f")
    row, counts = own.row(0, named=True), dict(own["change"].value_counts().iter_rows())
    model = " ".join(str(row[name]) for name in ("unit", "scale", "stage") if row.get(name))
    return (
        f"{model}: accuracy changed by {told} points on average over {len(own)} benchmarks; it "
        f"rises on {counts.get('rises', 0)}, falls on {counts.get('falls', 0)}, and of "
        f"{counts.get('cannot tell', 0)} it cannot be told."
    )


def _section(number: int, title: str, table: pl.DataFrame) -> Section:
    section = Section(
        f"{number}. {title}",
        "Too few models to rank. Below, each tuned model beside its base on the same items: the "
        "difference in accuracy with its 95 % interval over items. p is that as many items get "
        "worse as better (exact), adjusted over all rows.",
        anchor="rankings",
    )
    models = [name for name in (*MODEL, "stage") if name in table and table[name].n_unique() > 1]
    place = [pl.col(name).cast(pl.String).fill_null("") for name in models]
    drawn = table.select(
        label="benchmark",
        group=pl.concat_str([*place, pl.col("category").fill_null("")], separator=" "),
        estimate="difference",
        low="low",
        high="high",
        state=pl.col("change").replace_strict(STATES, default="undetermined"),
    )
    edge = table.select(pl.max_horizontal(pl.col("low", "high").abs()).max()).item()
    reach = 1.1 * edge if edge is not None and np.isfinite(edge) and edge > 0 else 1.0
    section.figure(
        forest(drawn, title="Accuracy after less before", domain=(-reach, reach)),
        "Difference in accuracy by benchmark, paired by item.",
    )
    section.table(table, "Accuracy and confidence before and after.", hidden_after=30)
    return section
