"""Columns of a pool made of their types: what does not fit is refused with its row, never lost."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from imprint.errors import DataError, nearest
from imprint.tables import row_place

TRUTH = {
    **dict.fromkeys(("true", "1", "1.0"), True),
    **dict.fromkeys(("false", "0", "0.0"), False),
}


def typed(frame: pl.DataFrame, name: str, dtype: pl.DataType, path: Path) -> pl.DataFrame:
    """Give a column its type; null stays null.

    Args:
        frame: with the column.
        name: of the column.
        dtype: text, truth (also as true, false, 1 or 0), or a number, which is finite and not
            negative.
        path: where the rows come from, for messages.

    Raises:
        DataError: a value is not of the type.
    """
    refuse_nested(frame, [name], path)
    value = pl.col(name)
    if dtype == pl.String():
        return frame.with_columns(value.cast(pl.String))
    if dtype == pl.Boolean():
        words = value.cast(pl.String).str.strip_chars().str.to_lowercase()
        made, wanted = words.replace_strict(TRUTH, default=None), "neither true nor false"
    else:
        made = value.cast(pl.Float64, strict=False)
        made, wanted = pl.when(made.is_finite() & (made >= 0)).then(made), "no number from 0 on"
    if dtype == pl.Int64():
        made, wanted = pl.when(made == made.round()).then(made), "no whole number from 0 on"
    found = frame.with_columns(made.cast(dtype).alias(name))
    lost = (found[name].is_null() & frame[name].is_not_null()).arg_true()
    if len(lost):
        row = int(lost[0])
        raise DataError(
            f"{name} {frame[name][row]!r:.60}: {wanted} ({len(lost):,} rows)",
            where=row_place(path, row),
            remedy="mend the value or leave it out.",
        )
    return found


def refuse_nested(frame: pl.DataFrame, names: Iterable[str], path: Path) -> None:
    """Refuse lists and objects where one value a row is meant."""
    for name in names:
        if name in frame.columns and frame.schema[name].is_nested():
            raise DataError(
                f"{name} holds {frame.schema[name]}, not one value a row", where=str(path)
            )


def one_model(
    frame: pl.DataFrame, path: Path, *, model: str | None, stage: str | None
) -> pl.DataFrame:
    """Keep the rows of one model, chosen where there are several.

    Raises:
        DataError: the one asked for is not there, or there are several and none was asked for.
    """
    for name, wanted in (("model", model), ("stage", stage)):
        known = frame[name].drop_nulls().cast(pl.String) if name in frame else pl.Series([])
        there = known.unique(maintain_order=True).to_list()
        if wanted is not None and wanted not in there:
            told = (
                f"no {name} {wanted!r}; {nearest(wanted, there)}" if there else f"no {name} named"
            )
            raise DataError(told, where=str(path))
        if wanted is not None:
            frame = frame.filter(pl.col(name).cast(pl.String) == wanted)
        elif len(there) > 1:
            raise DataError(
                f"rollouts of several {name}s: {', '.join(there[:8])}",
                where=str(path),
                remedy=f"difficulty is that of one checkpoint: choose it with --{name}.",
            )
    return frame
