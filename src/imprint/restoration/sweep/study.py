"""The sweep itself: every point on dev, the choice, and only then test and retain, once."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from imprint.checkpoints import Checkpoint, open_checkpoint
from imprint.errors import DataError, require
from imprint.findings import Finding
from imprint.models import Loaded, load
from imprint.progress import Bar, Silent, progress
from imprint.report import publish
from imprint.restoration.restore import parent_files, refuse_targets, write
from imprint.restoration.restore import plan as plan_restoration
from imprint.restoration.sweep.config import (
    SPLITS,
    Evaluation,
    Function,
    Split,
    SweepConfig,
    read_evaluation,
    settings_of,
)
from imprint.restoration.sweep.evaluators import (
    Evaluator,
    Floats,
    checked,
    evaluator_of,
    function_of,
)
from imprint.restoration.sweep.memory import Memory
from imprint.restoration.sweep.points import Point, Points, points_of
from imprint.restoration.sweep.result import SweepResult, assemble
from imprint.restoration.sweep.states import States
from imprint.restoration.sweep.verdict import Comparison, beats, intervals, retains
from imprint.runs import Run, Tables

COMPUTING = ("torch", "transformers")
AGREE = 1e-5  # relative; two calls on equal weights that differ by more are not the same evaluation


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a sweep works on, opened and checked.

    Attributes:
        base, tuned: the checkpoints.
        config: the sweep.
        evaluation: its evaluation.
        evaluator: scores a model.
        points: what will be evaluated.
    """

    base: Checkpoint
    tuned: Checkpoint
    config: SweepConfig
    evaluation: Evaluation
    evaluator: Evaluator
    points: Points

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Everything that changes what the numbers mean."""
        return {
            "sweep": self.config.settings(),
            "evaluation": settings_of(self.evaluation),
            "parents": {side: parent_files(c) for side, c in self._sides},
            "computed_by": {n: str(require(n, "models").__version__) for n in COMPUTING},
        }

    @property
    def _sides(self) -> tuple[tuple[str, Checkpoint], ...]:
        return ("base", self.base), ("tuned", self.tuned)

    @property
    def files(self) -> list[Path]:
        """What the scores depend on beside the weights."""
        beside = self.tuned.extra_files.values()
        return list(dict.fromkeys([*beside, *self.evaluator.files]))


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


def open_inputs(
    base: str | Path,
    tuned: str | Path,
    config: str | Path | Function | Evaluation,
    sweep_config: SweepConfig,
) -> Inputs:
    """Open checkpoints and evaluation; no weights are read and no model is loaded."""
    sweep_config.check()
    evaluation, below = read_evaluation(config)
    if callable(config):
        evaluator = function_of(config, str(evaluation.score))
    else:
        evaluator = evaluator_of(evaluation, below)
    before, after = open_checkpoint(base), open_checkpoint(tuned, merge_in="stored")
    controls = evaluation.controls
    points = points_of(
        before, after, sweep_config, seeds=controls.random, bottom=controls.bottom
    )  # fmt: skip
    return Inputs(before, after, sweep_config, evaluation, evaluator, points)


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
    final = 3 + inputs.evaluation.controls.random + 1
    lines = [
        f"{len(points.all)} points on dev, then at most {final} on test and retain; items: {told}.",
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
    finals = 3 + inputs.evaluation.controls.random + 1
    with progress(len(inputs.points.all) + 2 * finals, "sweep", quiet=quiet) as bar:
        work = _Work(inputs, run, bar)
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


def _about(inputs: Inputs, work: _Work) -> dict[str, Any]:
    return {
        "base": str(inputs.base.reference),
        "tuned": str(inputs.tuned.reference),
        "axis": inputs.config.axis,
        "region": inputs.points.region,
        "unit": inputs.evaluator.unit,
        "items": work.sizes(),
        "settings": inputs.settings,
    }


class _Work:
    """Scores found so far, and the model that finds the others; loaded when first needed."""

    def __init__(self, inputs: Inputs, run: Run | None, bar: Bar | None = None):
        self.inputs, self.run, self.bar = inputs, run, bar or Silent()
        self.points = inputs.points
        self.states = States(inputs.base, inputs.tuned, inputs.points)
        self.scores: dict[tuple[str, str], Floats] = {}

    @cached_property
    def loaded(self) -> Loaded:
        config = self.inputs.config
        return load(self.inputs.tuned.path, dtype=config.dtype, device=config.device)

    @cached_property
    def memory(self) -> Memory:
        return Memory(self.loaded.model, self.inputs.base, self.inputs.tuned)

    def on_dev(self, point: Point) -> None:
        """Score a point on dev, or take it from the ledger."""
        self.bar.describe(f"dev {point.name}")
        found = self._unit(f"dev-{point.key}", lambda: self._measured(point))
        norms = found["norms"]
        self.states.squares[point.key] = dict(zip(norms["tensor"], norms["squares"], strict=True))
        self._take(point, found["scores"])

    def finally_(self, point: Point) -> None:
        """Score a finalist on test and retain."""
        self.bar.describe(f"test {point.name}")
        found = self._unit(f"final-{point.key}", lambda: self._judged(point))
        self._take(point, found["scores"])

    def chosen(self) -> Point | None:
        """Choose the best mean on dev; of equals that with the fewest weights put back."""
        candidates = (self.points.tuned, *self.points.method)
        best = max(candidates, key=lambda p: (self._mean(p), -p.weights))
        return None if best is self.points.tuned else best

    def finalists(self, chosen: Point | None) -> list[Point]:
        """Give the points that test and retain are scored for."""
        if chosen is None:
            return [self.points.tuned, self.points.base]
        return [self.points.tuned, chosen, *self.points.beside(chosen), self.points.base]

    def comparisons(self, chosen: Point | None) -> list[Comparison]:
        """Compare the chosen point with its rivals on test, and with tuned on retain."""
        if chosen is None:
            return []
        asked = (self.inputs.evaluation.resamples, self.inputs.config.restore.seed)
        best, tuned = self.scores[chosen.key, "test"], self.scores["tuned", "test"]
        beside: dict[str, list[Floats]] = {"interpolate": [], "random": []}
        for point in self.points.beside(chosen):
            beside[point.role].append(self.scores[point.key, "test"])
        rivals = {name: np.mean(found, axis=0) for name, found in beside.items()}
        kept, were, began = (self.scores[k, "retain"] for k in (chosen.key, "tuned", "base"))
        return [
            *(beats(best, other, n, *asked) for n, other in {"tuned": tuned, **rivals}.items()),
            retains(kept, were, began, self.inputs.evaluation.retain_margin, *asked),
        ]

    def rows(self, finalists: list[Point]) -> list[dict[str, Any]]:
        """Give the rows of the table ``sweep``."""
        scored = {"dev": self.points.all, "test": finalists, "retain": finalists}
        return [row for split, points in scored.items() for row in self._rows(points, split)]

    def items(self) -> pl.DataFrame:
        """Give the score of every item at every point, in the order of evaluation."""
        frames = [
            pl.DataFrame({"item": range(len(scores)), "score": scores}).select(
                point=pl.lit(key), split=pl.lit(split), item="item", score="score"
            )
            for (key, split), scores in self.scores.items()
        ]
        return pl.concat(frames)

    def sizes(self) -> dict[str, int]:
        """Count the items of each split."""
        return {split: len(self.scores["tuned", split]) for split in SPLITS}

    def _rows(self, points: Sequence[Point], split: str) -> Iterator[dict[str, Any]]:
        matrix = np.column_stack([self.scores[point.key, split] for point in points])
        draws = (self.inputs.evaluation.resamples, self.inputs.config.restore.seed)
        for point, score, low, high in zip(points, *intervals(matrix, *draws), strict=True):
            kept = self.scores.get((point.key, "retain"))
            yield {
                **_named(point),
                "split": split,
                "score": float(score),
                "low": float(low),
                "high": float(high),
                "items": len(matrix),
                "retained": None if kept is None else float(kept.mean()),
                "change_norm": self.states.change_norm(point.key),
            }

    def _unit(self, name: str, compute: Any) -> Tables:
        found: Tables = self.run.unit(name, compute) if self.run else compute()
        self.bar.advance(1 if name.startswith("dev-") else 2)
        return found

    def _take(self, point: Point, scores: pl.DataFrame) -> None:
        for split in scores["split"].unique(maintain_order=True).to_list():
            found = scores.filter(pl.col("split") == split)["score"].to_numpy()
            self.scores[point.key, split] = found

    def _measured(self, point: Point) -> Tables:
        squares = self.states.enter(self.memory, point)
        scores = self._score(point, "dev")
        if point.role == "tuned" and not self.inputs.evaluator.trusted:
            self._refuse_changing(scores)
        norms = pl.DataFrame(
            {"tensor": list(squares), "squares": list(squares.values())},
            schema={"tensor": pl.String, "squares": pl.Float64},
        )
        return {"norms": norms, "scores": _column("dev", scores)}

    def _judged(self, point: Point) -> Tables:
        self.states.enter(self.memory, point)
        splits: tuple[Split, ...] = ("test", "retain")
        return {"scores": pl.concat([_column(s, self._score(point, s)) for s in splits])}

    def _score(self, point: Point, split: Split) -> Floats:
        found = self.inputs.evaluator.score(self.loaded, split)
        first = self.scores.get(("tuned", split))
        expected = None if first is None else len(first)
        return checked(found, expected, f"{split!r} at {point.key}")

    def _refuse_changing(self, scores: Floats) -> None:
        again = checked(self.inputs.evaluator.score(self.loaded, "dev"), len(scores), "dev, again")
        if not np.allclose(scores, again, rtol=AGREE, atol=AGREE * float(np.abs(scores).max())):
            item = int(np.argmax(np.abs(scores - again)))
            raise DataError(
                f"two calls on the same weights gave {scores[item]:.6g} and {again[item]:.6g}",
                where=f"item {item} of dev",
                remedy="fix the seeds inside the function, and the order of its items.",
            )

    def _mean(self, point: Point) -> float:
        return float(self.scores[point.key, "dev"].mean())


def _named(point: Point) -> dict[str, Any]:
    by = {"interpolate": "interpolate", "tuned": "tuned", "base": "base"}
    return {
        "point": point.key,
        "role": point.role,
        "by": by.get(point.role, point.config.by),
        "order": point.config.order,
        "region": point.label,
        "top": point.top,
        "seed": point.seed,
        "weights": point.weights,
    }


def _column(split: str, scores: Floats) -> pl.DataFrame:
    return pl.DataFrame({"split": [split] * len(scores), "score": scores})
