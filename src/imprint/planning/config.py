"""Settings of a plan."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from imprint.errors import ConfigError, nearest

Kind = Literal["skill", "fact"]
Adapter = Literal["trl", "verl", "openrlhf", "open-instruct", "prime-rl"]
ADAPTERS: tuple[Adapter, ...] = get_args(Adapter)
SIZES = {"skill": 1000, "fact": 240}
APART = ("seed", "quiet")
PLAIN = re.compile(r"[\w./:-]+")  # stands in settings that the plan writes


@dataclass(frozen=True, slots=True)
class PlanConfig:
    """What is planned, and by which rules.

    Attributes:
        kind: what SFT is to teach: a ``skill`` that traces can show, or a ``fact``; they call for
            different rows. Facts of a mastery run by default; else it must be said.
        size: rows of the SFT subset; 1,000 for a skill, 240 for facts.
        sizes: further sizes, written as nested sets beside it for a size curve.
        hard_below: an SFT row's shrunk pass rate is at most this.
        domain_share: the largest share of the SFT subset that one domain may have; by default
            twice an equal share.
        near_duplicate: word trigrams shared (Jaccard) from which two prompts are one; 1 keeps all
            but equal ones.
        references_verified: all references were checked; else those of the column
            ``reference_verified``, and answers that the verifier itself compares with.
        band: pass rates that RL learns from.
        band_probability: how probable it must be that the rate lies in the band.
        tail: share of the RL set that is easier, and share that is harder, than the band.
        rl_size: rows of the RL set at most; all of the band by default.
        rl_from: the model that RL starts from; refused where the rollouts are another's.
        group_size: rollouts per prompt in RL.
        stalled: share of groups without signal from which a domain counts as blocked or saturated.
        targets: domain → weight in what the model is for.
        samples: rollouts per prompt, for pass rates without their number.
        pass_at: a reward of at least this is a verified pass; without it rewards are 0 or 1.
        model, stage: which model of an evaluation with several.
        filter: which filter of lm-eval samples with several.
        metric: name of the verified accuracy in the trainer's reward, for generated settings.
        adapters: frameworks to write for.
        limit: take so many prompts of each domain at random.
        resamples: draws of every simulated interval.
        seed: of everything drawn.
        quiet: show no progress.
    """

    kind: Kind | None = None
    size: int | None = None
    sizes: tuple[int, ...] = ()
    hard_below: float = 0.25
    domain_share: float | None = None
    near_duplicate: float = 0.8
    references_verified: bool = False
    band: tuple[float, float] = (0.2, 0.8)
    band_probability: float = 0.5
    tail: float = 0.1
    rl_size: int | None = None
    rl_from: str | None = None
    group_size: int = 8
    stalled: float = 0.8
    targets: dict[str, float] = field(default_factory=dict)
    samples: int | None = None
    pass_at: float | None = None
    model: str | None = None
    stage: str | None = None
    filter: str | None = None
    metric: str = "acc"
    adapters: tuple[Adapter, ...] = ADAPTERS
    limit: int | None = None
    resamples: int = 2000
    seed: int = 0
    quiet: bool = False

    def __post_init__(self) -> None:
        _known("kind", self.kind, get_args(Kind))
        for adapter in self.adapters:
            _known("adapter", adapter, ADAPTERS)
        least = {"size": 1, "rl_size": 1, "group_size": 2, "samples": 1, "limit": 1, "seed": 0}
        for name, low in {**least, "resamples": 100}.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise ConfigError(f"--{name.replace('_', '-')} {value} is less than {low}")
        if any(size < 1 for size in self.sizes):
            raise ConfigError(f"--sizes holds {min(self.sizes)}, less than 1")
        _shares(self)
        if self.pass_at is not None and not math.isfinite(self.pass_at):
            raise ConfigError(f"--pass-at {self.pass_at:g} is not finite")
        if not PLAIN.fullmatch(self.metric):
            raise ConfigError(
                f"--metric {self.metric!r:.60} is no name", remedy="letters, digits and . _ / : -."
            )
        if any(not 0 <= weight < float("inf") for weight in self.targets.values()):
            raise ConfigError("a target weight is negative or not finite")

    @property
    def settings(self) -> dict[str, Any]:
        """Give what changes the numbers, for the manifest."""
        return {name: value for name, value in asdict(self).items() if name not in APART}


def _shares(config: PlanConfig) -> None:
    low, high = config.band
    if not 0 <= low < high <= 1:
        raise ConfigError(f"--band {low:g} {high:g} is no range within [0, 1]")
    shares = ("hard_below", "near_duplicate", "band_probability", "stalled", "domain_share")
    for name in shares:
        value = getattr(config, name)
        if value is not None and not 0 < value <= 1:
            raise ConfigError(f"--{name.replace('_', '-')} {value:g} is not in (0, 1]")
    if not 0 <= config.tail < 0.5:
        raise ConfigError(f"--tail {config.tail:g} is not in [0, 0.5)")


def _known(flag: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise ConfigError(f"--{flag} {value!r}: {nearest(value, known)}")
