"""The random control: the base moved as far as fine-tuning moved it, in a direction by chance.

Within every tensor the changes are put in a random order and added to the base again: the same
norm, the same values, no structure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from imprint.checkpoints import Checkpoint, Pair, align
from imprint.checkpoints.names import plain
from imprint.checkpoints.regions import is_buffer
from imprint.errors import CheckpointError, require
from imprint.models import Loaded


@dataclass(frozen=True, slots=True)
class Shuffled:
    """What became of a base.

    Attributes:
        norm: ‖tuned − base‖ over the tensors that were moved.
        reached: the norm of the change after rounding to the model's type.
        tensors, left: tensors moved, and those of the checkpoint not found in the model.
    """

    norm: float
    reached: float
    tensors: int
    left: int


def shuffle_change(loaded: Loaded, base: Checkpoint, tuned: Checkpoint, seed: int) -> Shuffled:
    """Move the base in memory by the tuned model's changes, shuffled within each tensor.

    Args:
        loaded: the base, whole; its weights are overwritten.
        base, tuned: the checkpoints that are compared.
        seed: of the shuffles.

    Raises:
        CheckpointError: the checkpoints do not fit, or no tensor is found in the model.
    """
    held = _flat(loaded.model)
    wanted = reached = 0.0
    moved = left = 0
    for pair in align(base, tuned, unpaired="report").pairs:
        target = _find(held, pair.base.name)
        if target is None or is_buffer(pair.base.name) or len(target) < pair.base.stop:
            left += 1
            continue
        change = _change(base, tuned, pair)
        draw = np.random.default_rng(np.random.SeedSequence([seed, moved]))
        draw.shuffle(change)
        wanted += float(np.square(change, dtype=np.float64).sum())
        reached += _add(target[pair.base.start : pair.base.stop], change)
        moved += 1
    if not moved:
        raise CheckpointError(
            "no tensor of the checkpoint is found in the model that transformers loads",
            where=str(base.path),
            remedy="leave out --null.",
        )
    return Shuffled(math.sqrt(wanted), math.sqrt(reached), moved, left)


def _change(
    base: Checkpoint, tuned: Checkpoint, pair: Pair
) -> np.ndarray[Any, np.dtype[np.float32]]:
    sides = ((base, pair.base), (tuned, pair.tuned))
    before, after = (
        c.to_float32(span.name, c.raw(span.name).reshape(-1)[span.start : span.stop])
        for c, span in sides
    )
    return np.asarray(after - before, dtype=np.float32)


def _add(target: Any, change: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    torch = require("torch", "models")
    with torch.no_grad():
        before = target.float().clone()
        target.copy_(before + torch.from_numpy(change).to(target.device))
        return float((target.float() - before).double().square().sum())


def _flat(model: Any) -> dict[str, Any]:
    found = {n: t.detach().view(-1) for n, t in model.state_dict().items() if t.is_contiguous()}
    return {**{plain(name): tensor for name, tensor in found.items()}, **found}


def _find(held: Mapping[str, Any], name: str) -> Any:
    return held.get(name, held.get(plain(name)))
