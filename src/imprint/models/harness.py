"""Any backend of lm-eval as an engine: what it serves, imprint can measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from imprint.errors import ConfigError, nearest, require
from imprint.models.choices import option_scores
from imprint.models.engine import Generated, Identity, Likelihood, OptionScores, Question


@dataclass(frozen=True)
class LmEvalEngine:
    """An object of lm-eval's class ``LM``, answering as an ``Engine`` does.

    Token counts and cuts are known for backends that tell how they encode (``TemplateLM``); for
    others they are given as 0, and scores per token are not to be had.

    Attributes:
        lm: the backend.
        model: how the user named the model.
        backend: how lm-eval names the backend.
        settings: what it was made with.
    """

    lm: Any
    model: str
    backend: str = "custom"
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> Identity:
        """What answers."""
        return Identity(
            engine="lm-eval",
            model=self.model,
            device=str(self.lm.device) if getattr(self.lm, "device", None) else None,
            versions={"lm_eval": version("lm_eval")},
            details={"backend": self.backend, **self.settings},
        )

    @property
    def context(self) -> int | None:
        """The most tokens that the model reads at once, where the backend tells."""
        told = getattr(self.lm, "max_length", None)
        return told if isinstance(told, int) else None

    @property
    def tokenizer(self) -> Any:
        """The backend's tokenizer, where it has one."""
        return getattr(self.lm, "tokenizer", None)

    def loglikelihoods(self, requests: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Score each continuation after its context; a context may be empty."""
        found = self.lm.loglikelihood(self._instances("loglikelihood", requests))
        return [
            Likelihood(float(logprob), bool(greedy), *self._sizes(*texts))
            for (logprob, greedy), texts in zip(found, requests, strict=True)
        ]

    def choices(self, questions: Sequence[Question]) -> Iterator[OptionScores]:
        """Score the options of each question, in order."""
        return option_scores(self.loglikelihoods, questions)

    def rolling(self, texts: Sequence[str]) -> list[Likelihood]:
        """Score whole texts; whether every token is the most likely one is not told."""
        found = self.lm.loglikelihood_rolling(
            self._instances("loglikelihood_rolling", [(text,) for text in texts])
        )
        # the interface's words promise tuples, its backends give numbers
        sums = [one[0] if isinstance(one, tuple) else one for one in found]
        return [
            Likelihood(float(total), False, self._length(text))
            for total, text in zip(sums, texts, strict=True)
        ]

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

        The seed is given to torch; whether a backend heeds it is the backend's own affair. How a
        text ended and how many tokens it took is not told: the count is of the text given.
        """
        torch = require("torch", "models")
        how = {
            "until": list(stop),
            "max_gen_toks": max_new_tokens,
            "do_sample": temperature > 0,
            "temperature": temperature,
        }
        asked = [(prompt, dict(how)) for prompt in prompts for _ in range(n)]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            texts = self.lm.generate_until(self._instances("generate_until", asked))
        for number, text in enumerate(texts):
            tokens = self._length(text)
            full = tokens >= max_new_tokens
            yield Generated(number // n, number % n, text, tokens, "length" if full else "stop")

    def _instances(self, kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        make = require("lm_eval.api.instance", "lm-eval").Instance
        return [make(kind, {}, given, at) for at, given in enumerate(arguments)]

    def _sizes(self, context: str, continuation: str) -> tuple[int, int]:
        """Count the tokens scored and those cut, as the backend encodes them."""
        if not hasattr(self.lm, "_encode_pair"):
            return 0, 0
        if context:
            before, after = self.lm._encode_pair(context, continuation)
            room = self.context
            over = len(before) + len(after) - room - 1 if room else 0
            return len(after), max(0, over)
        ids = self.lm.tok_encode(continuation, add_special_tokens=False)
        return len(ids) - (ids[:1] == [self.lm.prefix_token_id]), 0

    def _length(self, text: str) -> int:
        encode = getattr(self.lm, "tok_encode", None)
        return len(encode(text, add_special_tokens=False)) if encode else 0


def lm_eval_engine(
    model: str, backend: str = "hf", settings: dict[str, Any] | None = None
) -> LmEvalEngine:
    """Make a backend of lm-eval by its name.

    Args:
        model: handed over as ``pretrained``.
        backend: as lm-eval's ``--model`` takes it: ``hf``, ``vllm``, ``sglang``, ``gguf``, …
        settings: more ``--model_args``.

    Raises:
        ConfigError: no such backend, or it does not take these settings.
        DependencyError: lm-eval, or what the backend needs, is not installed.
    """
    require("lm_eval.models", "lm-eval")  # its own backends register only while none has
    registry = require("lm_eval.api.registry", "lm-eval")
    if backend not in registry.model_registry:
        known = nearest(backend, registry.model_registry.keys())
        raise ConfigError(f"lm-eval has no backend {backend!r}; {known}")
    given = dict(settings or {})
    try:
        lm = registry.get_model(backend).create_from_arg_obj({"pretrained": model, **given})
    except (ImportError, TypeError, ValueError, OSError) as failed:
        reason = (str(failed).strip() or repr(failed)).splitlines()[0]
        raise ConfigError(
            f"lm-eval's backend {backend!r} cannot be made for {model!r}: {reason}"
        ) from failed
    return LmEvalEngine(lm, model, backend, given)
