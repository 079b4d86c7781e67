"""An engine of ours as the model that lm-eval's evaluator asks."""

from __future__ import annotations

import hashlib
from typing import Any

from imprint.errors import ConfigError, require
from imprint.models import Engine, Prompter


def engine_lm(engine: Engine, prompter: Prompter) -> Any:
    """Wrap an engine in lm-eval's class ``LM``.

    Its ``cuts`` hold, by the sha256 of a context, the most tokens that were cut from it.

    Raises:
        DependencyError: lm-eval is not installed.
    """
    base: Any = require("lm_eval.api.model", "lm-eval").LM

    class EngineLM(base):  # type: ignore[misc]
        """Hands every request on to the engine."""

        def __init__(self) -> None:
            super().__init__()
            self.name = engine.identity.model
            self.cuts: dict[str, int] = {}

        @property
        def tokenizer_name(self) -> str:
            return f"{self.name}/{prompter.columns['chat_template']}"

        def get_model_info(self) -> dict[str, Any]:
            identity = engine.identity
            return {"model_dtype": identity.dtype, "model_engine": f"imprint {identity.engine}"}

        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            found = engine.loglikelihoods([request.args for request in requests])
            for request, one in zip(requests, found, strict=True):
                key = hashlib.sha256(request.args[0].encode()).hexdigest()
                self.cuts[key] = max(one.cut, self.cuts.get(key, 0))
            return [(one.logprob, one.greedy) for one in found]

        def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
            return [one.logprob for one in engine.rolling([r.args[0] for r in requests])]

        def generate_until(self, requests: list[Any]) -> list[str]:
            found: dict[int, str] = {}
            groups: dict[str, list[int]] = {}
            for at, request in enumerate(requests):
                groups.setdefault(repr(request.args[1]), []).append(at)
            for places in groups.values():
                texts = [requests[at].args[0] for at in places]
                settings = _settings(dict(requests[places[0]].args[1]))
                for at, one in zip(places, engine.generate(texts, **settings), strict=True):
                    found[at] = one.text
            return [found[at] for at in range(len(requests))]

        def chat_template(self, chat_template: bool | str = False) -> str:
            return prompter.template or ""

        def apply_chat_template(
            self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
        ) -> str:
            if prompter.template is None:
                raise ConfigError("no chat template was chosen", remedy="--chat-template auto.")
            chat: Any = require("transformers.utils.chat_template_utils", "models")
            texts, _ = chat.render_jinja_template(
                conversations=[chat_history],
                chat_template=prompter.template,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
                **prompter.special,
            )
            return str(texts[0])

    return EngineLM()


def _settings(how: dict[str, Any]) -> dict[str, Any]:
    """Read a request's generation settings; what it does not say is as in lm-eval's ``hf``."""
    until = how.get("until") or []
    heat = how.get("temperature")
    drawn = how.get("do_sample", bool(heat))
    return {
        "stop": [until] if isinstance(until, str) else list(until),
        "max_new_tokens": int(how.get("max_gen_toks", 256)),
        "temperature": float(1.0 if heat is None else heat) if drawn else 0.0,
    }
