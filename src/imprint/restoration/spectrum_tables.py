"""The spectra of changes as a table, in numbers by module and layer, and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from imprint.restoration.spectrum import rows_frame

MEASURES = ("effective_rank_share", "stable_rank", "above_noise")
Json = dict[str, Any]


def spectrum_table(rows: Sequence[Json], names: Sequence[str]) -> pl.DataFrame:
    """Give the table ``spectrum``: one row per tuned checkpoint and matrix.

    ``full_rank`` is the shorter side, ``effective_rank_share`` the effective rank over it.

    Args:
        rows: from `imprint.restoration.spectrum.spectrum_rows`.
        names: of the tuned checkpoints.
    """
    frame = rows_frame(rows)
    full = pl.min_horizontal("rows", "columns")
    tuned = pl.col("tuned").replace_strict(
        list(range(len(names))), list(names), return_dtype=pl.String
    )
    return frame.with_columns(
        tuned,
        full_rank=full,
        effective_rank_share=pl.col("effective_rank") / full,
        null_effective_rank_share=pl.col("null_effective_rank") / full,
    )


def by_place(table: pl.DataFrame, place: str) -> pl.DataFrame:
    """Average the matrices of a ``module`` or ``layer``; matrices without a change are left out.

    Returns:
        Per tuned checkpoint and place: ``matrices``, ``full_rank`` (mean), and the means of the
        measures with those of the shuffle.
    """
    return (
        table.drop_nulls("effective_rank")
        .group_by("tuned", place, maintain_order=True)
        .agg(pl.len().alias("matrices"), pl.col("full_rank").mean(), *_means())
    )


def spectrum_json(table: pl.DataFrame) -> Json:
    """Give the entry of one tuned checkpoint in ``result.json``: means over matrices."""
    changed = table.drop_nulls("effective_rank")
    return {
        "matrices": len(table),
        "matrices_changed": len(changed),
        **changed.select(_means()).to_dicts()[0],
        "modules": by_place(table, "module").drop("tuned").to_dicts(),
        "layers": by_place(table, "layer").drop("tuned").to_dicts(),
    }


def spectrum_words(tables: Mapping[str, pl.DataFrame], name: str) -> list[str]:
    """Say in a sentence how many directions the change has; nothing where it was not asked for."""
    if "spectrum" not in tables:
        return []
    found = spectrum_json(tables["spectrum"].filter(pl.col("tuned") == name))
    if not found["matrices_changed"]:
        return ["No matrix changed." if found["matrices"] else "No matrix lies in the region."]
    share, null = (found[f"{prefix}effective_rank_share"] for prefix in ("", "null_"))
    return [
        f"The change of a matrix has an effective rank of {share:.0%} of the full one on average, "
        f"the same entries shuffled {null:.0%}."
    ]


def _means() -> list[pl.Expr]:
    return [pl.col(f"{prefix}{name}").mean() for prefix in ("", "null_") for name in MEASURES]
