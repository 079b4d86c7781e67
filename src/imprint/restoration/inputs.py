"""The checkpoints of a comparison: found, opened and aligned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imprint.checkpoints import (
    Alignment,
    Checkpoint,
    align,
    open_checkpoint,
    weight_files,
)
from imprint.checkpoints.trainer import short_names, training_points
from imprint.errors import ConfigError
from imprint.restoration.config import DiffConfig
from imprint.restoration.sites import Group, groups


@dataclass(frozen=True)
class Inputs:
    """Checkpoints that were opened and aligned.

    Attributes:
        base: the one before.
        tuned: those after.
        names: how each tuned checkpoint is called in tables; distinct.
        steps: the training step of each, where its folder says so.
        alignments: how each meets the base.
        groups: what lies in the region.
    """

    base: Checkpoint
    tuned: tuple[Checkpoint, ...]
    names: tuple[str, ...]
    steps: tuple[int | None, ...]
    alignments: tuple[Alignment, ...]
    groups: tuple[Group, ...]

    @property
    def files(self) -> list[Path]:
        """The files that are read: weights, configs and adapters."""
        checkpoints = (self.base, *self.tuned)
        return list(dict.fromkeys(path for c in checkpoints for path in weight_files(c)))

    @property
    def elements(self) -> int:
        """The number of weights of the base that lie in the region."""
        return sum(site.elements for group in self.groups for site in group.sites)


def open_inputs(base: str | Path, tuned: Sequence[str | Path], config: DiffConfig) -> Inputs:
    """Open and align all checkpoints; headers and configs are read, no weights.

    Args:
        base: a checkpoint's name.
        tuned: names; the output folder of a Trainer stands for its points in their order.
        config: the region, and names that differ.

    Raises:
        CheckpointError: a checkpoint is damaged, or does not fit the base.
        ConfigError: nothing is named, something twice, or nothing lies in the region.
    """
    named = [pair for name in tuned for pair in training_points(str(name))]
    if not named:
        raise ConfigError("no tuned checkpoint is named")
    before = open_checkpoint(base)
    after = [open_checkpoint(name) for name, _ in named]
    alignments = [align(before, checkpoint, config.rename) for checkpoint in after]
    return Inputs(
        before,
        tuple(after),
        tuple(short_names([name for name, _ in named])),
        tuple(step for _, step in named),
        tuple(alignments),
        tuple(groups(alignments, config.region)),
    )
