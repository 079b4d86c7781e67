"""From a question to the text that a model reads: chat template, system prompt, few-shot examples.

A base model reads plain text, a tuned one often the template it was tuned with. The choice changes
numbers, so it travels with every row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imprint.errors import ConfigError, require

Shot = tuple[str, str]  # a question and its answer
NONE, AUTO = "none", "auto"


@dataclass(frozen=True, slots=True)
class Prompting:
    """How questions are put to a model.

    Attributes:
        chat_template: ``none``, ``auto`` (the tokenizer's own) or the path of a Jinja file.
        system_prompt: what stands before everything else.
        num_fewshot: how many answered examples stand before each question.
    """

    chat_template: str = NONE
    system_prompt: str | None = None
    num_fewshot: int = 0

    def __post_init__(self) -> None:
        if self.num_fewshot < 0:
            raise ConfigError(f"--num-fewshot {self.num_fewshot} is below 0")


@dataclass(frozen=True, slots=True)
class Prompter:
    """Renders questions for one model.

    Attributes:
        prompting: the choice that was made.
        template: the Jinja text, ``None`` without a template.
        special: names such as ``bos_token`` that a template may use.
        between: what separates examples in plain text.
    """

    prompting: Prompting = Prompting()
    template: str | None = None
    special: dict[str, str] = field(default_factory=dict)
    between: str = "\n\n"

    @property
    def delimiter(self) -> str:
        """What stands between a context and an answer: a blank, nothing after a template."""
        return "" if self.template is not None else " "

    @property
    def columns(self) -> dict[str, str | int | None]:
        """The choice as columns of a row; a template is told apart by the start of its SHA-256."""
        name = self.prompting.chat_template
        if self.template is not None:
            digest = hashlib.sha256(self.template.encode()).hexdigest()[:12]
            name = f"{AUTO if name == AUTO else Path(name).name}:{digest}"
        return {
            "chat_template": name,
            "system_prompt": self.prompting.system_prompt,
            "num_fewshot": self.prompting.num_fewshot,
        }

    def context(self, question: str, shots: Sequence[Shot] = ()) -> str:
        """Give the text that an answer follows.

        Args:
            question: the user's turn.
            shots: answered examples before it; with a template each is a turn of its own.

        Raises:
            ConfigError: the template cannot render these turns.
        """
        if self.template is None:
            told = [f"{asked}{self.delimiter}{answer}" for asked, answer in shots]
            system = [self.prompting.system_prompt] if self.prompting.system_prompt else []
            return self.between.join([*system, *told, question])
        return self._rendered(self._turns(question, shots))

    def _turns(self, question: str, shots: Sequence[Shot]) -> list[dict[str, str]]:
        system = self.prompting.system_prompt
        turns = [{"role": "system", "content": system}] if system else []
        for asked, answer in shots:
            turns.append({"role": "user", "content": asked})
            turns.append({"role": "assistant", "content": answer})
        return [*turns, {"role": "user", "content": question}]

    def _rendered(self, turns: list[dict[str, str]]) -> str:
        chat: Any = require("transformers.utils.chat_template_utils", "models")
        from jinja2 import TemplateError

        try:
            texts = chat.render_jinja_template(
                conversations=[turns],
                chat_template=self.template,
                add_generation_prompt=True,
                **self.special,
            )[0]
        except (TemplateError, TypeError, ValueError) as failed:
            system = " (some templates allow no system prompt)" if len(turns) > 1 else ""
            raise ConfigError(
                f"the chat template cannot render the prompt: {failed}{system}",
                where=self.prompting.chat_template,
                remedy="use another template, or --chat-template none.",
            ) from failed
        return str(texts[0])


def prompter(prompting: Prompting, tokenizer: Any = None) -> Prompter:
    """Find the template that was chosen.

    Args:
        prompting: the choice.
        tokenizer: of the model, where there is one; ``auto`` needs it.

    Raises:
        ConfigError: the tokenizer has no template, or the file cannot be read.
    """
    if prompting.chat_template == NONE:
        return Prompter(prompting)
    special = dict(tokenizer.special_tokens_map) if tokenizer is not None else {}
    text = _own(tokenizer) if prompting.chat_template == AUTO else _read(prompting.chat_template)
    return Prompter(prompting, text, {k: str(v) for k, v in special.items()})


def _own(tokenizer: Any) -> str:
    if tokenizer is None or not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            "--chat-template auto, but the model's tokenizer brings no chat template",
            remedy="use --chat-template none, or give the path of a Jinja file.",
        )
    return str(tokenizer.get_chat_template())


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as failed:
        raise ConfigError(
            f"--chat-template {path!r} cannot be read: {failed}",
            remedy="choose none, auto or the path of a Jinja file.",
        ) from failed
