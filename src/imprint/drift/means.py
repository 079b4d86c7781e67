"""Means over tokens with intervals that know that tokens of one text are not independent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from imprint.stats import Draws, bootstrap, percentile_interval

Floats = npt.NDArray[np.float64]
QUANTILES = {"median": 0.5, "p1": 0.01, "p5": 0.05, "p95": 0.95, "p99": 0.99}
BLOCK = 1 << 24  # weights of a block of draws
SCHEMA = {
    "measure": pl.String,
    "mean": pl.Float64,
    "se": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    **dict.fromkeys((*QUANTILES, "min", "max"), pl.Float64),
    "tokens": pl.Int64,
    "texts": pl.Int64,
}


def means(
    frame: pl.DataFrame,
    measures: Sequence[str],
    *,
    cluster: str = "sample",
    resamples: int = 2000,
    seed: int = 0,
) -> pl.DataFrame:
    """Summarise columns over tokens.

    The mean is over tokens. Its standard error and 95 % interval (percentiles) are those of a
    bootstrap that draws whole clusters with replacement; both are null for fewer than two clusters.

    Args:
        frame: one row per token.
        measures: columns; rows where one is null do not count for it.
        cluster: the column whose equal values are drawn together.
        resamples: bootstrap draws.
        seed: of the draws.

    Returns:
        One row per measure, the columns of ``SCHEMA``.
    """
    found = []
    for name in measures:
        kept = frame.select(cluster, pl.col(name).cast(pl.Float64).alias("value")).drop_nulls()
        values = kept["value"].to_numpy()
        if len(values):
            se, low, high = _spread(kept, cluster, resamples, seed)
            ends = {q: float(np.quantile(values, share)) for q, share in QUANTILES.items()}
            found.append(
                {
                    "measure": name,
                    "mean": float(values.mean()),
                    "se": se,
                    "low": low,
                    "high": high,
                    **ends,
                    "min": float(values.min()),
                    "max": float(values.max()),
                    "tokens": len(values),
                    "texts": kept[cluster].n_unique(),
                }
            )
    return pl.DataFrame(found, schema=SCHEMA)


def grouped_means(
    frame: pl.DataFrame,
    by: Sequence[str],
    measures: Sequence[str],
    *,
    cluster: str = "sample",
    resamples: int = 2000,
    seed: int = 0,
) -> pl.DataFrame:
    """Summarise columns within each group, groups in the order of their first row."""
    parts = [
        means(part, measures, cluster=cluster, resamples=resamples, seed=seed).select(
            *(
                pl.lit(value, dtype=frame.schema[name]).alias(name)
                for name, value in zip(by, key, strict=True)
            ),
            pl.all(),
        )
        for key, part in frame.group_by(*by, maintain_order=True)
    ]
    empty = pl.DataFrame(schema={**{name: frame.schema[name] for name in by}, **SCHEMA})
    return pl.concat([empty, *parts])


def difference(
    one: pl.DataFrame,
    other: pl.DataFrame,
    measure: str,
    *,
    cluster: str = "sample",
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float | None, float | None]:
    """Compare the mean of a column on the same texts twice: one − other and its 95 % interval.

    Args:
        one, other: one row per token; whole clusters are drawn in both alike.

    Returns:
        The difference, and the ends of its interval (``None`` for fewer than two clusters).
    """
    sums = [
        f.group_by(cluster).agg(total=pl.col(measure).sum(), count=pl.len()) for f in (one, other)
    ]
    both = sums[0].join(sums[1], on=cluster, how="inner", suffix="_other").sort(cluster)
    columns = both.select("total", "count", "total_other", "count_other").to_numpy().T
    totals = columns.astype(np.float64)

    def gap(weights: Floats) -> Floats:
        a, n, b, m = (weights @ column for column in totals)
        found: Floats = a / n - b / m
        return found

    estimate = float(gap(np.ones((1, len(both))))[0])
    if len(both) < 2:
        return estimate, None, None
    draws = bootstrap(_draws(len(both), resamples, seed), gap, _block(len(both)))
    low, high = percentile_interval(draws)
    return estimate, float(low), float(high)


def _spread(
    kept: pl.DataFrame, cluster: str, resamples: int, seed: int
) -> tuple[float | None, float | None, float | None]:
    sums = kept.group_by(cluster).agg(total=pl.col("value").sum(), count=pl.len()).sort(cluster)
    if len(sums) < 2 or not bool(sums["total"].is_finite().all()):
        return None, None, None
    totals, counts = (sums[name].to_numpy().astype(np.float64) for name in ("total", "count"))

    def mean(weights: Floats) -> Floats:
        found: Floats = (weights @ totals) / (weights @ counts)
        return found

    draws = bootstrap(_draws(len(sums), resamples, seed), mean, _block(len(sums)))
    low, high = percentile_interval(draws)
    return float(draws.std(ddof=1)), float(low), float(high)


def _draws(clusters: int, resamples: int, seed: int) -> Draws:
    return Draws(np.arange(clusters), resamples, seed)


def _block(clusters: int) -> int:
    return max(1, min(1000, BLOCK // clusters))
