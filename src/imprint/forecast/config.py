"""Settings of a forecast."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from imprint.errors import ConfigError, nearest
from imprint.models import Dtype

Shift = Literal["icl", "icl_content", "answer", "sft", "grad", "rollout", "icl_unaligned"]
FAMILIES = ("sts", "dictionary", "lexical", "likelihood", "similarity", "gradient", "history")
APART = ("seed", "quiet", "device", "trust_remote_code")


@dataclass(frozen=True, slots=True)
class ForecastConfig:
    """What is forecast, and how.

    Attributes:
        shift: how the latents that SFT will shift are found without it: ``icl`` (demonstrations
            before the same query), ``icl_content`` (less what any tokens there would do),
            ``answer`` (gold answers against the model's own), ``grad`` (one gradient of the SFT
            loss); ``sft`` asks a tuned model (oracle), ``rollout`` contrasts samples of high and
            low reward, ``icl_unaligned`` is the published estimator.
        score: the predictor that the headline is about; by default the first at hand of those that
            history found best, STS and others.
        families: kinds of predictors to run; empty for all.
        layer: the block whose output is read; by default the SAE's, else the middle one.
        sae_k: latents that fire per token, for a top-k SAE whose files do not say so.
        latents: how many latents count as shifted.
        demonstrations: SFT examples before a query.
        draws: random choices of demonstrations.
        tokens: tokens of each domain that are read.
        group_by: column of the SFT rows; each of its values is forecast as a set of its own.
        limit: take so many texts of each domain (and SFT set) at random.
        top: domains that count as those which change most; by default a quarter of them.
        extremes: judge on so many domains of the largest and of the smallest observed change only.
        budget: examples that a mixture plan may add; none without it.
        temperature: of the plan: above 1 spreads examples more evenly over domains.
        floor, cap: fewest and most examples of one domain in the plan.
        max_new_tokens: length of a replay target at most.
        ablate: zero so many of the strongest shifted latents and measure what that costs; 0 not.
        accept_bad_fit: go on although the SAE does not fit the model.
        chat_template: ``none``, ``auto`` or a Jinja file.
        system_prompt: what stands before every prompt.
        resamples: bootstrap draws of every interval.
        dtype: type that the model computes in; by default that of its weights.
        device: where; by default a GPU where there is one.
        trust_remote_code: run code that a checkpoint brings along.
        seed: of everything drawn.
        quiet: show no progress.
    """

    shift: Shift = "icl"
    score: str | None = None
    families: tuple[str, ...] = ()
    layer: int | None = None
    sae_k: int | None = None
    latents: int = 100
    demonstrations: int = 2
    draws: int = 5
    tokens: int = 10_000
    group_by: str | None = None
    limit: int | None = None
    top: int | None = None
    extremes: int | None = None
    budget: int | None = None
    temperature: float = 1.0
    floor: int = 0
    cap: int | None = None
    max_new_tokens: int = 128
    ablate: int = 0
    accept_bad_fit: bool = False
    chat_template: str = "none"
    system_prompt: str | None = None
    resamples: int = 2000
    dtype: Dtype | None = None
    device: str | None = None
    trust_remote_code: bool = False
    seed: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.shift not in get_args(Shift):
            raise ConfigError(f"--shift {self.shift!r}: {nearest(self.shift, get_args(Shift))}")
        for family in self.families:
            if family not in FAMILIES:
                raise ConfigError(f"--families {family!r}: {nearest(family, FAMILIES)}")
        least = {
            "layer": 0,
            "sae_k": 1,
            "latents": 1,
            "demonstrations": 1,
            "draws": 1,
            "tokens": 1,
            "limit": 1,
            "top": 1,
            "extremes": 2,
            "budget": 1,
            "floor": 0,
            "cap": 1,
            "max_new_tokens": 1,
            "ablate": 0,
            "resamples": 100,
            "seed": 0,
        }
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise ConfigError(f"--{name.replace('_', '-')} {value} is less than {low}")
        if not self.temperature > 0:
            raise ConfigError(f"--temperature {self.temperature} is not above 0")
        if self.cap is not None and self.cap < self.floor:
            raise ConfigError(f"--cap {self.cap} is below --floor {self.floor}")

    @property
    def settings(self) -> dict[str, Any]:
        """Give what changes the numbers, for the manifest."""
        return {name: value for name, value in asdict(self).items() if name not in APART}
