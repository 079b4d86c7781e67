"""The models of a measurement: named, found, and expanded along a training run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprint.checkpoints import Checkpoint, open_checkpoint, weight_files
from imprint.checkpoints.trainer import short_names, training_points
from imprint.drift.labels import label_names, labelled_models
from imprint.errors import ConfigError

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")


@dataclass(frozen=True)
class Models:
    """A base and what was trained from it.

    Attributes:
        base: the checkpoint before.
        tuned: those after, in the order of their steps where these are known.
        names: how each tuned checkpoint is called in tables; distinct.
        steps: the training step of each, where its folder or the models table says so.
        labels: further columns of each in the models table; empty without one.
    """

    base: Checkpoint
    tuned: tuple[Checkpoint, ...]
    names: tuple[str, ...]
    steps: tuple[int | None, ...]
    labels: tuple[dict[str, Any], ...]

    @property
    def files(self) -> list[Path]:
        """The files that numbers depend on: weights, configs, adapters and tokenizers."""
        found = []
        for checkpoint in (self.base, *self.tuned):
            found += weight_files(checkpoint)
            found += [checkpoint.path / n for n in TOKENIZER if (checkpoint.path / n).is_file()]
        return list(dict.fromkeys(found))


def open_models(base: str | Path, tuned: Sequence[str | Path], table: Path | None = None) -> Models:
    """Open all checkpoints; headers and configs are read, no weights.

    Args:
        base: ``PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]]``.
        tuned: such names; the output folder of a Trainer stands for its ``checkpoint-N`` in the
            order of their steps, and for the weights in itself.
        table: a models table, which names and labels the tuned models.

    Raises:
        CheckpointError: a checkpoint is damaged or cannot be found.
        ConfigError: none is named, or one twice.
        DataError: the table cannot be used.
    """
    given: Sequence[tuple[str, dict[str, Any]]] = [(str(name), {}) for name in tuned]
    given = labelled_models(base, tuned, table) if table else given
    points = [
        (point, {**labels, "step": labels.get("step") if step is None else step})
        for name, labels in given
        for point, step in training_points(name, repeat_last=False)
    ]
    if not points:
        raise ConfigError(
            "no tuned checkpoint is named", remedy="imprint drift BASE TUNED, or --models TABLE."
        )
    names = short_names([point for point, _ in points])
    return Models(
        open_checkpoint(base),
        tuple(open_checkpoint(point) for point, _ in points),
        tuple(label_names([labels for _, labels in points], names) if table else names),
        tuple(labels["step"] for _, labels in points),
        tuple({k: v for k, v in labels.items() if k != "step"} for _, labels in points),
    )
