"""Settings of SAE training and of the fit check."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from imprint.errors import ConfigError
from imprint.models import Dtype

APART = ("seed", "quiet", "device", "trust_remote_code")


@dataclass(frozen=True, slots=True)
class Reading:
    """How texts are read.

    Attributes:
        layer: the layer that an SAE reads, from 0. Of a check it is needed where the SAE does not
            tell; of a training it is the middle one by default.
        k: how many latents fire. Of a check it is needed for a top-k SAE that does not tell; of a
            training it is 32 by default, at most a quarter of the width.
        fit_tokens: tokens that the fit is judged on at most.
        window: tokens that the model sees at once; by default its context, at most 256.
        limit: take so many texts at random.
        dtype: type that the model computes in; by default that of its weights.
        device: where; by default a GPU where there is one.
        trust_remote_code: run code that a checkpoint brings along.
        seed: of everything drawn.
        quiet: show no progress.
    """

    layer: int | None = None
    k: int | None = None
    fit_tokens: int = 50_000
    window: int | None = None
    limit: int | None = None
    dtype: Dtype | None = None
    device: str | None = None
    trust_remote_code: bool = False
    seed: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        least = {"layer": 0, "k": 1, "fit_tokens": 100, "window": 8, "limit": 1, "seed": 0}
        _refuse_below(self, least)

    @property
    def settings(self) -> dict[str, Any]:
        """Give what changes the numbers, for the manifest."""
        return {name: value for name, value in asdict(self).items() if name not in APART}


@dataclass(frozen=True, slots=True)
class CheckConfig(Reading):
    """How a fit is checked."""


@dataclass(frozen=True, slots=True)
class TrainConfig(Reading):
    """How an SAE is trained, on the output of ``layer`` with ``k`` latents firing.

    Attributes:
        latents: how many latents; by default 8 times the width.
        tokens: tokens to train on; texts are read again where they are fewer.
        batch_tokens: tokens per step.
        learning_rate: by default the trainer's own, 5e-3 / √(latents / 16,384), which is meant for
            batches of 65,536 tokens, times the third root of ``batch_tokens`` / 65,536.
        held_out: share of the texts that the fit is judged on.
        accept_bad_fit: keep an SAE that does not fit.
    """

    latents: int | None = None
    tokens: int = 2_000_000
    batch_tokens: int = 2048
    learning_rate: float | None = None
    held_out: float = 0.1
    accept_bad_fit: bool = False

    def __post_init__(self) -> None:
        Reading.__post_init__(self)  # super() does not know classes with slots
        _refuse_below(self, {"latents": 2, "tokens": 1000, "batch_tokens": 64})
        if not 0 < self.held_out < 1:
            raise ConfigError(f"--held-out {self.held_out} is not between 0 and 1")
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise ConfigError(f"--learning-rate {self.learning_rate} is not above 0")
        if self.latents is not None and self.k is not None and self.k > self.latents:
            raise ConfigError(f"--k {self.k} is more than --latents {self.latents}")


def _refuse_below(config: object, least: dict[str, int]) -> None:
    for name, low in least.items():
        value = getattr(config, name)
        if value is not None and value < low:
            raise ConfigError(f"--{name.replace('_', '-')} {value} is less than {low}")
