"""The result of a mastery run: tables, verdicts, and the JSON twin of the report."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl

from imprint.findings import Finding
from imprint.mastery.levels import LEVELS
from imprint.mastery.scoring import COUNTED
from imprint.report import Shown, Verdict

Json = dict[str, Any]


@dataclass(repr=False, frozen=True)
class MasteryResult(Shown):
    """What a model knows.

    Attributes:
        tables: ``mastery`` (a row per fact), ``templates`` (per fact and template), ``relations``,
            ``levels``, ``template_success`` (per relation and template), and ``splits`` and
            ``samples`` where they were asked for.
        headline: the answer in two sentences.
        verdicts: recall beside its null, and how firm the levels are.
        data: the content of ``result.json``.
        findings: what was noticed.
        files: SFT and test sets, path in the run folder → content.
        notes: for the method section of the report.
    """

    pages: ClassVar[str] = "imprint.mastery.report"

    tables: dict[str, pl.DataFrame]
    headline: str
    verdicts: list[Verdict]
    data: Json
    findings: list[Finding]
    files: dict[str, str] = field(default_factory=dict)
    notes: Json = field(default_factory=dict)


def data_of(
    tables: dict[str, pl.DataFrame],
    headline: str,
    verdicts: list[Verdict],
    findings: list[Finding],
    about: Json,
) -> Json:
    """Give the content of ``result.json``."""
    mastery = tables["mastery"]
    per_fact = mastery["total"].unique().to_list()
    return {
        "job": "mastery",
        "format": 1,
        "imprint": importlib.metadata.version("imprint"),
        "headline": headline,
        "facts": len(mastery),
        "samples_per_fact": int(per_fact[0]) if len(per_fact) == 1 else None,
        "samples_drawn": int(mastery["samples"].sum() or 0),
        "samples_in_full": int(mastery["total"].sum()),
        "score": float(mastery["score"].mean()),  # type: ignore[arg-type]
        "levels": [
            {"level": n, "facts": int((mastery["level"] == n).sum())} for n in range(LEVELS)
        ],
        "relations": tables["relations"]
        .select("relation", "split", "facts", "score", "low", "high", "null")
        .to_dicts(),
        "matching": {name.removeprefix("hits_"): _rate(mastery, name) for name in COUNTED},
        "slick": _counts(mastery["slick"]),
        **about,
        "verdicts": [{"text": v.text, "state": v.state, "detail": v.detail} for v in verdicts],
        "findings": [{"level": f.level, "check": f.check, "detail": f.detail} for f in findings],
    }


def _rate(mastery: pl.DataFrame, name: str) -> float | None:
    drawn = int(mastery["samples"].sum() or 0)
    return int(mastery[name].sum()) / drawn if drawn else None


def _counts(values: pl.Series) -> dict[str, int] | None:
    kept = values.drop_nulls()
    return dict(kept.value_counts(sort=True).iter_rows()) if len(kept) else None
