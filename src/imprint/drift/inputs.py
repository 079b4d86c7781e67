"""The models of a measurement: named, found, and expanded along a training run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imprint.checkpoints import Checkpoint, open_checkpoint, weight_files
from imprint.checkpoints.trainer import short_names, training_points
from imprint.errors import ConfigError

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")


@dataclass(frozen=True)
class Models:
    """A base and what was trained from it.

    Attributes:
        base: the checkpoint before.
        tuned: those after, in the order of their steps where these are known.
        names: how each tuned checkpoint is called in tables; distinct.
        steps: the training step of each, where its folder says so.
    """

    base: Checkpoint
    tuned: tuple[Checkpoint, ...]
    names: tuple[str, ...]
    steps: tuple[int | None, ...]

    @property
    def files(self) -> list[Path]:
        """The files that numbers depend on: weights, configs, adapters and tokenizers."""
        found = []
        for checkpoint in (self.base, *self.tuned):
            found += weight_files(checkpoint)
            found += [checkpoint.path / n for n in TOKENIZER if (checkpoint.path / n).is_file()]
        return list(dict.fromkeys(found))


def open_models(base: str | Path, tuned: Sequence[str | Path]) -> Models:
    """Open all checkpoints; headers and configs are read, no weights.

    Args:
        base: ``PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]]``.
        tuned: such names; the output folder of a Trainer stands for its ``checkpoint-N`` in the
            order of their steps, and for the weights in itself.

    Raises:
        CheckpointError: a checkpoint is damaged or cannot be found.
        ConfigError: none is named, or one twice.
    """
    named = [pair for name in tuned for pair in training_points(str(name), repeat_last=False)]
    if not named:
        raise ConfigError("no tuned checkpoint is named", remedy="imprint drift BASE TUNED.")
    return Models(
        open_checkpoint(base),
        tuple(open_checkpoint(name) for name, _ in named),
        tuple(short_names([name for name, _ in named])),
        tuple(step for _, step in named),
    )
