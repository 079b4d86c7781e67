"""Settings of an evaluation; flag, YAML key and Python argument are one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from imprint.errors import ConfigError, nearest
from imprint.formats.choices import Normalisation as Scores
from imprint.formats.questions import Style
from imprint.models import Dtype, Prompting
from imprint.models.server import Patience

Normalisation = Literal["raw", "token", "character", "byte", "unconditional"]
# the metric under which each stands in the tables, named as lm-eval and olmes name them
METRICS: dict[Normalisation, str] = {
    "raw": "acc",
    "token": "acc_per_token",
    "character": "acc_norm",
    "byte": "acc_bytes",
    "unconditional": "acc_mutual_info",
}
BUILT_IN = ("exact", "math", "regex")
NO_RESULT = ("concurrency", "retries", "timeout", "quiet")  # what changes no number


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """An evaluation.

    Attributes:
        benchmarks: files of questions, or tasks of lm-eval by name or by YAML file.
        prompts: JSON lines of prompts with answers, for verified rollouts.
        samples: rollouts per prompt.
        verify: ``exact``, ``math``, ``regex``, or ``package.module:function``.
        temperature: of rollouts; 1 is the model's own distribution.
        max_new_tokens: of rollouts.
        stop: texts at which a rollout ends; a line's end for plain questions by default.
        engine: ``hf`` (in this process), ``lm-eval`` (its hf backend), or the address of a server.
        num_fewshot: answered examples before each question; by default none, and for a task of
            lm-eval its own number.
        chat_template: ``none``, ``auto`` or a path; ``STAGE=…`` for one stage.
        system_prompt: what stands before everything else; ``STAGE=…`` for one stage.
        normalisation: what an option's log-probability is divided by or compared with.
        style: score the options' texts or their letters; by default as the benchmark has it.
        limit: so many items per benchmark, drawn by the seed.
        rename: our field → theirs, of questions and prompts.
        seed: of the draws of items, examples and rollouts.
        device, dtype: where and in which type the model computes.
        trust_remote_code: run code that a model brings along.
        concurrency, retries, timeout: how a server is treated.
        quiet: no progress.
    """

    benchmarks: tuple[str, ...] = ()
    prompts: str | None = None
    samples: int = 8
    verify: str = "exact"
    temperature: float = 1.0
    max_new_tokens: int = 256
    stop: tuple[str, ...] = ()
    engine: str = "hf"
    num_fewshot: int | None = None
    chat_template: tuple[str, ...] = ("none",)
    system_prompt: tuple[str, ...] = ()
    normalisation: Normalisation = "raw"
    style: Style | None = None
    limit: int | None = None
    rename: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    device: str | None = None
    dtype: Dtype | None = None
    trust_remote_code: bool = False
    concurrency: int = 8
    retries: int = 6
    timeout: float = 300.0
    quiet: bool = False

    @property
    def scores(self) -> Scores:
        """The normalisation as the item table names it."""
        return "sum" if self.normalisation == "raw" else self.normalisation

    @property
    def metric(self) -> str:
        """The metric under which items stand in the tables."""
        return METRICS[self.normalisation]

    @property
    def patience(self) -> Patience:
        """How a server is treated."""
        return Patience(self.concurrency, self.retries, self.timeout)

    @property
    def remote(self) -> bool:
        """Whether a server is asked."""
        return self.engine.startswith(("http://", "https://"))

    def prompting(self, stage: str | None, stages: set[str]) -> Prompting:
        """Give how the models of a stage are asked."""
        template = for_stage(self.chat_template, stage, stages) or "none"
        system = for_stage(self.system_prompt, stage, stages)
        return Prompting(template, system, self.num_fewshot or 0)

    def settings(self) -> dict[str, Any]:
        """Give what changes the result."""
        kept = {name: value for name, value in asdict(self).items() if name not in NO_RESULT}
        return {**kept, "rename": dict(self.rename)}

    def check(self) -> None:
        """Refuse settings that do not make sense.

        Raises:
            ConfigError: such a setting, by its flag.
        """
        if not self.benchmarks and self.prompts is None:
            raise ConfigError(
                "nothing to evaluate on",
                remedy="name --benchmarks PATH or TASK, or --prompts PATH.",
            )
        if self.engine not in ("hf", "lm-eval") and not self.remote:
            raise ConfigError(
                f"--engine {self.engine!r} is none; {nearest(self.engine, ['hf', 'lm-eval'])}",
                remedy="hf, lm-eval, or the address of a server (http://HOST:PORT/v1).",
            )
        if self.normalisation not in METRICS:
            known = nearest(self.normalisation, METRICS)
            raise ConfigError(f"--normalisation {self.normalisation!r} is none; {known}")
        if self.style is not None and self.style not in get_args(Style):
            raise ConfigError(f"--style {self.style!r}; {nearest(self.style, get_args(Style))}")
        for name, value, least in (
            ("samples", self.samples, 1),
            ("max-new-tokens", self.max_new_tokens, 1),
            ("limit", self.limit, 1),
            ("num-fewshot", self.num_fewshot, 0),
            ("temperature", self.temperature, 0),
        ):
            if value is not None and not value >= least:
                raise ConfigError(f"--{name} {value:g} is below {least}")
        if self.temperature == 0 and self.prompts is not None and self.samples > 1:
            raise ConfigError(
                f"--temperature 0 writes one text, and --samples {self.samples} would repeat it",
                remedy="--samples 1, or a temperature above 0.",
            )
        self._check_verify()

    def _check_verify(self) -> None:
        if self.verify not in BUILT_IN and ":" not in self.verify:
            raise ConfigError(
                f"--verify {self.verify!r} is none; {nearest(self.verify, BUILT_IN)}",
                remedy="exact, math, regex, or package.module:function.",
            )


def for_stage(given: tuple[str, ...], stage: str | None, stages: set[str]) -> str | None:
    """Find a setting for a stage: that named for it, else the one that names no stage.

    >>> for_stage(("none", "sft=auto"), "sft", {"pretrained", "sft"})
    'auto'
    >>> for_stage(("none", "sft=auto"), "pretrained", {"pretrained", "sft"})
    'none'
    """
    found = None
    for entry in given:
        named, equals, value = entry.partition("=")
        if equals and named in stages:
            if named == stage:
                return value
        else:
            found = entry
    return found
