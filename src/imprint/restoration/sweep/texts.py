"""Sets of texts on disk."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from pathlib import Path

from imprint.errors import ConfigError, DataError, nearest
from imprint.restoration.sweep.config import Split, TextSet


def read_texts(given: TextSet, below: Path) -> list[str]:
    """Read a set of texts.

    Args:
        given: what to read.
        below: the folder that relative paths start from.

    Raises:
        ConfigError: no such file, or of no known kind.
        DataError: a line or column that cannot be read, or fewer than two texts.
    """
    path = below / given.path
    readers = {".txt": _paragraphs, ".jsonl": _lines, ".parquet": _column}
    if path.suffix not in readers:
        raise ConfigError(f"is not one of {', '.join(readers)}", where=str(path))
    if not path.is_file():
        raise ConfigError("no such file", where=str(path))
    try:
        found = readers[path.suffix](path, given.field)
    except UnicodeDecodeError as wrong:
        raise DataError(f"is not UTF-8: {wrong.reason}", where=str(path)) from wrong
    empty = next((n for n, text in enumerate(found) if not text.strip()), None)
    if empty is not None:
        raise DataError("is empty", where=f"{path}, text {empty + 1}")
    if given.limit is not None and given.limit < len(found):
        kept = sorted(random.Random(given.seed).sample(range(len(found)), given.limit))  # noqa: S311
        found = [found[n] for n in kept]
    if len(found) < 2:
        hint = "texts of a .txt are separated by blank lines." if path.suffix == ".txt" else None
        problem = f"holds {len(found)} texts, two at least are needed"
        raise DataError(problem, where=str(path), remedy=hint)
    return found


def refuse_shared(texts: Mapping[Split, list[str]]) -> None:
    """Refuse a text that both chooses the point and judges it.

    Raises:
        DataError: ``dev`` and ``test`` share a text.
    """
    seen = {_plain(text) for text in texts["dev"]}
    shared = [text for text in texts["test"] if _plain(text) in seen]
    if shared:
        raise DataError(
            f"{len(shared)} texts of test are in dev too, {shared[0][:60]!r} first",
            remedy="the point chosen on dev must be judged on texts of its own.",
        )


def _plain(text: str) -> str:
    return " ".join(text.split())


def _paragraphs(path: Path, _: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [piece.strip() for piece in re.split(r"\n\s*\n", text) if piece.strip()]


def _lines(path: Path, field: str) -> list[str]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as wrong:
            raise DataError(f"is no JSON: {wrong}", where=where) from wrong
        if not isinstance(row, dict) or not isinstance(row.get(field), str):
            keys = nearest(field, row) if isinstance(row, dict) else "it is no object"
            raise DataError(f"has no text under {field!r}; {keys}", where=where)
        found.append(row[field])
    return found


def _column(path: Path, field: str) -> list[str]:
    import polars as pl

    try:
        names = pl.read_parquet_schema(path)
        if field not in names:
            raise DataError(f"has no column {field!r}; {nearest(field, names)}", where=str(path))
        values = pl.read_parquet(path, columns=[field])[field]
    except pl.exceptions.PolarsError as wrong:
        raise DataError(f"is not readable as Parquet: {wrong}", where=str(path)) from wrong
    if values.dtype != pl.String or values.null_count():
        raise DataError(f"the column {field!r} is not all text", where=str(path))
    return [str(value) for value in values]
