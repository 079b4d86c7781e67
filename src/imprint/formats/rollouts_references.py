"""Reference answers for prompts that were rolled out, joined by id."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from imprint.errors import DataError, nearest
from imprint.findings import Finding
from imprint.formats.rollouts_columns import refuse_nested, typed
from imprint.tables import load_frame

TYPES: dict[str, pl.DataType] = {
    "reference": pl.String(),
    "reference_verified": pl.Boolean(),
    "ref_nll": pl.Float64(),
    "ref_tokens": pl.Int64(),
    "domain": pl.String(),
    "source": pl.String(),
    "answer": pl.String(),
}


def with_references(pool: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, list[Finding]]:
    """Join a table of references to a pool.

    Args:
        pool: rows of ``formats.rollouts.read_pool``.
        path: a table with ``id`` and any of ``reference``, ``reference_verified``, ``ref_nll``
            (nats per token), ``ref_tokens``, ``domain``, ``source``, ``answer``, ``prompt``. Its
            values stand before those of the pool.

    Returns:
        The pool, and what was noticed.

    Raises:
        DataError: no ids, ids that stand twice, no column to join, or values of another type.
    """
    frame = load_frame(path)
    if "id" not in frame.columns:
        told = f"there is no column id; {nearest('id', frame.columns)}"
        raise DataError(told, where=str(path))
    refuse_nested(frame, ["id"], path)
    frame = frame.with_columns(pl.col("id").cast(pl.String))
    if frame["id"].n_unique() < len(frame):
        twice = frame.filter(pl.col("id").is_duplicated())["id"][0]
        raise DataError(f"the id {twice!r} stands twice", where=str(path))
    same = "prompt" in frame.columns and frame.schema["prompt"] == pool.schema["prompt"]
    names = [name for name in TYPES if name in frame.columns] + (["prompt"] if same else [])
    if not names:
        told = f"no column of references; {nearest('reference', frame.columns)}"
        raise DataError(told, where=str(path))
    for name in names:
        frame = _typed(frame, name, path)
    theirs = frame.select("id", pl.col(names).name.suffix(" of reference"))
    joined = pool.join(theirs, on="id", how="left", suffix=" of reference", maintain_order="left")
    values = [pl.coalesce(f"{name} of reference", name).alias(name) for name in names]
    found = joined.with_columns(values).select(pool.columns)
    lost = len(pool.join(theirs.select("id"), on="id", how="anti"))
    told = f"{lost:,} of {len(pool):,} prompts have no row in {path}"
    return found, [Finding("no_reference_row", told, count=lost)] if lost else []


def _typed(frame: pl.DataFrame, name: str, path: Path) -> pl.DataFrame:
    """Give a column its type; of a list the first."""
    if name not in TYPES:
        return frame
    if isinstance(frame.schema[name], pl.List):
        frame = frame.with_columns(pl.col(name).list.first())
    return typed(frame, name, TYPES[name], path)
