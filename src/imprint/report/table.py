"""A table on a page: columns with headers and number formats, and the first rows as text.

The first page of rows stands in the HTML, so that a page without scripts still reads; the script
draws the other pages from the packed columns. Both write numbers alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, ClassVar, Final

import polars as pl

from imprint.report.embedding import pack
from imprint.report.verdict import SYMBOLS, state_of

DASH: Final = "–"
TEXTS: Final = ("", "words", "state")
_FORMAT: Final = re.compile(r"(?P<plus>\+?)(?P<group>,?)(?:\.(?P<digits>\d+))?(?P<type>[fde%])")


_HUGE: Final = 1e15  # beyond it digits behind the point mean nothing


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name in the data, its header, and how its values are written.

    ``format`` is ``state`` (a verdict's word, shown with its symbol), ``p`` (a p-value), empty
    (text on one line), ``words`` (text that wraps), or of the form ``[+][,][.N]f``, ``%``, ``e`` or
    ``d`` with Python's meaning.
    """

    name: str
    header: str
    format: str

    @property
    def numeric(self) -> bool:
        """Whether values are numbers, aligned to the right."""
        return self.format not in TEXTS


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its caption; ``rows`` is the first page as text, ``data`` all of it."""

    kind: ClassVar[str] = "table"
    columns: tuple[Column, ...]
    data: dict[str, Any]
    height: int
    rows: list[list[str]]
    caption: str
    page_size: int
    hidden_after: int | None


def table(
    frame: pl.DataFrame,
    *,
    caption: str,
    formats: Mapping[str, str],
    columns: Mapping[str, str],
    page_size: int,
    hidden_after: int | None,
) -> Table:
    """Prepare a frame for the page.

    Raises:
        ValueError: a format is not known, or names a column that the frame lacks.
    """
    for name in (*formats, *columns):
        if name not in frame.columns:
            raise ValueError(f"no column {name!r} in the table {caption!r}")
    frame = frame.with_columns(pl.col(_beyond_doubles(frame)).cast(pl.String))
    shown = tuple(
        Column(name, columns.get(name, name.replace("_", " ")), _checked(formats.get(name), values))
        for name, values in zip(frame.columns, frame, strict=True)
    )
    data = {column.name: _cells(frame[column.name]) for column in shown}
    rows = [
        [show(data[column.name][index], column.format) for column in shown]
        for index in range(min(page_size, frame.height))
    ]
    return Table(shown, pack(data), frame.height, rows, caption, page_size, hidden_after)


def show(value: Any, spec: str) -> str:
    """Write one value; null and what is not finite is a dash.

    >>> show(-0.125, ".2f"), show(1234, ",d"), show(0.00004, "p"), show(None, ".2f")
    ('−0.13', '1,234', '<0.001', '–')
    """
    if value is None or value != value:
        return DASH
    if spec == "state":
        state = state_of(str(value))
        words = str(value).replace("_", " ")
        return f"{SYMBOLS[state]} {words}" if state else words
    if spec in ("", "words"):
        return str(value)
    if spec == "p":
        return "<0.001" if 0 <= value < 0.001 else _number(value, ".3f")
    return _number(value, spec)


def _number(value: float, spec: str) -> str:
    found = _FORMAT.fullmatch(spec)
    if found is None:
        raise ValueError(f"unknown number format {spec!r}")
    if value in (float("inf"), float("-inf")):
        return DASH
    sort, digits = found["type"], int(found["digits"] or 0)
    if abs(value) >= _HUGE:
        sort, digits = "e", 3
    # halves away from zero, as the script rounds
    if sort == "e":
        half_up = Context(prec=digits + 1, rounding=ROUND_HALF_UP)
        rounded = float(half_up.create_decimal(Decimal(value)))
        text = re.sub(r"e([+-])0*(\d)", r"e\1\2", f"{rounded:.{digits}e}")
    else:
        exact = Decimal(value * 100 if sort == "%" else value)
        fixed = exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
        text = f"{fixed or abs(fixed):{found['group']}f}" + ("%" if sort == "%" else "")
    sign = "+" if found["plus"] and value > 0 else ""
    return sign + text.replace("-", "−")


def _checked(spec: str | None, values: pl.Series) -> str:
    if spec is None:
        return _guess(values)
    if spec not in (*TEXTS, "p") and not _FORMAT.fullmatch(spec):
        raise ValueError(f"unknown number format {spec!r} for column {values.name!r}")
    return spec


def _guess(values: pl.Series) -> str:
    if values.dtype.is_integer():
        return ",d"
    if not values.dtype.is_float():
        return ""
    size = values.abs().replace(float("inf"), None).fill_nan(None).max()
    largest = float(size) if isinstance(size, int | float) else 0.0
    return ".3f" if largest < 10 else ".2f" if largest < 1_000 else ",.0f"


def _beyond_doubles(frame: pl.DataFrame) -> list[str]:
    # a script reads numbers as doubles, which would change such an identifier in silence
    def largest(values: pl.Series) -> int:
        return max((abs(value) for value in values if value is not None), default=0)

    integers = [values for values in frame if values.dtype in (pl.Int64, pl.UInt64)]
    return [values.name for values in integers if largest(values) > 2**53]


def _cells(values: pl.Series) -> list[Any]:
    if values.dtype == pl.Boolean:
        return [None if value is None else "yes" if value else "no" for value in values]
    if values.dtype.is_nested():
        return [None if value is None else _listed(value) for value in values.to_list()]
    if values.dtype.is_integer() or values.dtype.is_float():
        return values.to_list()
    return [None if value is None else str(value) for value in values]


def _listed(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {entry}" for key, entry in value.items())
    return ", ".join(map(str, value))
