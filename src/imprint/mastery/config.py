"""Settings of a mastery run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from imprint.errors import ConfigError, nearest
from imprint.formats.facts import FLAGS, Leak
from imprint.mastery.levels import Interval
from imprint.mastery.matching import RULES, Match
from imprint.mastery.stopping import Stopping, read_stop
from imprint.models import Dtype, Prompting

Asking = Literal["auto", "few-shot"]
Likelihood = Literal["no", "also", "only"]
PROMPT = "<|question|> {question} <|answer|>"  # arXiv 2509.16596, appendix A
SHOTS, VARIANTS = 4, 10  # of SliCK (arXiv 2405.05904)


@dataclass(frozen=True, slots=True)
class MasteryConfig:
    """A mastery run; the defaults are those of arXiv 2509.16596 where it states any.

    Attributes:
        map: our field → its name in JSON lines of facts.
        split: splits of the facts to keep; all, or of EntityQuestions train, test and test_ood.
        templates: a JSON file of templates in place of those that come with the facts.
        synonyms: ``paper``, ``none`` or a JSON file of other names for answers.
        drop: facts with these flags are left out.
        limit: so many facts per relation and split, drawn at random.
        asking: ``auto`` takes a row's own prompts, else templates, else few-shot prompts; SliCK
            needs ``few-shot``.
        variants: few-shot prompts per fact.
        samples: per template.
        temperature: of the samples.
        max_new_tokens: of a sample.
        match: the rule that makes hits; the counts of the others stand beside it.
        stop: ``exact``, ``none`` or a probability, see ``stopping``.
        interval: of the score, ``wilson`` or ``bayes``.
        slick: also one greedy continuation per template, and SliCK's four categories.
        likelihood: also, or only, the probability that the answer follows at once.
        keep_samples: write a table of all samples (they end where they matched).
        sizes: of the SFT sets to write; 0 stands for all facts of a level.
        set_seeds: SFT sets of each level and size.
        sft_prompt: the prompt of SFT sets and of the closed-book evaluation, with ``{question}``.
        prompting: chat template, system prompt, few-shot examples.
        batch_size: samples in a batch, see ``Sampler``.
        seed: of samples, limits and sets.
        dtype, device: what the model computes in and on.
    """

    map: dict[str, str] = field(default_factory=dict)
    split: tuple[str, ...] = ()
    templates: str | None = None
    synonyms: str = "paper"
    drop: tuple[Leak, ...] = ()
    limit: int | None = None
    asking: Asking = "auto"
    variants: int = VARIANTS
    samples: int = 10
    temperature: float = 0.7
    max_new_tokens: int = 32
    match: Match = "substring"
    stop: str = "exact"
    interval: Interval = "wilson"
    slick: bool = False
    likelihood: Likelihood = "no"
    keep_samples: bool = False
    sizes: tuple[int, ...] = ()
    set_seeds: int = 3
    sft_prompt: str = PROMPT
    prompting: Prompting = field(default_factory=lambda: Prompting(num_fewshot=SHOTS))
    batch_size: int | None = None
    seed: int = 0
    dtype: Dtype | None = None
    device: str | None = None

    @property
    def stopping(self) -> Stopping:
        """The rule that ``stop`` names."""
        return read_stop(self.stop)

    @property
    def matched(self) -> int:
        """The place of ``match`` among the rules."""
        return RULES.index(self.match)

    def settings(self) -> dict[str, Any]:
        """Give what changes the result."""
        return asdict(self)

    def check(self) -> None:
        """Refuse settings that do not make sense.

        Raises:
            ConfigError: such a setting, by its flag.
        """
        for flag, value, least in (
            ("samples", self.samples, 1),
            ("max-new-tokens", self.max_new_tokens, 1),
            ("variants", self.variants, 1),
            ("set-seeds", self.set_seeds, 1),
            ("limit", self.limit, 1),
            ("batch-size", self.batch_size, 1),
            *(("sizes", size, 0) for size in self.sizes),
        ):
            if value is not None and value < least:
                raise ConfigError(f"--{flag} {value} is less than {least}")
        for flag, text, known in (
            ("match", self.match, RULES),
            ("interval", self.interval, get_args(Interval)),
            ("asking", self.asking, get_args(Asking)),
            ("likelihood", self.likelihood, get_args(Likelihood)),
            *(("drop", leak, tuple(FLAGS)) for leak in self.drop),
        ):
            if text not in known:
                raise ConfigError(f"--{flag} {text!r}: {nearest(text, known)}")
        if not 0 < self.temperature < 100:
            raise ConfigError(
                f"--temperature {self.temperature:g}",
                remedy="samples need a temperature above 0; --slick adds greedy ones.",
            )
        if self.sft_prompt.count("{question}") != 1:
            raise ConfigError(f"--sft-prompt {self.sft_prompt!r} has not one slot {{question}}")
        if self.likelihood == "only" and self.slick:
            raise ConfigError("--likelihood only draws no samples, which --slick needs")
        _ = self.stopping
