"""Settings of the theory's experiments."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from imprint.errors import ConfigError

LEAST = {
    "d": 2,
    "seeds": 1,
    "epochs": 1,
    "batch": 1,
    "layers": 1,
    "heads": 1,
    "width": 8,
    "pretrain_steps": 1,
    "sft_steps": 1,
    "os_steps": 1,
    "test_prompts": 2,
    "seed": 0,
}


@dataclass(frozen=True, slots=True)
class TheoryConfig:
    """What an experiment computes; each has its own defaults and reads some of these.

    Attributes:
        d: feature dimension.
        weak: share of the directions whose pretraining variance is small, and on which the test
            differs.
        weak_eig: that variance (the others have 1).
        target_rate: the rate of the step targets of SFT.
        interference: variances of the SFT data on the directions that pretraining knows.
        n: prompt lengths of pretraining, SFT and test together; empty for multiples of ``d``.
        n_pre, n_sft, n_test: one of the three held fixed.
        sizes: numbers of post-training prompts; empty for multiples of ``d``.
        cot: lengths of the chain of thought.
        seeds: independent realisations of everything drawn.
        epochs: passes over the prompts in training.
        batch: prompts in a minibatch.
        learning_rate: of Adam.
        layers, heads, width: of the transformer.
        pretrain_steps, sft_steps, os_steps: its steps of training.
        test_prompts: prompts that a trained model is tested on.
        paper_size: sizes of the paper where the defaults are smaller.
        device: where the transformer computes.
        seed: of everything drawn.
        quiet: show no progress.
    """

    d: int = 400
    weak: float = 0.5
    weak_eig: float = 0.1
    target_rate: float = 0.2
    interference: tuple[float, ...] = (0.0, 0.01, 0.1)
    n: tuple[int, ...] = ()
    n_pre: int | None = None
    n_sft: int | None = None
    n_test: int | None = None
    sizes: tuple[int, ...] = ()
    cot: tuple[int, ...] = (1,)
    seeds: int = 6
    epochs: int = 130
    batch: int = 10
    learning_rate: float = 1e-3
    layers: int = 4
    heads: int = 4
    width: int = 64
    pretrain_steps: int = 1500
    sft_steps: int = 100
    os_steps: int = 100
    test_prompts: int = 512
    paper_size: bool = False
    device: str | None = None
    seed: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        for name, low in LEAST.items():
            _at_least(name, getattr(self, name), low)
        for name in ("n", "sizes", "cot"):
            for value in getattr(self, name):
                _at_least(name, value, 1)
        for name in ("n", "sizes", "cot", "interference"):
            values = getattr(self, name)
            if len({*values}) < len(values):  # its realisations would count twice
                raise ConfigError(f"{_flag(name)} {shown(values)} holds a value twice")
        for name in ("n_pre", "n_sft", "n_test"):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), 1)
        if not 0 < self.weak < 1 or not 1 <= self.weak_directions < self.d:
            raise ConfigError(
                f"--weak {self.weak} leaves no weak or no known direction among {self.d}"
            )
        for name in ("weak_eig", "target_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"{_flag(name)} {getattr(self, name)} is not in (0, 1]")
        if not 0 < self.learning_rate < 1:
            raise ConfigError(f"--learning-rate {self.learning_rate} is not in (0, 1)")
        if any(not 0 <= value < float("inf") for value in self.interference):
            raise ConfigError("--interference takes variances, which are not negative")
        if self.width % self.heads:
            raise ConfigError(f"--width {self.width} is no multiple of --heads {self.heads}")

    @property
    def weak_directions(self) -> int:
        """The number of weak directions."""
        return round(self.weak * self.d)

    @property
    def settings(self) -> dict[str, Any]:
        """Give what changes the numbers, for the manifest."""
        apart = ("seed", "quiet", "device")
        return {name: value for name, value in asdict(self).items() if name not in apart}


def shown(value: Any) -> str:
    """Write a setting's value.

    >>> shown((0.01, 2)), shown(()), shown(None)
    ('0.01, 2', 'multiples of d', 'not set')
    """
    if isinstance(value, (list, tuple)):
        return ", ".join(f"{entry:g}" for entry in value) or "multiples of d"
    return "not set" if value is None else str(value)


def _at_least(name: str, value: int, low: int) -> None:
    if value < low:
        raise ConfigError(f"{_flag(name)} {value} is less than {low}")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
