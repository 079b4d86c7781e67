"""The models table: which unit and stage each model is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl

from imprint.configuration import load_yaml
from imprint.errors import ConfigError, DataError, nearest
from imprint.tables import (
    ITEMS,
    SCORES,
    Column,
    Schema,
    check_values,
    load_frame,
    row_place,
)

MODELS = Schema(
    "models",
    (
        Column("model", "str", "model reference, or path of results", required=True),
        replace(SCORES["unit"], required=True),
        replace(SCORES["stage"], required=True),
        *(SCORES[name] for name in ("scale", "parameters", "cluster", "replicate", "step")),
    ),
    key=("model",),
)
MEASURED = {*SCORES.names, *ITEMS.names} - set(MODELS.names)


def load_models(path: Path) -> pl.DataFrame:
    """Read a models table: CSV with a header, or YAML with a list under ``models``.

    Raises:
        ConfigError: a YAML file is not such a list.
        DataError: a required column is missing or empty, or a number is none.
    """
    frame = _yaml(path) if path.suffix.lower() in (".yaml", ".yml") else load_frame(path)
    for column in MODELS.columns:
        if column.required and column.name not in frame.columns:
            problem = f"column {column.name!r} is missing; {nearest(column.name, frame.columns)}"
            raise DataError(problem, where=str(path))
    measured = sorted(MEASURED & set(frame.columns))
    if measured:
        raise DataError(
            f"column {measured[0]!r} is what results say, not the models table",
            where=str(path),
            remedy="remove the column.",
        )
    text = frame.with_columns(pl.all().cast(pl.String).str.strip_chars().replace("", None))
    table = check_values(text, MODELS, partial(row_place, path))
    _refuse_twice(table, path)
    return table


def located(model: str, table: Path) -> str:
    """Take a path beside the table where none of that name is here."""
    beside = table.parent / model
    return str(beside) if beside.exists() and not Path(model).exists() else model


def _yaml(path: Path) -> pl.DataFrame:
    rows = load_yaml(path).get("models")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ConfigError("expected a list of mappings under `models:`", where=str(path))
    texts = [{str(k): None if v is None else str(v) for k, v in row.items()} for row in rows]
    return pl.DataFrame(texts, infer_schema_length=None)


def _refuse_twice(table: pl.DataFrame, path: Path) -> None:
    distinct = table.with_row_index("row").unique(table.columns, keep="first", maintain_order=True)
    again = distinct.filter(~distinct["model"].is_first_distinct())
    if len(again):
        raise DataError(
            f"model {again['model'][0]!r} stands twice, with different labels",
            where=row_place(path, again["row"][0]),
        )
