"""The result of an evaluation: tables, verdicts, and the JSON twin of the report."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl

from imprint.evaluation.config import EvaluateConfig
from imprint.evaluation.judging import calibration, judged
from imprint.evaluation.rollouts import pass_at_k_means, pass_rates
from imprint.evaluation.subjects import LABELS
from imprint.findings import Finding
from imprint.formats.own_tables import scores_from_items
from imprint.models import Prompter
from imprint.report import Shown, Verdict
from imprint.tables import ITEMS, SCORES

Json = dict[str, Any]
ASKED = ("shots", "chat_template", "system_prompt", "engine", "dtype")


@dataclass(repr=False, frozen=True)
class EvaluateResult(Shown):
    """How models answer.

    Attributes:
        tables: ``items`` and ``scores`` (which ``imprint transfer`` reads), ``benchmarks`` (scores
            with intervals beside chance), ``calibration``; ``rollouts``, ``pass_rates`` (per
            prompt) and ``pass_at_k`` (means) where prompts were given.
        headline: the answer in a sentence or two.
        verdicts: per model and benchmark, whether accuracy is above chance.
        data: the content of ``result.json``.
        findings: what was noticed.
        notes: for the method section of the report.
        prompters: how each model was asked.
        lm_eval_files: what lm-eval wrote for its own tasks: ``model``, ``name``, ``content``.
    """

    pages: ClassVar[str] = "imprint.evaluation.report"

    tables: dict[str, pl.DataFrame]
    headline: str
    verdicts: list[Verdict]
    data: Json
    findings: list[Finding]
    notes: Json = field(default_factory=dict)
    prompters: list[Prompter] = field(default_factory=list)
    lm_eval_files: pl.DataFrame = field(default_factory=pl.DataFrame)

    @property
    def items(self) -> pl.DataFrame:
        """Rows of the item table, as ``imprint transfer`` reads them."""
        return self.tables["items"]


def assemble(
    tables: dict[str, pl.DataFrame], config: EvaluateConfig, about: Json
) -> EvaluateResult:
    """Put tables, verdicts and JSON together."""
    made: dict[str, pl.DataFrame] = {}
    scores: list[pl.DataFrame] = []
    findings: list[Finding] = []
    verdicts: list[Verdict] = []
    if "items" in tables:
        items = _ordered(tables["items"], ITEMS.names)
        scores.append(_scores(items))
        made["items"] = items
        made["benchmarks"], verdicts = judged(items, scores[0])
        made["calibration"] = calibration(items, config.seed)
        findings += _cut(made["benchmarks"])
    if "rollouts" in tables:
        rollouts = _ordered(tables["rollouts"], [*LABELS, "benchmark", "item", "sample"])
        labels = [*LABELS, "benchmark", *ASKED]
        made["rollouts"] = rollouts
        made["pass_rates"] = pass_rates(rollouts, labels)
        made["pass_at_k"] = pass_at_k_means(made["pass_rates"], labels, config.seed)
        scores.append(_pass_scores(made["pass_rates"], labels))
        findings += _unended(rollouts)
    if len(tables.get("values", ())):
        scores.append(tables["values"])
    made["scores"] = _ordered(pl.concat(scores, how="diagonal"), SCORES.names)
    data = {
        "job": "evaluate",
        "format": 1,
        "imprint": importlib.metadata.version("imprint"),
        "headline": _headline(made),
        **about,
        "benchmarks": _rows(made.get("benchmarks")),
        "calibration": _rows(made.get("calibration")),
        "pass_at_k": _rows(made.get("pass_at_k")),
        "verdicts": [{"text": v.text, "state": v.state, "detail": v.detail} for v in verdicts],
        "findings": [{"level": f.level, "check": f.check, "detail": f.detail} for f in findings],
    }
    return EvaluateResult(made, data["headline"], verdicts, data, findings)


def _scores(items: pl.DataFrame) -> pl.DataFrame:
    """Average items; chance is the share of right options, averaged over items."""
    key = [name for name in SCORES.key if name in items.columns]
    right = pl.coalesce(pl.col("golds").list.len(), pl.lit(1))
    options = pl.col("logprobs").list.len()
    beside = items.group_by(key).agg(
        chance=(right / options).mean(), cut_items=(pl.col("cut") > 0).sum().cast(pl.Int64)
    )
    # what varies by item is no label of a score
    lean = items.drop("cut", "subset", "margin", "entropy", "gold_probability", strict=False)
    found = scores_from_items(lean.lazy())
    return found.join(beside, on=key, how="left", nulls_equal=True, maintain_order="left")


def _pass_scores(rates: pl.DataFrame, labels: list[str]) -> pl.DataFrame:
    """Give the mean pass rate over prompts as a score, its error over prompts."""
    found = rates.group_by(labels, maintain_order=True).agg(
        accuracy=pl.col("pass_rate").mean(),
        accuracy_se=pl.col("pass_rate").std() / pl.len().sqrt(),
        items=pl.len().cast(pl.Int64),
    )
    return found.with_columns(metric=pl.lit("pass@1"))


def _ordered(frame: pl.DataFrame, first: list[str]) -> pl.DataFrame:
    ours = [name for name in first if name in frame.columns]
    return frame.select(*ours, *[name for name in frame.columns if name not in ours])


def _cut(benchmarks: pl.DataFrame) -> list[Finding]:
    found = []
    for row in benchmarks.filter(pl.col("cut_items") > 0).iter_rows(named=True):
        detail = (
            f"{row['cut_items']:,} of {row['items']:,} contexts of {row['benchmark']} were longer "
            f"than {row['unit']} reads and were cut from the left"
        )
        kwargs = {"benchmark": row["benchmark"], "unit": row["unit"], "stage": row["stage"]}
        found.append(Finding("cut_contexts", detail, "warn", row["cut_items"], **kwargs))
    return found


def _unended(rollouts: pl.DataFrame) -> list[Finding]:
    found = []
    counted = rollouts.group_by("unit", "stage", "benchmark", maintain_order=True).agg(
        long=(pl.col("ended") == "length").sum(), all=pl.len()
    )
    for row in counted.filter(pl.col("long") > 0).iter_rows(named=True):
        detail = (
            f"{row['long']:,} of {row['all']:,} rollouts of {row['unit']} on {row['benchmark']} "
            "reached --max-new-tokens before they ended"
        )
        found.append(Finding("rollouts_cut_short", detail, "warn", row["long"]))
    return found


def _headline(made: dict[str, pl.DataFrame]) -> str:
    told = []
    if "benchmarks" in made:
        frame = made["benchmarks"]
        above = int((frame["state"] == "holds").sum())
        models = frame.select(name for name in LABELS).n_unique()
        told.append(
            f"{models} model{'s' if models > 1 else ''} on "
            f"{frame['benchmark'].n_unique()} benchmark"
            f"{'s' if frame['benchmark'].n_unique() > 1 else ''}: accuracy is above chance in "
            f"{above} of {len(frame)} cases, {frame['items'].sum():,} answers in all."
        )
    if "pass_at_k" in made:
        first = made["pass_at_k"].filter(pl.col("k") == 1)["pass_at_k"].sort()
        rates = dict.fromkeys(f"{rate:.3f}" for rate in (first[0], first[-1]))
        told.append(
            f"{len(made['rollouts']):,} rollouts were verified; mean pass rate "
            f"{' to '.join(rates)}."
        )
    return " ".join(told)


def _rows(frame: pl.DataFrame | None) -> list[Json]:
    return [] if frame is None else frame.fill_nan(None).to_dicts()
