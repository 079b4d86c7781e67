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
    Hochberg; ``change`` is told at an adjusted p of .05.

    Args:
        items: of an evaluation, of two stages or more.
        categories: benchmark → category.

    Returns:
        A row per model, stage after ``pretrained`` and benchmark: accuracy before and after, the
        mean difference of accuracy and of confidence with Student's 95 % intervals over items, in
        shares of 1.
    """
    asked = [*(name for name in MODEL if name in items.columns), "benchmark", "item"]
    means = items.group_by(*asked, "stage", maintain_order=True).agg(
        pl.col("correct").mean(), pl.col("confidence").mean()
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
    mean, spread = _mean(table)
    told = interval(100 * mean, 100 * (mean - spread), 100 * (mean + spread), "+.1f")
    chapter = Chapter(
        number,
        title,
        f"{lacks} Accuracy changed by {told} points on average over "
        f"{table['benchmark'].n_unique()} benchmarks; it rises on {counts.get('rises', 0)}, falls "
        f"on {counts.get('falls', 0)}, and of {counts.get('cannot tell', 0)} it cannot be told.",
    )
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
    way = pl.when(pl.col("difference") > 0).then(pl.lit("rises")).otherwise(pl.lit("falls"))
    clear = pl.col("p_adjusted") <= LEVEL
    known = pl.col("benchmark").replace_strict(
        dict(categories), default=None, return_dtype=pl.String
    )
    return table.with_columns(adjusted, known.alias("category")).with_columns(
        pl.when(clear).then(way).otherwise(pl.lit("cannot tell")).alias("change")
    )


def _mean(table: pl.DataFrame) -> tuple[float, float]:
    """Mean difference over benchmarks and the half width of its interval over their items."""
    half = (table["high"] - table["low"]).to_numpy() / 2
    return float(table["difference"].to_numpy().mean()), float(np.sqrt((half**2).sum()) / len(half))


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
    reach = 1.1 * float(edge or 0) or 1.0
    section.figure(
        forest(drawn, title="Accuracy after less before", domain=(-reach, reach)),
        "Difference in accuracy by benchmark, paired by item.",
    )
    section.table(table, "Accuracy and confidence before and after.", hidden_after=30)
    return section
