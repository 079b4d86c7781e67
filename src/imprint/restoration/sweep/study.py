"""The sweep itself: every point on dev, the choice, and only then test and retain, once."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from imprint.findings import Finding
from imprint.progress import progress
from imprint.report import publish
from imprint.restoration.restore import plan as plan_restoration
from imprint.restoration.restore import refuse_targets, write
from imprint.restoration.sweep.config import (
    SPLITS,
    Evaluation,
    Function,
    SweepConfig,
)
from imprint.restoration.sweep.inputs import Inputs, open_inputs
from imprint.restoration.sweep.points import Point
from imprint.restoration.sweep.result import SweepResult, assemble
from imprint.restoration.sweep.work import Work
from imprint.runs import Run


def sweep(
    base: str | Path,
    tuned: str | Path,
    config: str | Path | Function | Evaluation,
    sweep_config: SweepConfig | None = None,
    *,
    target: str | Path | None = None,
    out: str | Path | None = None,
    quiet: bool = True,
) -> SweepResult:
    """Evaluate restorations beside their controls and choose how much to put back.

    The controls are those that arXiv 2509.16596 lacks: random restoration, interpolation of the
    same norm, a share chosen on dev data and judged on test data.

    Args:
        base, tuned: ``PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]]``.
        config: a YAML file, ``package.module:function``, such a function, or settings. The
            function is called with model, tokenizer and ``dev``, ``test`` or ``retain`` and gives
            a float per item, higher is better.
        sweep_config: method, shares, axis and the like.
        target: folder for the chosen checkpoint; nothing is written there where the tuned model
            itself scores best on dev.
        out: run folder; without it no run folder is written, and a killed sweep begins anew.
        quiet: show no progress.

    Raises:
        CheckpointError: a checkpoint is damaged, does not fit, or cannot be held by transformers.
        ConfigError: a setting makes no sense, or a function fails.
        DataError: texts that cannot be used, or scores that are not finite or change between calls.
        DependencyError: torch or transformers is not installed.
    """
    inputs = open_inputs(base, tuned, config, sweep_config or SweepConfig())
    if target is not None:
        refuse_target(inputs, Path(target))
    run = open_run(inputs, Path(out)) if out is not None else None
    return perform(inputs, run, target=Path(target) if target else None, quiet=quiet)


def open_run(inputs: Inputs, out: Path) -> Run:
    """Open the run folder; its fingerprint covers weights, texts, settings and versions."""
    seed = inputs.config.restore.seed
    return Run(out, "restore", inputs.settings, inputs.files, seed=seed)


def refuse_target(
    inputs: Inputs, target: Path, *, patch: bool = False, overwrite: bool = False
) -> None:
    """Refuse a target that cannot be written, before any work."""
    config = replace(inputs.config.restore, top=(1.0,))
    refuse_targets(inputs.base, inputs.tuned, config, target, patch=patch, overwrite=overwrite)


def describe(inputs: Inputs, target: Path | None, out: Path) -> str:
    """Say what a sweep would do."""
    points, evaluator = inputs.points, inputs.evaluator
    sizes = {split: evaluator.items(split) for split in SPLITS}
    told = ", ".join(f"{split} {n:,}" if n else f"{split} unknown" for split, n in sizes.items())
    lines = [
        f"{len(points.all)} points on dev, then at most {_finals(inputs)} on test and retain; "
        f"items: {told}.",
        f"score: {evaluator.unit}; change is measured over {points.region}.",
        *(f"{point.key}: {point.name} ({point.weights:,} weights)" for point in points.all),
        f"would write {out}",
    ]
    if target is not None:
        lines.append(f"would write the chosen checkpoint to {target}, if one wins on dev")
    return "\n".join(lines)


def perform(
    inputs: Inputs,
    run: Run | None,
    *,
    target: Path | None = None,
    patch: bool = False,
    overwrite: bool = False,
    quiet: bool = True,
) -> SweepResult:
    """Evaluate all points on dev, choose, evaluate the choice, and write what is asked for."""
    with progress(len(inputs.points.all) + 2 * _finals(inputs), "sweep", quiet=quiet) as bar:
        work = Work(inputs, run, bar)
        for point in inputs.points.all:
            work.on_dev(point)
        chosen = work.chosen()
        finalists = work.finalists(chosen)
        for point in finalists:
            work.finally_(point)
    written = None
    if target is not None and chosen is not None:
        written = _write_chosen(inputs, chosen, target, patch=patch, overwrite=overwrite)
    found = assemble(
        work.rows(finalists),
        work.items(),
        work.comparisons(chosen),
        chosen,
        written,
        _about(inputs, work),
        [*work.states.findings(), *_at_the_edge(inputs, chosen)],
    )
    if run is not None:
        publish(run, found)
    return found


def _finals(inputs: Inputs) -> int:
    """Count finalists: tuned, base, the chosen, its controls, and those at their own best."""
    return 3 + 2 * (1 + inputs.evaluation.controls.random)


def _at_the_edge(inputs: Inputs, chosen: Point | None) -> list[Finding]:
    largest = max(point.top for point in inputs.points.method)
    if chosen is None or inputs.config.axis != "ratios" or chosen.top < largest or largest == 1:
        return []
    detail = f"the best share on dev is the largest swept, {largest:.4g}; a larger may be better"
    return [Finding("edge_of_sweep", detail)]


def _write_chosen(
    inputs: Inputs, chosen: Point, target: Path, *, patch: bool, overwrite: bool
) -> Path:
    config = replace(chosen.config, top=(chosen.top,))
    made = plan_restoration(inputs.base, inputs.tuned, config)
    command = shlex.join(["imprint", *sys.argv[1:]])
    return write(made, target, command=command, patch=patch, overwrite=overwrite)[0]


def _about(inputs: Inputs, work: Work) -> dict[str, Any]:
    return {
        "base": str(inputs.base.reference),
        "tuned": str(inputs.tuned.reference),
        "axis": inputs.config.axis,
        "region": inputs.points.region,
        "unit": inputs.evaluator.unit,
        "items": work.sizes(),
        "settings": inputs.settings,
    }
