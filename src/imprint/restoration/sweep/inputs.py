"""What a sweep works on, opened and checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from imprint.checkpoints import Checkpoint, open_checkpoint
from imprint.errors import require
from imprint.restoration.restore import parent_files
from imprint.restoration.sweep.config import (
    Evaluation,
    Function,
    SweepConfig,
    read_evaluation,
    settings_of,
)
from imprint.restoration.sweep.evaluators import (
    Evaluator,
    evaluator_of,
    function_of,
)
from imprint.restoration.sweep.points import Points, points_of

COMPUTING = ("torch", "transformers")


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
