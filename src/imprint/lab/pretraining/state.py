"""The state of a group of runs that is under way, in one file that appears whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from imprint.errors import require
from imprint.runs import write_atomic

NAME = "state.safetensors"
Arrays = dict[str, Any]


def save_state(folder: Path, fingerprint: str, step: int, state: Arrays, losses: Any) -> None:
    """Write the state after so many steps.

    Args:
        folder: of the runs under way.
        fingerprint: of everything that decides the numbers.
        step: steps taken.
        state: of the engine.
        losses: float32 [R, steps], of which the first ``step`` are known.

    Raises:
        DataError: it cannot be written; the earlier one stays.
    """
    arrays = {f"engine.{name}": np.ascontiguousarray(value) for name, value in state.items()}
    arrays["losses"] = np.ascontiguousarray(losses[:, :step])
    about = {"fingerprint": fingerprint, "step": str(step)}
    content = require("safetensors.numpy", "lab").save(arrays, metadata=about)
    write_atomic(folder / NAME, content)


def load_state(folder: Path, fingerprint: str) -> tuple[int, Arrays, Any] | None:
    """Read the state back: steps taken, state of the engine, losses; none where none fits."""
    path = folder / NAME
    if not path.is_file():
        return None
    with require("safetensors", "lab").safe_open(path, "numpy") as stored:
        about = stored.metadata()
        if about["fingerprint"] != fingerprint:
            return None
        found = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    losses = found.pop("losses")
    return int(about["step"]), {k.removeprefix("engine."): v for k, v in found.items()}, losses
