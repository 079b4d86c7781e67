"""The result of a sweep: tables, verdicts, and the JSON twin of the report."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from imprint.findings import Finding
from imprint.report import Shown, State, Verdict
from imprint.restoration.sweep.points import Point
from imprint.restoration.sweep.verdict import RIVALS, Comparison, overall

Json = dict[str, Any]


@dataclass(repr=False, frozen=True)
class SweepResult(Shown):
    """How much to put back, and whether it helps.

    Attributes:
        tables: ``sweep`` (a row per point and split), ``comparisons``, ``items`` (a row per point,
            split and item).
        headline: the answer in one or two sentences.
        state: whether repair helps.
        verdicts: the headline's claim, and each comparison's.
        chosen: the point that scored best on dev; ``None`` where that is the tuned model itself.
        data: the content of ``result.json``.
        findings: what was noticed.
        target: where the chosen checkpoint was written, if it was.
        notes: for the method section of the report.
    """

    pages: ClassVar[str] = "imprint.restoration.sweep.report"

    tables: dict[str, pl.DataFrame]
    headline: str
    state: State
    verdicts: list[Verdict]
    chosen: Point | None
    data: Json
    findings: list[Finding]
    target: Path | None = None
    notes: Json = field(default_factory=dict)


def assemble(
    rows: list[Json],
    items: pl.DataFrame,
    comparisons: list[Comparison],
    chosen: Point | None,
    target: Path | None,
    about: Json,
    findings: list[Finding],
) -> SweepResult:
    """Put verdicts, tables and JSON together."""
    state = overall(comparisons)
    headline = _headline(chosen, comparisons, state, about)
    claim = Verdict("Repair helps.", state, NEEDED if comparisons else "")
    verdicts = [claim, *(comparison.verdict for comparison in comparisons)]
    compared = [
        {"chosen": chosen.key if chosen else None, **{k: getattr(c, k) for k in COMPARED}}
        for c in comparisons
    ]
    tables = {
        "sweep": pl.DataFrame(rows, schema=SWEEP),
        "comparisons": pl.DataFrame(compared, schema={"chosen": pl.String, **COMPARED}),
        "items": items,
    }
    data = {
        "job": "restore",
        "format": 1,
        "imprint": importlib.metadata.version("imprint"),
        "headline": headline,
        "state": state,
        **about,
        "chosen": _chosen(chosen),
        "written": None if target is None else str(target),
        "verdicts": [{"text": v.text, "state": v.state, "detail": v.detail} for v in verdicts],
        "comparisons": compared,
        "sweep": rows,
        "findings": [{"level": f.level, "check": f.check, "detail": f.detail} for f in findings],
    }
    return SweepResult(tables, headline, state, verdicts, chosen, data, findings, target)


NEEDED = "Each of the following must hold."
SWEEP: dict[str, Any] = {
    "point": pl.String,
    "role": pl.String,
    "by": pl.String,
    "order": pl.String,
    "region": pl.String,
    "top": pl.Float64,
    "seed": pl.Int64,
    "weights": pl.Int64,
    "split": pl.String,
    "score": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "items": pl.Int64,
    "retained": pl.Float64,
    "change_norm": pl.Float64,
}
COMPARED: dict[str, Any] = {
    "split": pl.String,
    "against": pl.String,
    "mean": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "n": pl.Int64,
    "state": pl.String,
    "margin": pl.Float64,
    "items_needed": pl.Int64,
}


def _chosen(point: Point | None) -> Json | None:
    if point is None:
        return None
    config = point.config
    return {
        "point": point.key,
        "by": config.by,
        "order": config.order,
        "scope": config.competing,
        "region": point.label,
        "top": point.top,
        "weights": point.weights,
    }


def _headline(
    chosen: Point | None, comparisons: list[Comparison], state: State, about: Json
) -> str:
    if chosen is None:
        return (
            "No restoration is advised: on the dev items no point scores better than the tuned "
            "model itself."
        )
    what = f"Putting {_what(chosen)}, chosen on dev,"
    if state == "holds":
        return (
            f"Repair helps. {what} beats the tuned model, interpolation and random restoration, "
            f"matched and at their best, on {about['items']['test']:,} test items, and loses "
            "nothing on the retain set."
        )
    failed = [c for c in comparisons if c.state == "does_not_hold"]
    if failed:
        return f"Repair does not help. {what} {_listed(failed, 'does not beat', 'loses')}."
    open_ = [c for c in comparisons if c.state == "undetermined"]
    return (
        f"Whether repair helps is undetermined. {what} "
        f"{_listed(open_, 'is not told apart from', 'may lose')}."
    )


def _what(chosen: Point) -> str:
    if chosen.top == 1:
        return f"{chosen.name} back to base"
    change = " change" if chosen.config.by in ("relative", "absolute") else ""
    return f"the {chosen.name} back to base by {chosen.config.by}{change}"


def _listed(comparisons: list[Comparison], test: str, retain: str) -> str:
    rivals = [RIVALS[c.against] for c in comparisons if c.split == "test"]
    parts = [f"{test} {' and '.join(rivals)} on the test set"] if rivals else []
    if any(c.split == "retain" for c in comparisons):
        parts.append(f"{retain} on the retain set")
    return " and ".join(parts)
