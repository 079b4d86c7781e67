"""Reading other tools' JSON strictly: every message names file, line and field.

Bare ``NaN`` and ``Infinity`` are accepted, because Python's own writer emits them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from imprint.errors import DataError, nearest

Object = dict[str, Any]
SAVE = "save the file as UTF-8."
DAMAGED = "the file is damaged or was cut off while being written; write or copy it again."


def load_json(path: Path) -> Any:
    """Read a JSON file of any top-level type.

    Raises:
        DataError: the file is missing, unreadable, empty, truncated or not JSON.
    """
    try:
        raw = path.read_bytes()
    except OSError as failed:
        problem = failed.strerror or type(failed).__name__
        raise DataError(problem, where=str(path), remedy="check the path.") from failed
    return parse_json(raw, str(path))


def parse_json(raw: bytes, where: str) -> Any:
    """Parse JSON that is already in memory; ``where`` names its origin in messages.

    Raises:
        DataError: it is empty, truncated or not JSON in UTF-8.
    """
    if not raw.strip():
        raise DataError("the file is empty", where=where, remedy=DAMAGED)
    try:
        return json.loads(raw)
    except json.JSONDecodeError as broken:
        place = f"{where}, line {broken.lineno}"
        raise DataError(f"not valid JSON: {broken.msg}", where=place, remedy=DAMAGED) from broken
    except UnicodeDecodeError as broken:
        raise DataError("not UTF-8", where=where, remedy=SAVE) from broken
    except RecursionError as broken:
        raise DataError(f"not valid JSON: {broken}", where=where, remedy=DAMAGED) from broken


def parse_lines(lines: Iterable[bytes], where: str) -> Iterator[tuple[str, Object]]:
    """Give the objects of a JSON-lines stream one by one, each with its place (file and line).

    Raises:
        DataError: a line is not a JSON object, or there is none at all.
    """
    empty = True
    for number, line in enumerate(lines, 1):
        place = f"{where}, line {number}"
        if not line.strip():
            continue
        empty = False
        try:
            row = json.loads(line)
        except UnicodeDecodeError as broken:
            raise DataError("not UTF-8", where=place, remedy=SAVE) from broken
        except (json.JSONDecodeError, RecursionError) as broken:
            raise DataError(f"not valid JSON: {broken}", where=place, remedy=DAMAGED) from broken
        if not isinstance(row, dict):
            raise DataError(f"expected an object, found {type(row).__name__}", where=place)
        yield place, row
    if empty:
        raise DataError("the file is empty", where=where, remedy=DAMAGED)


def need(row: Object, field: str, kinds: type | tuple[type, ...], where: str) -> Any:
    """Give a field that must be there and be of one of the given types.

    Raises:
        DataError: it is missing (with the nearest name that is there) or of another type.
    """
    if field not in row:
        raise DataError(f"the field {field!r} is missing; {nearest(field, row)}", where=where)
    value = row[field]
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        names = " or ".join(kind.__name__ for kind in wanted)
        raise DataError(f"the field {field!r} holds {value!r:.80}, not {names}", where=where)
    return value


def optional(row: Object, field: str, kinds: type | tuple[type, ...], where: str) -> Any:
    """Give a field that may be absent or null (then ``None``), checked like ``need``."""
    return None if row.get(field) is None else need(row, field, kinds, where)
