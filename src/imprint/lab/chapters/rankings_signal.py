"""Whether scores carry signal: above chance, and telling mixtures apart, at both stages."""

from __future__ import annotations

import polars as pl

RELIABLE = 0.5  # of the differences between mixtures
SCALE = pl.col("scale").cast(pl.String)


def signal(judged: pl.DataFrame, above: pl.DataFrame | None) -> pl.DataFrame | None:
    """Say of each benchmark whether its accuracy tells mixtures apart.

    Args:
        judged: of the transfer analysis, with ``rel_pt`` and ``rel_sft`` of accuracy.
        above: mean accuracy beside chance by scale, stage and benchmark.

    Returns:
        A row per scale and benchmark of the comparison with SFT: reliability before and after,
        accuracy less chance before and after, and ``carries``: clearly above chance and reliable
        both times. ``None`` where either is not known.
    """
    if above is None or not {"scale", "stage"} <= set(above.columns) or not len(judged):
        return None
    rows = judged.filter(metric="accuracy").filter(pl.col("comparison").str.contains("sft"))
    # undefined is NaN, which would count as more than any number; without scales the types differ
    found = rows.select(SCALE, "benchmark", pl.col("rel_pt", "rel_sft").fill_nan(None))
    for stage, name in (("pretrained", "before"), ("sft", "after")):
        part = above.filter(stage=stage).select(
            SCALE,
            "benchmark",
            pl.col("above").alias(f"above_chance_{name}"),
            pl.col("clearly").alias(f"clearly_{name}"),
        )
        found = found.join(part, on=["scale", "benchmark"], maintain_order="left", nulls_equal=True)
    if not len(found):
        return None
    reliable = (pl.col("rel_pt") > RELIABLE) & (pl.col("rel_sft") > RELIABLE)
    clearly = pl.col("clearly_before") & pl.col("clearly_after")
    return found.with_columns(carries=(reliable & clearly).fill_null(value=False))


def signal_words(table: pl.DataFrame, scores: pl.DataFrame | None) -> list[str]:
    """Put it in a sentence, for the largest scale, and say how accuracy goes with scale."""
    last = table["scale"].drop_nulls()
    largest = last[-1] if len(last) else None
    own = table.filter(pl.col("scale").eq_missing(pl.lit(largest)))
    at = f" at {largest}" if largest else ""
    words = [
        f"{int(own['carries'].sum())} of {len(own)} benchmarks{at} have a mean accuracy clearly "
        f"above chance and a reliability between mixtures above {RELIABLE:g}, before and after SFT."
    ]
    if scores is not None and scores["scale"].n_unique() > 1:
        base = scores.filter(stage="pretrained").group_by("scale", maintain_order=True)
        means = base.agg(pl.col("accuracy").mean()).iter_rows()
        parts = (f"{mean:.1%} at {scale}" for scale, mean in means)
        words.append(f"Mean accuracy before SFT: {', '.join(parts)}.")
    return words
