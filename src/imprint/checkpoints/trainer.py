"""Names of tuned checkpoints; a Trainer's output folder stands for its points in their order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from imprint.checkpoints.index import (
    BIN,
    BIN_SHARDED,
    SHARDED,
    SINGLE,
    read_object,
    trainer_checkpoints,
)
from imprint.checkpoints.reference import exists
from imprint.errors import ConfigError

WEIGHTS = (SINGLE, SHARDED, BIN, BIN_SHARDED, "adapter_model.safetensors", "adapter_model.bin")
Point = tuple[str, int | None]  # a checkpoint's name, and its training step where it is known


def training_points(name: str, *, repeat_last: bool = True) -> list[Point]:
    """Give what a name stands for: its ``checkpoint-N`` folders, then the weights in itself.

    Args:
        name: of a checkpoint, or a Trainer's output folder.
        repeat_last: also give the weights in the folder itself where their step is that of the last
            ``checkpoint-N``; they are others where the best checkpoint was loaded at the end.
    """
    folder = Path(name)
    steps = trainer_checkpoints(folder) if exists(name) and folder.is_dir() else []
    if not steps:
        return [(name, _step_of(folder))]
    found: list[Point] = [(str(path), _step_of(path)) for path in steps]
    if any((folder / file).exists() for file in WEIGHTS):
        last = _last_step(folder)
        if repeat_last or last != found[-1][1]:
            found.append((name, last))
    return found


def short_names(names: Sequence[str]) -> list[str]:
    """Call checkpoints by their folder's name where that is distinct.

    Raises:
        ConfigError: the same one is named twice.
    """
    short = [Path(name).name or name for name in names]
    if len(set(short)) == len(short):
        return short
    if len(set(names)) < len(names):
        raise ConfigError("the same tuned checkpoint is named twice")
    return list(names)


def _step_of(path: Path) -> int | None:
    found = re.search(r"checkpoint-(\d+)$", path.name)
    return int(found[1]) if found else None


def _last_step(folder: Path) -> int | None:
    state = folder / "trainer_state.json"
    step = read_object(state).get("global_step") if state.is_file() else None
    return step if isinstance(step, int) else None
