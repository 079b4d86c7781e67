"""The transfer study from end to end: read, audit, analyse, judge, write."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from imprint.errors import ConfigError
from imprint.findings import Finding, enforce
from imprint.progress import note, progress
from imprint.report import publish
from imprint.runs import Run, Tables, versions
from imprint.stats import benjamini_hochberg, holm, one_blas_thread
from imprint.transfer.alignment import alignment
from imprint.transfer.audit import audit_panel, audit_scores, audit_table, scale_confounds
from imprint.transfer.calibration import calibration
from imprint.transfer.coherence import coherence
from imprint.transfer.cross_stage import cross_stage
from imprint.transfer.decision_gap import decision_gap
from imprint.transfer.design import Compare, Design, load_design
from imprint.transfer.effects import share_effect, source_effect
from imprint.transfer.inference import BYTES, Settings
from imprint.transfer.items import ItemEvidence, item_evidence
from imprint.transfer.panel import Panel, panels, single_side_panels
from imprint.transfer.predictors import predictors
from imprint.transfer.prepare import prepare
from imprint.transfer.reading import Inputs, from_frame, read_inputs
from imprint.transfer.result import TransferResult, result_json
from imprint.transfer.scale_shift import scale_shift
from imprint.transfer.structure import structure
from imprint.transfer.units import unit_pairs, units
from imprint.transfer.words import headline

Unit = Callable[[str, Callable[[], Tables]], Tables]


@dataclass(frozen=True)
class TransferConfig:
    """Settings of a run beside the design.

    Attributes:
        resamples: bootstrap draws.
        permutations: Monte-Carlo permutations where enumeration is too long.
        seed: seed of all resampling.
        strict: findings above `info` are errors.
        quiet: no progress.
    """

    resamples: int = 10_000
    permutations: int = 9_999
    seed: int = 0
    strict: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"--seed {self.seed} is negative", remedy="give 0 or more.")
        for name in ("resamples", "permutations"):
            if getattr(self, name) < 100:
                raise ConfigError(
                    f"--{name} {getattr(self, name)} is too few to tell an interval",
                    remedy="give at least 100; 10,000 is the default.",
                )

    @property
    def settings(self) -> Settings:
        """What the analyses need to know."""
        return Settings(self.resamples, self.permutations, self.seed)


def transfer(
    results: str | Path | Iterable[str | Path] | pl.DataFrame | Any,
    *,
    compare: tuple[str, str] | None = None,
    design: str | Path | Design | None = None,
    models: str | Path | None = None,
    out: str | Path | None = None,
    rename: Mapping[str, str] | None = None,
    config: TransferConfig | None = None,
) -> TransferResult:
    """Ask which base-model scores survive post-training, and how far to trust the answer.

    Args:
        results: paths of results (our tables, lm-eval, olmes or lighteval folders, any table by a
            mapping), or a frame (polars, pandas, Arrow) with the columns of ``scores`` or
            ``items``.
        compare: the two stages, a short form of a design.
        design: a design file, or a ``Design``.
        models: the models table that joins result folders to units and stages.
        out: run folder to write; nothing is written without it.
        rename: our column name → the name in the input.
        config: resampling and seed.

    Returns:
        Tables, verdicts and the report.

    Raises:
        ConfigError, DataError: the design or the input cannot be used; nothing is written.

    Example:
        >>> import polars as pl
        >>> rows = [dict(unit=f"m{i}", stage=s, benchmark="b", accuracy=0.3 + 0.05 * i + 0.1 * k)
        ...         for i in range(6) for k, s in enumerate(("pretrained", "sft"))]
        >>> r = transfer(pl.DataFrame(rows), compare=("pretrained", "sft"))
        >>> r.tables["cross_stage"]["r"].round(3).to_list()
        [1.0]
    """
    config = config or TransferConfig()
    plan = _design(design, compare)
    design_file = Path(design) if isinstance(design, (str, Path)) else None
    inputs = _inputs(results, plan, models, rename, design_file)
    if out is None:
        return analyse(inputs, plan, config)
    run = open_run(inputs, plan, config, Path(out))
    result = analyse(inputs, plan, config, run=run)
    publish(run, result)
    return result


def open_run(inputs: Inputs, design: Design, config: TransferConfig, out: Path) -> Run:
    """Open the run folder whose fingerprint covers inputs, design, resampling and versions."""
    settings = {
        "design": json.loads(json.dumps(asdict(design), default=str)),
        "resamples": config.resamples,
        "permutations": config.permutations,
        **inputs.facts,
    }
    return Run(out, "transfer", settings, inputs.files, seed=config.seed)


def analyse(
    inputs: Inputs, design: Design, config: TransferConfig, *, run: Run | None = None
) -> TransferResult:
    """Run every analysis that the input allows."""
    scores, noticed = prepare(inputs.scores, design)
    findings = [*inputs.findings, *noticed, *audit_scores(scores, design)]
    crossed = panels(scores, design)
    single = [] if design.comparisons else single_side_panels(scores, design)
    for panel in crossed or single:
        findings += audit_panel(panel, design.thresholds)
    if config.strict:
        enforce(findings)
    unit: Unit = run.unit if run else _directly
    tables = _tables(scores, crossed, single, inputs.items, design, config, unit)
    tables = _name_variant(_adjust(tables), scores)
    tables["design_audit"] = audit_table(findings)
    tables["scores"] = _scores_table(scores)
    words = headline(tables, crossed, design)
    data = result_json(tables, words, _comparisons(crossed or single), _about(design, config))
    notes = {"design": design, "config": config, "panels": crossed or single}
    return TransferResult(tables, words, findings, data, notes)


def _design(design: str | Path | Design | None, compare: tuple[str, str] | None) -> Design:
    plan = design if isinstance(design, Design) else Design()
    if isinstance(design, (str, Path)):
        plan = load_design(Path(design))
    if compare is not None:
        plan = replace(plan, compare=Compare(before=compare[0], after=compare[1]))
    return plan


def _inputs(
    results: Any,
    design: Design,
    models: str | Path | None,
    rename: Mapping[str, str] | None,
    design_file: Path | None,
) -> Inputs:
    if isinstance(results, (str, Path)):
        results = [results]
    if isinstance(results, (list, tuple)) and all(isinstance(p, (str, Path)) for p in results):
        paths = [Path(p) for p in results]
        labels = Path(models) if models else None
        return read_inputs(paths, design, labels, rename or {}, design_file=design_file)
    return from_frame(results, design, rename or {})


def _directly(name: str, compute: Callable[[], Tables]) -> Tables:
    return compute()


def _tables(
    scores: pl.DataFrame,
    crossed: list[Panel],
    single: list[Panel],
    items: pl.LazyFrame | None,
    design: Design,
    config: TransferConfig,
    unit: Unit,
) -> Tables:
    found: dict[str, list[pl.DataFrame]] = {}
    settings = config.settings
    steps: list[tuple[str, Callable[[], Tables]]] = []
    for k, panel in enumerate(single):
        for measure in panel.measures:
            steps.append((f"coherence-{k}-{measure}", _bind(coherence, panel, measure, settings)))
        steps.append((f"units-{k}", _named("units", units, panel, settings)))
    for k, panel in enumerate(crossed):
        evidence = _evidence(panel, design, items, settings)
        steps += _panel_steps(k, panel, evidence, items, design, settings)
    steps += _joint_steps(crossed, scores, settings)
    with one_blas_thread(), progress(len(steps), "transfer", quiet=config.quiet) as bar:
        for name, compute in steps:
            bar.describe(name)
            for table, frame in unit(name, compute).items():
                found.setdefault(table, []).append(frame)
            bar.advance()
    return {name: pl.concat(frames, how="diagonal_relaxed") for name, frames in found.items()}


def _panel_steps(
    k: int,
    panel: Panel,
    evidence: Callable[[], ItemEvidence | None],
    items: pl.LazyFrame | None,
    design: Design,
    settings: Settings,
) -> list[tuple[str, Callable[[], Tables]]]:
    def crossing(measure: str) -> Callable[[], Tables]:
        def compute() -> Tables:
            seen = evidence()
            return cross_stage(panel, measure, design, settings, seen.halves if seen else None)

        return compute

    def per_item() -> Tables:
        seen = evidence()
        return {"item_transitions": seen.transitions} if seen else {}

    def pairs() -> Tables:
        table = unit_pairs(panel, evidence(), settings)
        return {} if table is None else {"unit_pairs": table}

    steps: list[tuple[str, Callable[[], Tables]]] = []
    for measure in panel.measures:
        steps.append((f"cross_stage-{k}-{measure}", crossing(measure)))
        steps.append((f"coherence-{k}-{measure}", _bind(coherence, panel, measure, settings)))
        steps.append(
            (f"structure-{k}-{measure}", _named("structure", structure, panel, measure, settings))
        )
    steps.append((f"alignment-{k}", _bind(alignment, panel, settings)))
    steps.append((f"decision_gap-{k}", _named("decision_gap", decision_gap, panel, settings)))
    steps.append((f"units-{k}", _named("units", units, panel, settings)))
    steps.append((f"unit_pairs-{k}", pairs))
    steps.append((f"predictors-{k}", _bind(predictors, panel, design, settings)))
    steps.append((f"share_effect-{k}", _named("code_share_effect", share_effect, panel, settings)))
    if items is not None:
        steps.append((f"items-{k}", per_item))
        steps.append((f"calibration-{k}", _bind(calibration, panel, items, design, settings)))
    return steps


def _joint_steps(
    crossed: list[Panel], scores: pl.DataFrame, settings: Settings
) -> list[tuple[str, Callable[[], Tables]]]:
    confounds = scale_confounds(scores)
    return [
        ("scale_shift", _named("scale_shift", scale_shift, crossed, settings, confounds)),
        ("source_effect", _named("source_effect", source_effect, crossed, settings)),
    ]


def _bind(function: Callable[..., Tables], *args: Any) -> Callable[[], Tables]:
    return lambda: function(*args)


def _named(
    name: str, function: Callable[..., pl.DataFrame | None], *args: Any
) -> Callable[[], Tables]:
    def compute() -> Tables:
        table = function(*args)
        return {} if table is None else {name: table}

    return compute


def _evidence(
    panel: Panel, design: Design, items: pl.LazyFrame | None, settings: Settings
) -> Callable[[], ItemEvidence | None]:
    """Items are walked through once per panel, and only if a step needs them."""
    kept: list[ItemEvidence | None] = []
    labels = {tuple(s.label for s in c.sides()): c for c in design.comparisons}
    compare = labels[(panel.before_label, panel.after_label)]

    def get() -> ItemEvidence | None:
        if not kept:
            kept.append(
                None if items is None else item_evidence(panel, compare, items, settings.seed)
            )
        return kept[0]

    return get


def _adjust(tables: Tables) -> Tables:
    """Correct the cross-stage p-values as one family per comparison and measure kind."""
    for name in ("cross_stage", "coherence_pairs"):
        if name in tables and len(tables[name]):
            p = tables[name]["p"].cast(pl.Float64).to_numpy()
            tables[name] = tables[name].with_columns(
                pl.Series("p_adj", benjamini_hochberg(np.asarray(p, dtype=np.float64))),
                pl.Series("p_holm", holm(np.asarray(p, dtype=np.float64))),
            )
    return tables


def _name_variant(tables: Tables, scores: pl.DataFrame) -> Tables:
    """Say in every row about confidence which confidence it is."""
    known = scores["confidence_variant"] if "confidence_variant" in scores.columns else None
    names = [] if known is None else known.drop_nulls().unique().to_list()
    variant = names[0] if names else "as given"
    for name, table in tables.items():
        if "metric" in table.columns and (table["metric"] == "confidence").any():
            of_confidence = pl.when(pl.col("metric") == "confidence").then(pl.lit(variant))
            tables[name] = table.with_columns(conf_variant=of_confidence)
        elif name.startswith("alignment"):
            tables[name] = table.with_columns(conf_variant=pl.lit(variant))
    return tables


def _scores_table(scores: pl.DataFrame) -> pl.DataFrame:
    return scores.select(c for c in scores.columns if scores[c].null_count() < len(scores))


def _comparisons(found: list[Panel]) -> list[dict[str, Any]]:
    return [
        panel.key
        | {
            "before": panel.before_label,
            "after": panel.after_label,
            "units": len(panel.units),
            "clusters": None if panel.clusters is None else len(set(panel.clusters)),
            "benchmarks": len(panel.members(None)),
            "measures": panel.measures,
        }
        for panel in found
    ]


def _about(design: Design, config: TransferConfig) -> dict[str, Any]:
    return {
        "job": "transfer",
        "format": 1,
        "imprint": versions()["imprint"],
        "seed": config.seed,
        "resamples": config.resamples,
        "permutations": config.permutations,
        "threshold": design.thresholds.reliable,
        "confidence_normalisation": design.confidence,
        "covariates": list(design.covariates),
        "cluster": design.cluster,
        "factors": list(design.factors),
        "correction": "Benjamini–Hochberg (p_adj) and Holm (p_holm) over all benchmarks, measures, "
        "scales and comparisons of a table",
    }


def say(result: TransferResult, *, quiet: bool = False) -> None:
    """Tell the findings on stderr, those of one kind together."""
    kinds: dict[str, list[Finding]] = {}
    for finding in result.findings:
        if finding.level != "info":
            kinds.setdefault(finding.check, []).append(finding)
    for check, found in kinds.items():
        note(f"finding: {found[0].detail}", quiet=quiet)
        if len(found) > 1:
            note(f"  and {len(found) - 1} more of the kind {check}, all in the audit", quiet=quiet)


def describe(inputs: Inputs, design: Design, config: TransferConfig, out: Path) -> str:
    """Say what a run would do: what is compared, how much is resampled, and where it would go."""
    scores, noticed = prepare(inputs.scores, design)
    findings = [*inputs.findings, *noticed, *audit_scores(scores, design)]
    found = panels(scores, design) or single_side_panels(scores, design)
    lines = [f"{len(scores)} scores of {scores['unit'].n_unique()} units"]
    for panel in found:
        findings += audit_panel(panel, design.thresholds)
        B = len(panel.benchmarks)
        draws = config.resamples * B * 8
        lines.append(
            f"{panel.comparison}{f' at {panel.scale}' if panel.scale else ''}: "
            f"{len(panel.units)} units, {B} benchmarks, measures {', '.join(panel.measures)}; "
            f"{config.resamples:,} draws, {min(draws, BYTES) / 2**20:.0f} MiB of them at a time"
        )
    lines += [f"finding: {f.detail}" for f in findings if f.level != "info"]
    lines.append(f"would write {out}/{{result.json,report.html,summary.md,manifest.json,tables/}}")
    return "\n".join(lines)
