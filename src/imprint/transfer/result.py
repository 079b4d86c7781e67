"""The result of a transfer study: tables, verdicts, and the JSON twin of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl

from imprint.findings import Finding
from imprint.report import Shown

INTERVALS = ("fisher", "percentile", "bca", "bonett_wright")
Json = dict[str, Any]


@dataclass(repr=False, frozen=True)
class TransferResult(Shown):
    """What a transfer study found.

    Attributes:
        tables: every table by name (section 13 of the reference and more; see docs/transfer.md).
        headline: the verdict in one sentence.
        findings: what was noticed about the input and the design.
        data: the content of ``result.json``.
        notes: settings and versions for the method section.
    """

    pages: ClassVar[str] = "imprint.transfer.report"

    tables: dict[str, pl.DataFrame]
    headline: str
    findings: list[Finding]
    data: Json
    notes: Json = field(default_factory=dict)

    @property
    def verdicts(self) -> pl.DataFrame:
        """One row per benchmark, measure, comparison and scale: verdict, reason, detail."""
        return self.tables.get("reliability", pl.DataFrame())


def clean(value: Any) -> Any:
    """Make a value JSON can hold: NaN and infinities become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(v) for v in value]
    if hasattr(value, "item"):
        return clean(value.item())
    return value


def records(table: pl.DataFrame | None) -> list[Json]:
    """Rows of a table as JSON objects."""
    return [] if table is None else [clean(row) for row in table.iter_rows(named=True)]


def benchmark_objects(tables: Mapping[str, pl.DataFrame]) -> list[Json]:
    """The ``benchmarks`` list of ``result.json``."""
    if "cross_stage" not in tables:
        return []
    keys = ["comparison", "scale", "benchmark", "metric"]
    found: dict[tuple[Any, ...], Json] = {}
    about = {
        name: {tuple(row[k] for k in keys): row for row in tables[name].iter_rows(named=True)}
        for name in ("reliability", "decision_accuracy")
    }
    for row in tables["cross_stage"].iter_rows(named=True):
        if not row["primary"]:
            continue
        key = tuple(row[k] for k in keys)
        entry = found.setdefault(
            key[:3],
            {
                "comparison": row["comparison"],
                "benchmark": row["benchmark"],
                "category": row["category"],
                "scale": row["scale"],
                "metric": row["score"],
                "accuracy": None,
                "confidence": None,
            },
        )
        entry[row["metric"]] = _measure(
            row, about["reliability"][key], about["decision_accuracy"][key]
        )
    return [clean(entry) for entry in found.values()]


def _measure(row: Json, verdict: Json, decision: Json) -> Json:
    entry = {
        "pearson": _correlation(row, "", "r"),
        "spearman": _correlation(row, "spearman_", "spearman"),
        "kendall": row["kendall"],
        "decision_accuracy": {
            "value": decision["da"],
            "low": decision["ci_lo"],
            "high": decision["ci_hi"],
            "pairs": decision["n_pairs"],
            "ties": decision["n_ties"],
            "noise_weighted": decision["da_noise_weighted"],
            "top1_hit": decision["top1_hit"],
            "top1_regret_pp": decision["top1_regret_pp"],
        },
        "reliability": None,
        "r_corrected": verdict["r_corrected"],
        "leave_one_out": {k: row[f"loo_{k}"] for k in ("min", "max", "flip")},
        "verdict": verdict["verdict"],
        "reason": verdict["reason"],
        "detail": verdict["detail"],
        "units_needed": verdict["units_needed"],
    }
    if verdict["rel_method"] is not None:
        entry["reliability"] = {
            "before": verdict["rel_pt"],
            "after": verdict["rel_sft"],
            "method": verdict["rel_method"],
        }
    if "partial" in row and row["partial_status"] is not None:
        entry["partial"] = {
            "pearson": _correlation(row, "partial_", "partial"),
            "spearman": _correlation(row, "partial_spearman_", "partial_spearman"),
        }
    return entry


def _correlation(row: Json, prefix: str, value: str) -> Json:
    entry = {
        "r": row[value],
        "low": row[f"{prefix}ci_lo"],
        "high": row[f"{prefix}ci_hi"],
        "p": row[f"{prefix}p"],
        "n": row[f"{prefix}n"],
        "status": row[f"{prefix}status"],
        "method": row[f"{prefix}ci_method"],
        "p_method": row[f"{prefix}p_method"],
        "intervals": {
            name: {"low": row[f"{prefix}{name}_lo"], "high": row[f"{prefix}{name}_hi"]}
            for name in INTERVALS
            if f"{prefix}{name}_lo" in row
        },
    }
    for extra in ("p_adj", "p_holm", "p_free"):
        if row.get(f"{prefix}{extra}") is not None:
            entry[extra] = row[f"{prefix}{extra}"]
    within = f"{prefix}p_within_"
    restricted = {k.removeprefix(within): v for k, v in row.items() if k.startswith(within)}
    return entry | ({"p_within": restricted} if restricted else {})


def result_json(
    tables: Mapping[str, pl.DataFrame],
    headline: str,
    comparisons: Sequence[Json],
    about: Json,
) -> Json:
    """Assemble ``result.json``; its schema ships as ``imprint/transfer/result.schema.json``."""
    benchmarks = benchmark_objects(tables)
    counts = {"reliable": 0, "unreliable": 0, "undetermined": 0}
    for entry in benchmarks:
        if entry["accuracy"]:
            counts[entry["accuracy"]["verdict"]] += 1
    found: Json = clean(
        {
            **about,
            "headline": headline,
            "counts": counts,
            "comparisons": list(comparisons),
            "benchmarks": benchmarks,
            "categories": records(tables.get("cross_stage_category")),
            "coherence": records(tables.get("coherence_category")),
            "alignment": {
                "categories": records(tables.get("alignment_category")),
                "persistence": records(tables.get("alignment_persistence")),
            },
            "structure": records(tables.get("structure")),
            "scale_shift": records(tables.get("scale_shift")),
            "source_effect": records(tables.get("source_effect")),
            "code_share_effect": records(tables.get("code_share_effect")),
            "predictors": records(tables.get("best_predictors")),
            "units": records(tables.get("units")),
            "items": records(tables.get("item_transitions")),
            "calibration": records(tables.get("calibration_shift")),
            "audit": records(tables.get("design_audit")),
        }
    )
    return found
