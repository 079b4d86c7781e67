"""Conversations: the last assistant turn is the text, what stands before is its prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from imprint.errors import DataError
from imprint.models.prompting import Prompter, Shot


@dataclass(frozen=True, slots=True)
class Conversation:
    """What stands before an answer.

    Attributes:
        question: the user's last turn.
        shots: the turns before it, each of a user with its answer.
        system: the row's own system prompt, in place of --system-prompt.
    """

    question: str
    shots: tuple[Shot, ...] = ()
    system: str | None = None

    def context(self, prompter: Prompter) -> str:
        """Render it by one side's template, or as plain text, without a blank behind it."""
        if self.system is not None:
            told = replace(prompter.prompting, system_prompt=self.system)
            prompter = replace(prompter, prompting=told)
        return prompter.context(self.question, self.shots)


def last_answer(
    messages: Sequence[Any], place: str, *, answered: bool = True
) -> tuple[Conversation | None, str | None]:
    """Split messages before their last assistant turn.

    Args:
        messages: mappings with ``role`` and ``content``: a system turn, if any, then user and
            assistant in turn. A content may be a list of parts of type text.
        place: file and line.
        answered: leave out turns after the last answer; else they belong to the prompt, and an
            answer is one only at the very end.

    Returns:
        What stands before the answer and the answer, ``None`` where there is none of them.

    Raises:
        DataError: no such messages.
    """
    turns = [_turn(message, place) for message in messages]
    roles = [role for role, _ in turns]
    ends = range(len(roles)) if answered else range(len(roles) - 1, len(roles))
    at = max((n for n in ends if roles[n] == "assistant"), default=None)
    before, answer = (turns, None) if at is None else (turns[:at], turns[at][1])
    return _conversation(before, place) if before else None, answer


def _conversation(turns: Sequence[tuple[str, str]], place: str) -> Conversation:
    system = turns[0][1] if turns and turns[0][0] == "system" else None
    said = turns if system is None else turns[1:]
    roles = [role for role, _ in said]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise DataError(
            f"the turns before the last answer are {', '.join(roles) or 'none'}; user and "
            "assistant must alternate and end with user",
            where=place,
        )
    texts = [text for _, text in said]
    return Conversation(texts[-1], tuple(zip(texts[:-1:2], texts[1::2], strict=True)), system)


def _turn(message: Any, place: str) -> tuple[str, str]:
    known = isinstance(message, Mapping)
    role, content = (message.get("role"), message.get("content")) if known else (None, None)
    if isinstance(content, Sequence) and not isinstance(content, str):
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        content = "".join(texts) if len(texts) == len(parts) else None
    if not isinstance(role, str) or not isinstance(content, str):
        raise DataError(
            "a message has no role, or no text as its content",
            where=place,
            remedy='write {"role": "user", "content": "…"}.',
        )
    return role, content
