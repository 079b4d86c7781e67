"""Is the change more concentrated than chance would give? The claims, and the headline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import polars as pl

from imprint.report import Verdict
from imprint.report.verdict import State

CHANCE = 0.02  # a share within this of its null is called what chance gives
SPREADS = 3  # standard deviations between draws that a share must also exceed its null by
NONE: Final[State] = "does_not_hold"
Row = dict[str, Any]


def judge(curves: pl.DataFrame, name: str, *, float8: bool = False) -> list[Verdict]:
    """Judge the two claims about a tuned checkpoint: relative and absolute concentration.

    A claim holds where at some ratio the share exceeds its null by more than two points and by
    more than three standard deviations between draws. Absolute change is held against the larger
    of normal noise and normal noise that was rounded as the weights are stored.

    Args:
        curves: the table ``concentration``.
        name: of the tuned checkpoint.
        float8: whether weights are stored in float8, whose rounding has no null here.
    """
    rows = curves.filter(pl.col("tuned") == name, pl.col("count") > 0).drop_nulls("excess")
    relative = rows.filter(pl.col("by") == "relative").to_dicts()
    absolute = rows.filter(pl.col("by") == "absolute").to_dicts()
    rounded = any(row["null_rounded"] is not None for row in absolute)
    return [
        _claim("Relative change is more concentrated than shuffling it gives.", relative),
        _claim(
            "Absolute change is more concentrated than normal noise"
            + (", rounded as the weights are stored." if rounded else "."),
            absolute,
            doubt="What rounding to float8 alone gives is not known." if float8 else "",
        ),
    ]


def named(verdict: Verdict, name: str) -> Verdict:
    """Say in the claim which tuned checkpoint it is about."""
    return replace(verdict, text=f"{verdict.text.removesuffix('.')} ({name}).")


def words(curves: pl.DataFrame, name: str, verdicts: Sequence[Verdict]) -> str:
    """Say both verdicts about a tuned checkpoint in two sentences."""
    every = curves.filter(pl.col("tuned") == name, pl.col("by") == "relative").to_dicts()
    rows = [row for row in every if row["count"]]
    if not rows:
        return f"No ratio takes a weight of {name}."
    first = min(rows, key=lambda row: abs(row["top"] - 0.01))
    if first["share"] is None:
        return f"{name} equals its base in every weight of the region."
    start = (
        f"The top {100 * first['top']:.3g} % of the weights of {name} hold {first['share']:.1%} "
        f"of all relative change; the same changes shuffled give {first['null_permuted']:.1%}"
    )
    return start + _ending(rows, verdicts)


def _claim(claim: str, rows: Sequence[Row], doubt: str = "") -> Verdict:
    if not rows:
        return Verdict(claim, "undetermined", "Nothing changed, or no ratio takes a weight.")
    beyond = [row for row in rows if _over(row) > _margin(row)]
    if not beyond:
        most = max(rows, key=lambda row: abs(_over(row)))
        return Verdict(claim, NONE, _detail(most))
    most = max(beyond, key=_over)
    detail = f"{_detail(most)} {doubt}".rstrip()
    return Verdict(claim, "undetermined" if doubt else "holds", detail)


def _null(row: Row) -> float:
    if row["by"] == "relative":
        return float(row["null_permuted"])
    return max(float(row["null_gaussian"]), float(row["null_rounded"] or 0.0))


def _over(row: Row) -> float:
    return float(row["share"]) - _null(row)


def _margin(row: Row) -> float:
    return max(CHANCE, SPREADS * (row["null_permuted_sd"] or 0.0))


def _detail(row: Row) -> str:
    return (
        f"The largest difference is at the top {100 * row['top']:.3g} %: {row['share']:.1%} "
        f"of the change, by chance {_null(row):.1%}."
    )


def _ending(rows: Sequence[Row], verdicts: Sequence[Verdict]) -> str:
    relative, absolute = verdicts
    noise = absolute.text.partition("than ")[2]
    if relative.state == "holds":
        first = ": more than chance would give."
    elif min(_over(row) for row in rows) < -CHANCE and "rounded" in noise:
        # rounding ties the size of a change to that of its weight, which shuffling undoes
        first = ": no more than chance would give."
    elif min(_over(row) for row in rows) < -CHANCE:
        first = ": less than chance would give."
    else:
        first = ": this concentration is what chance would give."
    even = {
        "holds": f" In absolute terms the change is more concentrated than {noise}",
        NONE: f" In absolute terms the change is no more concentrated than {noise}",
        "undetermined": "",
    }
    return first + even[absolute.state]
