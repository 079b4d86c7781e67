"""The result of a forecast: tables, verdicts and the JSON twin of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import polars as pl

from imprint.findings import Finding
from imprint.forecast import history
from imprint.forecast.entries import Json, as_json
from imprint.forecast.headline import headline
from imprint.forecast.inputs import Inputs
from imprint.forecast.judged import Found, Judged
from imprint.forecast.kept import findings_frame
from imprint.forecast.outcomes import judge_outcomes
from imprint.forecast.sets import rank_sets
from imprint.forecast.verdicts import judge
from imprint.report import Shown, Verdict


@dataclass(repr=False, frozen=True)
class ForecastResult(Shown):
    """Which domains an SFT set will change, and how far that can be believed.

    Attributes:
        tables: ``forecast`` (one row per SFT set and domain), ``predictors`` (and predictor),
            ``sets``, ``findings``; with an SAE ``fit``, ``shifted``, ``overlap``; with outcomes
            ``evaluation`` and ``influence``; ``history``, ``held_out``, ``mixture``, ``ablation``,
            ``strongest`` where they were asked for.
        headline: the verdict in a few sentences.
        verdicts: the claims, each with its state.
        findings: what was noticed.
        data: the content of ``result.json``.
        notes: settings for the method section.
    """

    pages: ClassVar[str] = "imprint.forecast.report"

    tables: dict[str, pl.DataFrame]
    headline: str
    verdicts: list[Verdict]
    findings: list[Finding]
    data: Json
    notes: Json = field(default_factory=dict)


def assemble(
    inputs: Inputs,
    judged: Sequence[Judged],
    extra: dict[str, pl.DataFrame],
    findings: Sequence[Finding],
) -> ForecastResult:
    """Make tables, verdicts and JSON of what was found.

    Args:
        inputs: what was read.
        judged: every SFT set with its scores.
        extra: further tables: ``fit``, ``mixture``.
        findings: beside those of the inputs.
    """
    record = history.judge(inputs.past)
    tables = {
        "forecast": pl.concat([one.forecast for one in judged]),
        "predictors": pl.concat([one.table for one in judged]),
        "sets": rank_sets(judged),
    }
    noticed = [*inputs.findings, *findings]
    tables |= judge_outcomes(inputs, judged, noticed)
    if record is not None:
        tables |= {"history": record.table, "held_out": record.held_out}
    for name in dict.fromkeys(name for one in judged for name in one.found.tables):
        parts = [_named(one.found, name) for one in judged if name in one.found.tables]
        tables[name] = pl.concat(parts, how="diagonal")
    tables |= extra
    noticed = list(dict.fromkeys(noticed))
    tables["findings"] = findings_frame(noticed)
    sets, choice = [one.found.sft for one in judged], judged[0].choice
    words = headline(tables, choice, sets, inputs.top, record)
    verdicts = judge(tables, choice, sets, inputs.top, record)
    data = as_json(inputs, judged, tables, words, record)
    notes = {"config": inputs.config, "titles": _titles(judged)}
    return ForecastResult(tables, words, verdicts, noticed, data, notes)


def _named(found: Found, name: str) -> pl.DataFrame:
    return found.tables[name].fill_nan(None).select(pl.lit(found.sft).alias("sft"), pl.all())


def _titles(judged: Sequence[Judged]) -> pl.DataFrame:
    rows = [
        {
            "predictor": p.name,
            "title": p.title,
            "family": p.family,
            "signed": p.signed,
            "note": p.note,
        }
        for p in judged[0].found.predicted
    ]
    return pl.DataFrame(rows, infer_schema_length=None)
