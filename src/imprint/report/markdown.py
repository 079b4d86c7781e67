"""The summary of a run in Markdown (``summary.md``)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import polars as pl

from imprint.report.table import Column, table
from imprint.report.verdict import STATES, SYMBOLS, WORDS, Verdict, count

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~])")


def summary(
    title: str,
    verdicts: Sequence[Verdict],
    tables: Mapping[str, pl.DataFrame],
    *,
    headline: str = "",
    formats: Mapping[str, str] | None = None,
    rows: int = 50,
) -> str:
    """Write verdicts and tables as Markdown; every name is shown as it is.

    Args:
        title: the heading.
        verdicts: listed with symbol, word and detail.
        tables: caption → frame; the first ``rows`` rows are written.
        headline: the verdict in a few sentences, Markdown as it stands.
        formats: column → number format, for all tables that have the column.
        rows: rows written of each table; what is left out is counted.
    """
    parts = [f"# {escape(title)}", *([headline] if headline else [])]
    if verdicts:
        counts = count(verdicts)
        parts.append(", ".join(f"{counts[state]} {WORDS[state]}" for state in STATES) + ".")
        parts.append("\n".join(_line(verdict) for verdict in verdicts))
    for caption, frame in tables.items():
        parts += [f"## {escape(caption)}", _table(caption, frame, formats or {}, rows)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    r"""Make text plain: on one line, and with nothing that Markdown or HTML reads.

    >>> print(escape("a|b\n<i>*c*"))
    a\|b \<i\>\*c\*
    """
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _line(verdict: Verdict) -> str:
    mark = f"- {SYMBOLS[verdict.state]} **{WORDS[verdict.state]}**: {escape(verdict.text)}"
    return f"{mark} {escape(verdict.detail)}" if verdict.detail else mark


def _table(caption: str, frame: pl.DataFrame, formats: Mapping[str, str], rows: int) -> str:
    present = {name: spec for name, spec in formats.items() if name in frame.columns}
    listed = table(
        frame, caption=caption, formats=present, columns={}, page_size=rows, hidden_after=None
    )
    lines = [_row([column.header for column in listed.columns]), _rule(listed.columns)]
    lines += [_row(cells) for cells in listed.rows]
    if frame.height > rows:
        lines.append(f"\n{frame.height - rows:,} more rows in the run's tables.")
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(escape(cell) for cell in cells) + " |"


def _rule(columns: Sequence[Column]) -> str:
    return "|" + "|".join("---:" if column.numeric else "---" for column in columns) + "|"
