"""The result of an experiment: tables, verdicts and the JSON twin of the report."""

from __future__ import annotations

import importlib.metadata
import math
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import polars as pl

from imprint.findings import Finding
from imprint.report import Shown, Verdict
from imprint.theory.config import TheoryConfig
from imprint.theory.experiments.experiment import Conclusion, Curves, Experiment

Json = dict[str, Any]


@dataclass(repr=False, frozen=True)
class TheoryResult(Shown):
    """What an experiment found.

    Attributes:
        tables: ``curves`` (panel, curve, x, seeds, median, low, high, coverage, and a column for
            each line of theory), ``points`` (one row per realisation), ``theory`` (one row per
            value), and the experiment's own.
        headline: the answer in a sentence or two.
        verdicts: the claims, each with its state.
        findings: what was noticed; none as yet.
        data: the content of ``result.json``.
        notes: what the page shows besides.
    """

    pages: ClassVar[str] = "imprint.theory.report"

    tables: dict[str, pl.DataFrame]
    headline: str
    verdicts: list[Verdict]
    findings: list[Finding]
    data: Json
    notes: Json = field(default_factory=dict)


def assemble(
    name: str,
    experiment: Experiment,
    config: TheoryConfig,
    curves: Curves,
    conclusion: Conclusion,
) -> TheoryResult:
    """Make tables, verdicts and JSON of an experiment's curves and conclusions."""
    tables = {
        "curves": curves.table,
        "points": curves.points,
        "theory": curves.lines,
        **conclusion.tables,
    }
    data = {
        "job": "theory",
        "format": 1,
        "imprint": importlib.metadata.version("imprint"),
        "experiment": name,
        "question": experiment.question,
        "headline": conclusion.headline,
        "settings": {key: getattr(config, key) for key in experiment.defaults},
        "seed": config.seed,
        "regime": conclusion.regime,
        "protocol": conclusion.protocol,
        "verdicts": [asdict(verdict) for verdict in conclusion.verdicts],
        "curves": records(curves.table),
        "tables": {key: records(frame) for key, frame in conclusion.tables.items()},
        "findings": [],
    }
    notes = {"config": config, "experiment": experiment, "conclusion": conclusion}
    return TheoryResult(tables, conclusion.headline, conclusion.verdicts, [], data, notes)


def records(frame: pl.DataFrame) -> list[Json]:
    """Give rows as JSON has them: a number that is not finite is null."""
    return [{key: _finite(value) for key, value in row.items()} for row in frame.to_dicts()]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
