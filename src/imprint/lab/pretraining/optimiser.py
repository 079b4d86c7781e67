"""How a run is optimised: a method, a warm-up, a schedule, a budget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from imprint.errors import ConfigError

Method = Literal["muon", "adamw"]
Schedule = Literal["cosine", "linear", "constant"]
EPS = 1e-8


@dataclass(frozen=True, slots=True)
class Optimiser:
    """AdamW with decoupled decay, or Muon for the layers' matrices and AdamW for all else.

    Embeddings and matrices are decayed, norms are not.

    Attributes:
        lr: the highest learning rate of AdamW.
        method: ``muon`` learns more from few tokens; ``adamw`` takes less time for a step.
        matrix_lr: the highest learning rate of Muon; it follows the same schedule.
        warmup: share of the steps over which it rises from zero.
        schedule: how it falls to ``floor`` times itself after that.
        floor: of the schedule, as a share of ``lr``.
        weight_decay: per unit of learning rate.
        betas: decay of the moments.
        clip: the largest norm of a run's gradient, beyond which it is shrunk to it. Muon's steps do
            not depend on it.
        batch: sequences per step.
        steps: of the run; or
        tokens: that the run reads, rounded up to whole steps.

    Raises:
        ConfigError: a number is out of its range, or not exactly one budget is given.
    """

    lr: float = 8e-3
    method: Method = "muon"
    matrix_lr: float = 0.04
    warmup: float = 0.05
    schedule: Schedule = "cosine"
    floor: float = 0.05
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    batch: int = 8
    steps: int | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        ranges = {
            "lr": self.lr > 0,
            "matrix_lr": self.matrix_lr > 0,
            "warmup": 0 <= self.warmup < 1,
            "floor": 0 <= self.floor <= 1,
            "weight_decay": self.weight_decay >= 0,
            "betas": all(0 <= beta < 1 for beta in self.betas),
            "clip": self.clip > 0,
            "batch": self.batch >= 1,
            "steps": self.steps is None or self.steps >= 1,
            "tokens": self.tokens is None or self.tokens >= 1,
        }
        for name, fits in ranges.items():
            if not fits:
                raise ConfigError(f"{name} is {getattr(self, name)}", where="optimiser")
        if (self.steps is None) == (self.tokens is None):
            problem = f"steps is {self.steps} and tokens is {self.tokens}"
            raise ConfigError(problem, where="optimiser", remedy="give one of the two.")

    def steps_at(self, context: int) -> int:
        """How many steps a run takes with sequences of so many tokens."""
        if self.steps is not None:
            return self.steps
        assert self.tokens is not None  # noqa: S101
        return math.ceil(self.tokens / (self.batch * context))

    def lr_at(self, step: int, steps: int) -> float:
        """Give the learning rate of a step, counted from 0.

        >>> [Optimiser(lr=1.0, warmup=0.5, floor=0, steps=4).lr_at(s, 4) for s in range(4)]
        [0.5, 1.0, 1.0, 0.5]
        """
        rising = round(self.warmup * steps)
        if step < rising:
            return self.lr * (step + 1) / rising
        done = (step - rising) / max(1, steps - rising)
        fallen = {
            "cosine": 0.5 * (1 + math.cos(math.pi * done)),
            "linear": 1 - done,
            "constant": 1.0,
        }[self.schedule]
        return self.lr * (self.floor + (1 - self.floor) * fallen)
