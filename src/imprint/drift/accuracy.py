"""Joining drift with scores: how accuracy changed where the distributions moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from imprint.errors import DataError
from imprint.formats.own_tables import read_scores

BASES = ("base", "pretrained")


def accuracy_changes(
    path: Path,
    base: Sequence[str],
    tuned: Sequence[tuple[str, str, int | None, Mapping[str, Any]]],
) -> pl.DataFrame:
    """Find the accuracies of base and tuned models and take their differences.

    A model's rows are those whose ``unit`` or ``stage`` is its name or reference, else those that
    agree with its labels where it has any, else those whose ``step`` is its step; the base may also
    be called ``base`` or ``pretrained``.

    Args:
        path: a ``scores`` table.
        base: names of the base.
        tuned: name, reference, step and labels (of the models table) of each tuned model.

    Returns:
        One row per tuned model and benchmark: ``tuned``, ``step``, ``benchmark``,
        ``base_accuracy``, ``tuned_accuracy``, ``accuracy_change``.

    Raises:
        DataError: the table cannot be read, or the base or every tuned model is not in it.
    """
    scores, _ = read_scores(path)
    if "accuracy" not in scores.columns:
        raise DataError("has no column 'accuracy'", where=str(path))
    before = _of(scores, [*base, *BASES])
    if before.is_empty():
        raise _absent(path, scores, "base", base)
    found = []
    for name, reference, step, labels in tuned:
        after = _of(scores, [name, reference])
        if after.is_empty():
            after = _alike(scores, {**labels, "step": step} if labels else {"step": step})
        both = before.join(after, on="benchmark", suffix="_tuned", maintain_order="left")
        found.append(
            both.select(
                pl.lit(name).alias("tuned"),
                pl.lit(step, dtype=pl.Int64).alias("step"),
                "benchmark",
                base_accuracy="accuracy",
                tuned_accuracy="accuracy_tuned",
                accuracy_change=pl.col("accuracy_tuned") - pl.col("accuracy"),
            )
        )
    joined = pl.concat(found)
    if joined.is_empty():
        raise _absent(path, scores, "tuned models", [name for name, *_ in tuned])
    return joined


def _of(scores: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    labels = [c for c in ("unit", "stage") if c in scores.columns]
    return _means(scores.filter(pl.any_horizontal(pl.col(c).is_in(list(names)) for c in labels)))


def _alike(scores: pl.DataFrame, labels: Mapping[str, Any]) -> pl.DataFrame:
    """Take the rows that agree with all labels that both sides have."""
    known = {n: v for n, v in labels.items() if v is not None and n in scores.columns}
    if not known:
        return _means(scores.clear())
    texts = (pl.col(n).cast(pl.String) == str(v) for n, v in known.items())
    return _means(scores.filter(*texts))


def _means(rows: pl.DataFrame) -> pl.DataFrame:
    return (
        rows.drop_nulls("accuracy")
        .group_by("benchmark", maintain_order=True)
        .agg(pl.col("accuracy").mean())
    )


def _absent(path: Path, scores: pl.DataFrame, what: str, names: Sequence[str]) -> DataError:
    labels = [c for c in ("unit", "stage") if c in scores.columns]
    there = sorted({str(v) for c in labels for v in scores[c].drop_nulls().unique()})
    return DataError(
        f"holds no score of the {what} ({', '.join(names)}); it has {', '.join(there[:10])}",
        where=str(path),
        remedy="name models in the column `unit` or `stage` as they are named here.",
    )
