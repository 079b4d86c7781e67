"""A model behind an OpenAI-compatible completions endpoint (vLLM, SGLang, …).

Continuations are scored by having the server echo the prompt with its log-probabilities; a server
that cannot is refused for scoring and serves for generation all the same. Tokens are assigned by
their text offsets: a token belongs to the continuation when it starts at or behind the end of the
context. A server has nothing to cut contexts with: what is too long is refused, never cut.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NoReturn

from imprint.errors import ConfigError, DataError, nearest
from imprint.models.engine import Generated, Identity, Likelihood, OptionScores, Question
from imprint.models.server import Json, Patience, RefusedError, Server

COMPLETIONS = "/completions"
SCORING_REMEDY = (
    "score with --engine hf, or start the server so that it echoes prompts with log-probabilities."
)
BLANKS = str.maketrans({"▁": " ", "Ġ": " ", "Ċ": "\n"})  # how some servers write them in tokens


@dataclass(frozen=True, slots=True)
class _Echo:
    """The tokens of a prompt as a server tells them, [tokens] each.

    Attributes:
        starts: offset of each token in the prompt, characters.
        logprobs: of each token, ``None`` where nothing stands before it.
        greedy: whether each token is the most likely one.
    """

    starts: list[int]
    logprobs: list[float | None]
    greedy: list[bool]


class EndpointEngine:
    """Asks a server.

    Args:
        url: up to and with ``/v1``; ``/completions`` is added.
        model: the name under which the server serves the model.
        patience: how the server is treated.

    Raises:
        ConfigError: the address is none, or the server serves no model of that name.
        DataError: it does not answer.
    """

    def __init__(self, url: str, model: str, patience: Patience | None = None):
        self.server = Server(url.rstrip("/").removesuffix(COMPLETIONS), patience)
        self.model = model
        self._served = self._find()

    @property
    def identity(self) -> Identity:
        """The address and the name; what computes behind them is not known."""
        details = {"url": self.server.url}
        return Identity("endpoint", self.model, details=details)

    @property
    def context(self) -> int | None:
        """The most tokens that the model reads at once, where the server tells (vLLM does)."""
        found = self._served.get("max_model_len")
        return found if isinstance(found, int) and found > 0 else None

    @property
    def tokenizer(self) -> Any:
        """None: it is on the server."""
        return None

    def loglikelihoods(self, requests: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Score each continuation after its context, each in a request of its own.

        Raises:
            ConfigError: the server does not echo prompts with log-probabilities.
            DataError: it does not answer, answers rubbish, or a text is too long for it.
        """
        self._refuse_unscoring()
        found = self.server.map(lambda pair: self._scored(pair[0], (pair[1],))[0], requests)
        return list(found)

    def choices(self, questions: Sequence[Question]) -> Iterator[OptionScores]:
        """Score the options of each question, the options in one request.

        Raises:
            ConfigError, DataError: as ``loglikelihoods``.
        """
        self._refuse_unscoring()
        yield from self.server.map(self._question, questions)

    def rolling(self, texts: Sequence[str]) -> list[Likelihood]:
        """Score whole texts; the first token counts where the server puts a start token before it.

        The start token itself is not scored, as it is where lm-eval's ``hf`` backend puts another
        one before a tokenizer's own.

        Raises:
            ConfigError, DataError: as ``loglikelihoods``; a text longer than the model reads is
                refused, since only the tokenizer could cut it.
        """
        self._refuse_unscoring()
        return list(self.server.map(self._whole, texts))

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
        """Continue each prompt ``n`` times; the server draws, with a seed of each prompt's own.

        Raises:
            DataError: the server does not answer, answers rubbish, or a prompt is too long for it.
        """
        drawn = n if temperature > 0 else 1  # servers refuse to draw greedily more than once
        settings = {
            "n": drawn,
            "temperature": temperature,
            "max_tokens": max_new_tokens,
            "logprobs": 1,  # the tokens are counted by them
            **({"stop": list(stop)} if stop else {}),
        }
        seeds = _seeds(prompts, seed)
        asked = [
            (text, {**settings, "seed": own}) for text, own in zip(prompts, seeds, strict=True)
        ]
        for index, samples in enumerate(self.server.map(self._continued, asked)):
            for sample in range(n):
                yield _generated(samples[sample % drawn], index, sample, stop)

    def _find(self) -> Json:
        try:
            listed = self.server.ask("/models").get("data")
        except RefusedError:
            return {}  # a server without a list is asked all the same
        models = [m for m in listed if isinstance(m, dict)] if isinstance(listed, list) else []
        names = [str(m.get("id")) for m in models]
        if models and self.model not in names:
            raise ConfigError(
                f"the server serves no model {self.model!r}; {nearest(self.model, names)}",
                where=self.server.url,
                remedy="name the model as the server does.",
            )
        return next((m for m in models if m.get("id") == self.model), {})

    @cached_property
    def _scoring_problem(self) -> str | None:
        """Try once whether prompts are echoed with log-probabilities; say what lacks."""
        try:
            answer = self._post(["one two"], SCORING)
            _echo(answer[0], "one two", self.server.url)
        except RefusedError as refused:
            return f"it answered {refused}"
        except _NoEchoError as lacking:
            return str(lacking)
        return None

    def _refuse_unscoring(self) -> None:
        if self._scoring_problem:
            raise ConfigError(
                f"this server cannot score options: {self._scoring_problem}",
                where=self.server.url,
                remedy=SCORING_REMEDY,
            )

    def _question(self, question: Question) -> OptionScores:
        found = self._scored(question.context, question.options)
        other = None
        if question.unconditional is not None:
            alone = self._scored(question.unconditional, question.options)
            other = tuple(likelihood.logprob for likelihood in alone)
        return OptionScores(
            tuple(likelihood.logprob for likelihood in found),
            tuple(likelihood.tokens for likelihood in found),
            tuple(likelihood.greedy for likelihood in found),
            other,
        )

    def _scored(self, context: str, continuations: Sequence[str]) -> list[Likelihood]:
        # blanks at the end of a context belong to what follows, as lm-eval has it
        kept = len(context.rstrip())
        texts = [context + continuation for continuation in continuations]
        return [
            _sum(echo, kept, text, self.server.url)
            for echo, text in zip(self._echoes(texts), texts, strict=True)
        ]

    def _whole(self, text: str) -> Likelihood:
        echo = self._echoes([text])[0]
        known = [value for value in echo.logprobs if value is not None]
        kept = [g for g, value in zip(echo.greedy, echo.logprobs, strict=True) if value is not None]
        return Likelihood(math.fsum(known), all(kept), len(known))

    def _echoes(self, texts: Sequence[str]) -> list[_Echo]:
        try:
            answers = self._post(list(texts), SCORING)
        except RefusedError as refused:
            self._refuse(refused, max(texts, key=len))
        try:
            pairs = zip(answers, texts, strict=True)
            return [_echo(answer, text, self.server.url) for answer, text in pairs]
        except _NoEchoError as rubbish:
            raise DataError(
                f"the server answered rubbish: {rubbish}", where=self.server.url
            ) from None

    def _continued(self, asked: tuple[str, Json]) -> list[Json]:
        prompt, settings = asked
        try:
            return self._post([prompt], settings)
        except RefusedError as refused:
            self._refuse(refused, prompt)

    def _refuse(self, refused: RefusedError, text: str) -> NoReturn:
        raise DataError(
            f"the server refused a prompt of {len(text):,} characters that ends {text[-40:]!r}: "
            f"{refused}",
            where=self.server.url,
            remedy="where it is too long: fewer --num-fewshot, or --engine hf, which cuts it.",
        ) from None

    def _post(self, prompts: list[str], settings: Json) -> list[Json]:
        """Give the choices for some prompts, those of the first prompt first."""
        # a text alone is understood by servers that know no lists
        prompt = prompts[0] if len(prompts) == 1 else prompts
        body = {"model": self.model, "prompt": prompt, **settings}
        choices = self.server.ask(COMPLETIONS, body).get("choices")
        wanted = len(prompts) * int(settings.get("n", 1))
        whole = isinstance(choices, list) and all(
            isinstance(c, dict) and isinstance(c.get("text"), str) for c in choices
        )
        if not isinstance(choices, list) or not whole or len(choices) != wanted:
            got = len(choices) if isinstance(choices, list) else "no"
            raise DataError(
                f"the server answered rubbish: {got} choices where {wanted} were asked for",
                where=self.server.url,
                remedy="does it know `n` and lists of prompts?",
            )
        return sorted(choices, key=_index)


# one token is drawn and dropped: not every server takes 0
SCORING: Json = {"max_tokens": 1, "temperature": 0.0, "echo": True, "logprobs": 1}


class _NoEchoError(Exception):
    """An answer that does not hold a prompt with its log-probabilities."""


def _index(choice: Json) -> int:
    found = choice.get("index", 0)
    return found if isinstance(found, int) else 0


def _seeds(prompts: Sequence[str], seed: int) -> list[int]:
    """Give each prompt a seed of its own, that does not depend on the other prompts."""
    seen: Counter[str] = Counter()
    found = []
    for prompt in prompts:
        seen[prompt] += 1
        digest = hashlib.sha256(f"{seed}:{seen[prompt]}:{prompt}".encode()).digest()
        found.append(int.from_bytes(digest[:4]) >> 1)
    return found


def _echo(choice: Json, prompt: str, url: str) -> _Echo:
    """Check the log-probabilities of an echoed prompt and place its tokens in it."""
    if not choice["text"].startswith(prompt):
        raise _NoEchoError("it does not echo the prompt")
    given = choice.get("logprobs")
    if not isinstance(given, dict):
        raise _NoEchoError("it gives no log-probabilities")
    names = ("tokens", "token_logprobs", "text_offset")
    columns = [given.get(name) for name in names]
    lists = [column for column in columns if isinstance(column, list)]
    if len(lists) < 3 or len({len(column) for column in lists}) > 1:
        raise _NoEchoError(f"`logprobs` lacks lists of equal length for {', '.join(names)}")
    tokens, logprobs, offsets = lists
    tops = given.get("top_logprobs")
    if not isinstance(tops, list) or len(tops) != len(tokens):
        raise _NoEchoError("`logprobs` lacks `top_logprobs`, which tell the most likely token")
    if not all(isinstance(offset, int) for offset in offsets):
        raise _NoEchoError("`text_offset` holds what is no number")
    shift = _shift(tokens, offsets, prompt)
    starts = [offset - shift for offset in offsets]
    count = sum(start < len(prompt) for start in starts)
    if all(value is None for value in logprobs[:count]):
        raise _NoEchoError("it gives log-probabilities for what it draws, and none for the prompt")
    values = [_number(value, place) for place, value in enumerate(logprobs[:count])]
    _refuse_misplaced(tokens[:count], starts[:count], prompt)
    greedy = [_is_top(value, top) for value, top in zip(values, tops, strict=False)]
    return _Echo(starts[:count], values, greedy)


def _shift(tokens: list[Any], offsets: list[int], prompt: str) -> int:
    """Count what a start token takes of the offsets where a server counts it as text."""
    if not tokens or not isinstance(tokens[0], str) or prompt.startswith(tokens[0]):
        return 0
    counted = len(offsets) > 1 and offsets[1] - offsets[0] == len(tokens[0]) > 0
    special = tokens[0].startswith("<") and tokens[0].endswith(">")
    return len(tokens[0]) if counted and special else 0


def _number(value: Any, place: int) -> float | None:
    if value is None and place < 2:  # a start token, and a first token without one, have none
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= 1e-4:
        raise _NoEchoError(f"the log-probability of token {place} is {value!r}")
    return float(value)


def _is_top(value: float | None, top: Any) -> bool:
    if value is None or not isinstance(top, dict) or not top:
        return False
    others = [v for v in top.values() if isinstance(v, int | float)]
    return bool(others) and value >= max(others)


def _refuse_misplaced(tokens: list[Any], starts: list[int], prompt: str) -> None:
    """Refuse offsets at which other text stands than the token; bytes cannot be compared."""
    ends = [*starts[1:], len(prompt)]
    for token, start, end in zip(tokens, starts, ends, strict=True):
        if not isinstance(token, str) or end < start:
            raise _NoEchoError("`tokens` and `text_offset` do not belong together")
        plain = token.translate(BLANKS).strip()
        shown = prompt[max(start, 0) : end].strip()
        if plain and shown and token.isascii() and plain != shown and not token.startswith("<"):
            raise _NoEchoError(
                f"at offset {start} stands {shown[:20]!r}, not the token {token[:20]!r}"
            )


def _sum(echo: _Echo, boundary: int, text: str, url: str) -> Likelihood:
    chosen = [place for place, start in enumerate(echo.starts) if start >= boundary]
    if boundary == 0 and echo.starts[:2] == [0, 0] and echo.logprobs[0] is None:
        chosen = chosen[1:]  # the start token stands at 0 too
    elif boundary == 0 and echo.starts[0] < 0:
        chosen = [place for place in chosen if place > 0]
    values = [echo.logprobs[place] for place in chosen]
    if not values:
        raise DataError(f"no token starts behind the context in {text[-60:]!r}", where=url)
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        raise ConfigError(
            "an empty context cannot be scored: the server puts no start token before a prompt",
            where=url,
            remedy="use --engine hf, or a normalisation and benchmark with contexts.",
        )
    return Likelihood(math.fsum(known), all(echo.greedy[p] for p in chosen), len(known))


def _generated(choice: Json, prompt: int, sample: int, stop: Sequence[str]) -> Generated:
    text = choice["text"]
    cut = min((at for at in (text.find(word) for word in stop) if at >= 0), default=None)
    given = choice.get("logprobs")
    tokens = given.get("tokens") if isinstance(given, dict) else None
    # servers without `stop_reason` do not tell a stop text from the end of the text
    by_text = isinstance(choice["stop_reason"], str) if "stop_reason" in choice else bool(stop)
    ended: Literal["end", "stop", "length"] = "stop" if by_text else "end"
    if choice.get("finish_reason") == "length":
        ended = "length"
    if cut is not None:
        ended = "stop"
    count = len(tokens) if isinstance(tokens, list) else 0
    return Generated(prompt, sample, text if cut is None else text[:cut], count, ended)
