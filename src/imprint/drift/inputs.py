"""The models of a measurement: named, found, and expanded along a training run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imprint.checkpoints import Checkpoint, open_checkpoint, trainer_checkpoints, weight_files
from imprint.checkpoints.index import read_object
from imprint.errors import ConfigError

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors")
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
    named = [pair for name in tuned for pair in _expand(str(name))]
    if not named:
        raise ConfigError("no tuned checkpoint is named", remedy="imprint drift BASE TUNED.")
    return Models(
        open_checkpoint(base),
        tuple(open_checkpoint(name) for name, _ in named),
        tuple(_short_names([name for name, _ in named])),
        tuple(step for _, step in named),
    )


def _expand(name: str) -> list[tuple[str, int | None]]:
    folder = Path(name)
    steps = trainer_checkpoints(folder) if folder.is_dir() else []
    if not steps:
        return [(name, _step_of(folder))]
    found: list[tuple[str, int | None]] = [(str(path), _step_of(path)) for path in steps]
    last = _last_step(folder)
    if any((folder / file).exists() for file in WEIGHTS) and last != found[-1][1]:
        found.append((name, last))
    return found


def _step_of(path: Path) -> int | None:
    found = re.search(r"checkpoint-(\d+)$", path.name)
    return int(found[1]) if found else None


def _last_step(folder: Path) -> int | None:
    state = folder / "trainer_state.json"
    step = read_object(state).get("global_step") if state.is_file() else None
    return step if isinstance(step, int) else None


def _short_names(names: Sequence[str]) -> list[str]:
    short = [Path(name).name or name for name in names]
    if len(set(short)) == len(short):
        return short
    if len(set(names)) < len(names):
        raise ConfigError("the same tuned checkpoint is named twice")
    return list(names)
