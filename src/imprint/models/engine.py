"""What every engine answers: log-likelihoods, choices, whole texts, and generations.

An engine may hold the model in this process, wrap another library, or talk to a server. A job asks
for an ``Engine`` and never for a model, except where it needs logits or hidden states.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable


class Likelihood(NamedTuple):
    """How likely a model finds a continuation.

    Attributes:
        logprob: sum of the log-probabilities of its tokens, nats.
        greedy: whether each of its tokens is the most likely one.
        tokens: how many tokens were scored; 0 where an engine cannot tell.
        cut: tokens cut from the left of the context because both together were too long.
    """

    logprob: float
    greedy: bool
    tokens: int
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """A context with the options that may follow it.

    Attributes:
        context: what stands before every option, few-shot examples included; may be empty.
        options: each as it follows the context, with the blank between them.
        unconditional: another context, such as ``Answer:``, after which options are scored too.
    """

    context: str
    options: tuple[str, ...]
    unconditional: str | None = None


@dataclass(frozen=True, slots=True)
class OptionScores:
    """How likely each option of a question is; all tuples are in the order of the options.

    Attributes:
        logprobs: sum of the log-probabilities of the option's tokens, nats.
        tokens: how many tokens were scored; 0 where an engine cannot tell.
        greedy: whether each token is the most likely one.
        unconditional: the same sums after the question's other context, where it has one.
        cut: most tokens that were cut from the left of the context, 0 where it fitted.
    """

    logprobs: tuple[float, ...]
    tokens: tuple[int, ...]
    greedy: tuple[bool, ...]
    unconditional: tuple[float, ...] | None = None
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Generated:
    """One continuation that a model wrote.

    Attributes:
        prompt: index of the prompt.
        sample: index of the sample, from 0.
        text: what was written, up to the first stop text.
        tokens: how many tokens were drawn.
        ended: by the model's end of text, by a stop text, or at the length asked for.
        logprob: sum of the log-probabilities of the tokens drawn at temperature 1, nats, where the
            engine knows it.
    """

    prompt: int
    sample: int
    text: str
    tokens: int
    ended: Literal["end", "stop", "length"]
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What answers, as recorded in manifests and rows.

    Attributes:
        engine: ``hf``, ``lm-eval`` or ``endpoint``.
        model: the reference as the user wrote it.
        dtype, device: what it computes in and on, where that is known.
        versions: of the packages or the server that answer.
        details: whatever else tells two engines apart.
    """

    engine: str
    model: str
    dtype: str | None = None
    device: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Give everything as plain values, for a manifest."""
        return asdict(self)


@runtime_checkable
class Engine(Protocol):
    """Answers about texts; every answer comes in the order of its question.

    Each method raises ``ConfigError`` where the engine cannot give what is asked, with the reason,
    and ``DataError`` for a text that cannot be scored.
    """

    @property
    def identity(self) -> Identity:
        """What answers."""

    @property
    def context(self) -> int | None:
        """The most tokens that the model reads at once, where that is known."""

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of ``transformers``, ``None`` where the engine has none at hand."""

    def loglikelihoods(self, requests: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Score each continuation after its context; a context may be empty."""

    def choices(self, questions: Sequence[Question]) -> Iterator[OptionScores]:
        """Score the options of each question."""

    def rolling(self, texts: Sequence[str]) -> list[Likelihood]:
        """Score whole texts, each token once, in windows where a text is too long."""

    def generate(
        self,
        prompts: Sequence[str],
        *,
        n: int = 1,
        temperature: float = 0.0,
        max_new_tokens: int = 32,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> Iterator[Generated]:
        """Continue each prompt ``n`` times, in order of prompt and sample; 0 is greedy."""
