"""A Hugging Face model in this process, as an engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

from imprint.errors import ConfigError, DataError
from imprint.models.batching import Batcher
from imprint.models.choices import option_scores
from imprint.models.engine import Generated, Identity, Likelihood, OptionScores, Question
from imprint.models.generation import Continuing
from imprint.models.load import Loaded
from imprint.models.requests import Encoder, Request
from imprint.models.scoring import Scorer

BLOCK = 512  # questions scored together, before the first is given


@dataclass(frozen=True)
class LocalEngine:
    """A loaded model that answers as an ``Engine`` does.

    Attributes:
        loaded: model and tokenizer.
        max_length: tokens that the model reads at once; by default what its config tells.
    """

    loaded: Loaded
    max_length: int | None = None

    @cached_property
    def encoder(self) -> Encoder:
        """Turns texts into tokens."""
        return Encoder(self.loaded, self.max_length)

    @cached_property
    def scorer(self) -> Scorer:
        """Scores requests; it remembers what was found about the model and about memory."""
        return Scorer(self.loaded, Batcher.on(self.loaded.device))

    @property
    def identity(self) -> Identity:
        """What answers."""
        return Identity(
            engine="hf",
            model=str(self.loaded.reference or self.loaded.folder),
            dtype=str(self.loaded.model.dtype).removeprefix("torch."),
            device=str(self.loaded.device),
            versions={name: version(name) for name in ("torch", "transformers")},
        )

    @property
    def context(self) -> int:
        """The most tokens that the model reads at once."""
        return self.encoder.limit

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.loaded.tokenizer

    def loglikelihoods(self, requests: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Score each continuation after its context; a context may be empty.

        Raises:
            DataError: there is no tokenizer, or a continuation has no token, or too many.
        """
        return self.scorer.score([self.encoder.request(*texts) for texts in requests])

    def choices(self, questions: Sequence[Question]) -> Iterator[OptionScores]:
        """Score the options of each question, in order; a context is read once for all options.

        Raises:
            DataError: there is no tokenizer, or an option has no token, or too many.
        """
        for at in range(0, len(questions), BLOCK):
            yield from option_scores(self.loglikelihoods, questions[at : at + BLOCK])

    def rolling(self, texts: Sequence[str]) -> list[Likelihood]:
        """Score whole texts, each token once, a long one in windows (lm-eval's, see ``windows``).

        Raises:
            DataError: there is no tokenizer, or a text is empty.
        """
        pieces = [(n, piece) for n, text in enumerate(texts) for piece in self._windows(text, n)]
        found = self.scorer.score([piece for _, piece in pieces])
        sums = [Likelihood(0.0, True, 0) for _ in texts]
        for (n, _), one in zip(pieces, found, strict=True):
            sums[n] = Likelihood(
                sums[n].logprob + one.logprob,
                sums[n].greedy and one.greedy,
                sums[n].tokens + one.tokens,
            )
        return sums

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
        """Continue each prompt ``n`` times, in order of prompt and sample; 0 is greedy.

        Draws depend on the seed and on the prompt's text, not on its company. A prompt that leaves
        no room for the new tokens is cut from the left, and this is said.

        Raises:
            ConfigError: the new tokens alone fill the model's context.
        """
        if max_new_tokens >= self.context:
            raise ConfigError(
                f"{max_new_tokens} new tokens leave no room for a prompt: the model reads "
                f"{self.context} tokens at once",
                remedy="give fewer: --max-new-tokens, a task's max_gen_toks.",
            )
        how = Continuing(self.encoder, n, temperature, max_new_tokens, seed, stop)
        return how(prompts)

    def _windows(self, text: str, number: int) -> list[Request]:
        ids = self.encoder.encode(text)
        if not ids:
            raise DataError("the text has no token", where=f"text {number + 1}")
        return windows(ids, self.encoder.prefix, self.context)


def windows(ids: Sequence[int], prefix: int, limit: int) -> list[Request]:
    """Cut a text so that each token is predicted once, the last window with all context there is.

    The windows are those of lm-eval (``get_rolling_token_windows`` with a context of one token):
    all but the last begin where the one before ended; the last reaches back to be as long.

    >>> [one.ids for one in windows([1, 2, 3, 4, 5], 0, 4)]
    [(0, 1, 2, 3), (1, 2, 3, 4)]
    >>> [one.targets for one in windows([1, 2, 3, 4, 5], 0, 4)]
    [(1, 2, 3, 4), (5,)]
    """
    whole = [prefix, *ids]
    found = []
    for at in range(0, len(ids), limit):
        end = min(at + limit, len(ids))
        begin = 0 if at == 0 else end - limit
        found.append(Request(tuple(whole[begin:end]), tuple(ids[at:end])))
    return found
