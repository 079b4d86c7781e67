"""What a models table says of the tuned models: their names, and columns to set drift against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from imprint.drift.means import SCHEMA
from imprint.errors import ConfigError, DataError, nearest
from imprint.formats.models_table import MODELS, load_models, located

Labels = dict[str, Any]
NAMED = ("unit", "scale", "stage", "replicate", "step")
OWN = {*SCHEMA, "tuned", "level"}  # columns that drift's tables have already


def labelled_models(
    base: str | Path, tuned: Sequence[str | Path], table: Path
) -> list[tuple[str, Labels]]:
    """Find tuned models and their labels; columns that hold numbers alone become numbers.

    Args:
        base: the base, whose own row is left out.
        tuned: models of the table; all of it where none is named.
        table: the models table (:mod:`imprint.formats.models_table`); a path in it may be relative
            to the table.

    Raises:
        ConfigError: a model that the table does not name, or no tuned model in it.
        DataError: the table cannot be read, or a column has a name that drift's own tables use.
    """
    frame = _numbers(load_models(table))
    taken = sorted(OWN & set(frame.columns))
    if taken:
        problem = f"column {taken[0]!r} is what drift's own tables call a column"
        raise DataError(problem, where=str(table), remedy="give it another name.")
    rows = {str(row.pop("model")): row for row in frame.to_dicts()}
    for name in map(str, tuned):
        if name not in rows:
            problem = f"the models table does not name {name!r}; {nearest(name, rows)}"
            raise ConfigError(problem, where=str(table))
    places = {name: located(name, table) for name in map(str, tuned or rows)}
    found = [(at, rows[name]) for name, at in places.items() if tuned or not _same(at, base)]
    if not found:
        raise ConfigError("the models table names no model but the base", where=str(table))
    return found


def label_names(labels: Sequence[Mapping[str, Any]], short: Sequence[str]) -> list[str]:
    """Call models by unit, scale, stage, replicate and step; those called alike by more.

    Args:
        labels: of each model.
        short: distinct names, told beside the labels where these are those of several models.
    """
    names = [" ".join(str(row[n]) for n in NAMED if row.get(n) is not None) for row in labels]
    return [
        name if names.count(name) == 1 else f"{name} ({more})"
        for name, more in zip(names, short, strict=True)
    ]


def _numbers(frame: pl.DataFrame) -> pl.DataFrame:
    found = frame
    for name in set(frame.columns) - set(MODELS.names):
        for kind in (pl.Int64, pl.Float64):
            number = frame[name].cast(kind, strict=False)
            whole = number.null_count() == frame[name].null_count() < len(frame)
            if whole and bool(number.cast(pl.Float64).is_finite().all()):
                found = found.with_columns(number)
                break
    return found


def _same(one: str, other: str | Path) -> bool:
    return one == str(other) or (
        Path(one).exists() and Path(one).resolve() == Path(other).resolve()
    )
