"""Steps of Adam with checkpoints, so that a run that is killed goes on with the same numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from imprint.errors import CheckpointError, require
from imprint.runs import write_atomic
from imprint.theory.gpt2.model import Predictor

EVERY = 500  # steps between checkpoints
Loss = Callable[[Predictor, int], Any]
"""Model and number of the step → its loss; what it draws depends on the step alone."""


def train(
    model: Predictor,
    loss: Loss,
    *,
    steps: int,
    learning_rate: float,
    checkpoint: Path,
) -> None:
    """Train in place, from the checkpoint where there is one.

    Args:
        model: the predictor.
        loss: of one step.
        steps: how many.
        learning_rate: of Adam.
        checkpoint: a ``.safetensors`` file, written every 500 steps and at the end.

    Raises:
        DataError: the checkpoint cannot be written.
    """
    torch = require("torch", "models")
    adam = torch.optim.Adam(model.parts.parameters(), lr=learning_rate)
    first = resume(model, adam, checkpoint)
    for step in range(first, steps):
        adam.zero_grad(set_to_none=True)
        loss(model, step).backward()
        adam.step()
        if (step + 1) % EVERY == 0 and step + 1 < steps:
            save(model, adam, step + 1, checkpoint)
    if first < steps:
        save(model, adam, steps, checkpoint)


def save(model: Predictor, adam: Any, step: int, path: Path) -> None:
    """Write weights, Adam's moments and the step; the file appears whole or not at all."""
    safetensors = require("safetensors.torch", "models")
    tensors = {f"model.{name}": value for name, value in model.parts.state_dict().items()}
    for number, moments in adam.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{name}": value for name, value in moments.items()}
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_atomic(path, safetensors.save(plain, metadata={"step": json.dumps(step)}))


def resume(model: Predictor, adam: Any, path: Path) -> int:
    """Load a checkpoint into model and optimiser; gives the steps done, 0 without one.

    Raises:
        CheckpointError: the file is damaged.
    """
    if not path.is_file():
        return 0
    tensors, step = _read(path)
    weights = {name: value for name, value in tensors.items() if name.startswith("model.")}
    model.parts.load_state_dict({name[6:]: value for name, value in weights.items()})
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, number, moment = name.split(".")
            state.setdefault(int(number), {})[moment] = value
    adam.load_state_dict({**adam.state_dict(), "state": state})
    return step


def _read(path: Path) -> tuple[dict[str, Any], int]:
    safetensors = require("safetensors", "models")
    try:
        with safetensors.safe_open(path, "pt") as held:
            tensors = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
            return tensors, int(json.loads(held.metadata()["step"]))
    except safetensors.SafetensorError as damaged:
        raise CheckpointError(
            f"not readable: {damaged}", where=str(path), remedy="remove it; it is trained again."
        ) from damaged


def forget(checkpoint: Path) -> None:
    """Remove a checkpoint whose result is in the ledger."""
    with suppress(FileNotFoundError):
        checkpoint.unlink()
