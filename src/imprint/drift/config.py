"""Settings of a drift measurement."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from imprint.errors import ConfigError, nearest
from imprint.models import Dtype

Positions = Literal["auto", "all", "answer"]
FactPrompts = Literal["paper", "statement", "question"]
APART = ("seed", "quiet", "one_model", "device", "trust_remote_code")


@dataclass(frozen=True, slots=True)
class DriftConfig:
    """What is compared, and how.

    Attributes:
        positions: ``all`` tokens, those of the ``answer`` (or completion), or ``auto``: those of
            the answer where a row names one, else all.
        limit: take so many texts of each domain (facts of each relation, prompts) at random.
        window: tokens that a model sees at once; by default its context, at most 2,048.
        chat_template_base, chat_template_tuned: ``none``, ``auto`` or a Jinja file, for the prompts
            of prompt–completion rows and facts.
        system_prompt: what stands before every prompt.
        fact_prompts: ``paper``: the base completes its best statement template, the tuned model
            answers the question; else both see the one or the other.
        levels: mastery levels whose facts are compared; empty for all.
        near: keep facts whose answer the base begins within so many tokens of its greedy
            completion; 0 keeps all.
        samples: completions drawn from the tuned model per prompt, on-policy.
        max_new_tokens: length of such a completion at most.
        layers: compare hidden states of every layer too.
        layer_positions: positions drawn for that.
        null: draws of the random control: the base with the tuned model's changes shuffled.
        resamples: bootstrap draws of every interval.
        one_model: keep one model in memory at a time, and the base's hidden states on disk.
        dtype: type that models compute in; by default that of their weights.
        device: where; by default a GPU where there is one.
        trust_remote_code: run code that a checkpoint brings along.
        seed: of everything drawn.
        quiet: show no progress.
    """

    positions: Positions = "auto"
    limit: int | None = None
    window: int | None = None
    chat_template_base: str = "none"
    chat_template_tuned: str = "none"
    system_prompt: str | None = None
    fact_prompts: FactPrompts = "paper"
    levels: tuple[int, ...] = ()
    near: int = 2
    samples: int = 1
    max_new_tokens: int = 32
    layers: bool = False
    layer_positions: int = 512
    null: int = 0
    resamples: int = 2000
    one_model: bool = False
    dtype: Dtype | None = None
    device: str | None = None
    trust_remote_code: bool = False
    seed: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        _known("positions", self.positions, get_args(Positions))
        _known("fact-prompts", self.fact_prompts, get_args(FactPrompts))
        least = {
            "limit": 1,
            "window": 2,
            "near": 0,
            "samples": 1,
            "max_new_tokens": 1,
            "layer_positions": 8,
            "null": 0,
            "resamples": 100,
            "seed": 0,
        }
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise ConfigError(f"--{name.replace('_', '-')} {value} is less than {low}")
        if any(not 0 <= level <= 4 for level in self.levels):
            raise ConfigError(f"levels are 0 to 4, not {', '.join(map(str, self.levels))}")

    @property
    def settings(self) -> dict[str, Any]:
        """Give what changes the numbers, for the manifest."""
        return {name: value for name, value in asdict(self).items() if name not in APART}


def _known(flag: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"--{flag} {value!r}: {nearest(value, known)}")
