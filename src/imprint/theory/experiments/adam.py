"""Adam on arrays, and training of linear self-attention with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from imprint.stats.arrays import Floats, Ints
from imprint.theory import teacher_forcing

Weights: TypeAlias = tuple[Floats, Floats]
"""Ṽ and W̃, [d, d] each."""
Gradient: TypeAlias = Callable[[Weights, Floats, Floats], Weights]
"""Weights, moments [B, d, d] and tasks [d, B] → gradients."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and on what training steps go.

    Attributes:
        epochs: passes over the prompts.
        batch: prompts in a step; ``None`` for all.
        learning_rate: of Adam; β₁ = .9, β₂ = .999, ε = 1e-8.
    """

    epochs: int
    batch: int | None
    learning_rate: float


def train(
    start: Weights,
    gradient: Gradient,
    moments: Floats,
    tasks: Floats,
    schedule: Schedule,
    draw: np.random.Generator,
) -> Weights:
    """Train Ṽ and W̃ by Adam.

    Args:
        start: where training starts.
        gradient: of the loss.
        moments: S of every prompt, [B, d, d].
        tasks: Ω, [d, B].
        schedule: epochs, batch and learning rate.
        draw: order of the prompts.
    """
    weights, count = np.stack(start), len(moments)
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for number, rows in enumerate(_batches(count, schedule, draw), start=1):
        whole = len(rows) == count
        part = (moments, tasks) if whole else (moments[rows], tasks[:, rows])
        slope = np.stack(gradient((weights[0], weights[1]), *part))
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        mean, size = first / (1 - 0.9**number), np.sqrt(second / (1 - 0.999**number))
        weights = weights - schedule.learning_rate * mean / (size + 1e-8)
    return weights[0], weights[1]


def _batches(count: int, schedule: Schedule, draw: np.random.Generator) -> Iterator[Ints]:
    size = schedule.batch or count
    for _ in range(schedule.epochs):
        order = draw.permutation(count)
        for first in range(0, count, size):
            yield order[first : first + size]


def outcome_gradient(steps: int) -> Gradient:
    """Gradient of (1/2B) Σ ‖ŵ_k − w*‖² in Ṽ and W̃, free-running from ŵ₀ = 0.

    `imprint.theory.outcome` has W̃ = I; here both move.
    """

    def gradient(weights: Weights, moments: Floats, tasks: Floats) -> Weights:
        value, key = weights
        states, pushes = _run(value, key, moments, tasks, steps)
        adjoint = states[-1] - tasks.T
        by_value, by_key = np.zeros_like(value), np.zeros_like(key)
        for state, push in zip(states[-2::-1], pushes[::-1], strict=True):
            by_value += adjoint.T @ push
            back = _apply(moments, adjoint @ value)
            by_key += back.T @ state
            adjoint = adjoint + back @ key
        return by_value / len(moments), by_key / len(moments)

    return gradient


def supervised_gradient(steps: int, target_rate: float) -> Gradient:
    """Gradient of the teacher-forced SFT loss in Ṽ and W̃."""

    def gradient(weights: Weights, moments: Floats, tasks: Floats) -> Weights:
        return teacher_forcing.gradients(*weights, moments, tasks, steps, target_rate)

    return gradient


def rollout_error(weights: Weights, moments: Floats, tasks: Floats, steps: int) -> float:
    """‖ŵ_k − w*‖² per dimension, its mean over prompts."""
    states, _ = _run(*weights, moments, tasks, steps)
    return float(np.mean((states[-1] - tasks.T) ** 2))


def _run(
    value: Floats, key: Floats, moments: Floats, tasks: Floats, steps: int
) -> tuple[list[Floats], list[Floats]]:
    """ŵ₀ … ŵ_k, and S(W̃ŵᵢ − w*) of every step, [B, d] each."""
    states, pushes = [np.zeros_like(tasks.T)], []
    for _ in range(steps):
        pushes.append(_apply(moments, states[-1] @ key.T - tasks.T))
        states.append(states[-1] + pushes[-1] @ value.T)
    return states, pushes


def _apply(moments: Floats, states: Floats) -> Floats:
    return np.asarray(np.matmul(moments, states[:, :, None])[:, :, 0])
