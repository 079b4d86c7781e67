"""Prompts of the weight-prediction task as arrays, each from a seed of its own."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from imprint.theory.covariance import Covariance

Floats32: TypeAlias = NDArray[np.float32]


def examples(
    data: Covariance, n: int, count: int, *seed: int, active: int | None = None
) -> tuple[Floats32, Floats32]:
    """Draw prompts; number i is the same whatever ``count`` is, so that larger sets hold smaller.

    Args:
        data: covariance of the inputs.
        n: examples in a prompt.
        count: number of prompts B.
        seed: of the set, one or several numbers.
        active: coordinates in use, the others 0 (a curriculum); by default all.

    Returns:
        Inputs x [B, n, d] and tasks w* [B, d], float32.
    """
    inputs, tasks = np.empty((count, n, data.d)), np.empty((count, data.d))
    for number in range(count):
        draw = np.random.default_rng([*seed, number])
        tasks[number] = draw.standard_normal(data.d)
        inputs[number] = draw.standard_normal((n, data.d))
    inputs *= np.sqrt(data.eigenvalues)
    if active is not None:
        inputs[..., active:] = 0
        tasks[:, active:] = 0
    return inputs.astype(np.float32), tasks.astype(np.float32)


def tokens(inputs: Floats32, tasks: Floats32) -> Floats32:
    """Lay a prompt out as x₁, y₁, …, x_n, y_n.

    Args:
        inputs: [B, n, d].
        tasks: [B, d].

    Returns:
        [B, 2n, d + 1]; y stands in the first place, the last place is the flag of weights, 0.
    """
    count, n, d = inputs.shape
    found = np.zeros((count, 2 * n, d + 1), np.float32)
    found[:, 0::2, :d] = inputs
    found[:, 1::2, 0] = np.einsum("bnd,bd->bn", inputs, tasks)
    return found


def targets(tasks: Floats32, steps: int, target_rate: float) -> Floats32:
    """Targets of supervised steps w₀ … w_k = (1 − (1 − η)ⁱ)w*, [B, k + 1, d]."""
    shares = 1 - (1 - target_rate) ** np.arange(steps + 1)
    return (shares[:, None] * tasks[:, None, :]).astype(np.float32)
