"""Prompts with answers to verify, for rollouts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imprint.errors import DataError, nearest
from imprint.formats.questions.question import row_hash
from imprint.formats.questions.reading import read_rows, renamed

Message = dict[str, str]
ANSWERS = ("answer", "answers", "ground_truth", "solution", "target")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt.

    Attributes:
        item: ``id`` of the row, else the sha256 of the row.
        text: the prompt as it stands; ``None`` where messages are given.
        messages: a conversation that ends with the user, where the row gives one.
        answers: what counts as right; a verifier reads them.
        domain: ``domain`` of the row, where it has one.
        open: a plain question, rendered with an answer line after it.
        row, line: the row, and its line in the file.
    """

    item: str
    text: str | None
    messages: tuple[Message, ...]
    answers: tuple[str, ...]
    domain: str | None = None
    open: bool = False
    row: Mapping[str, Any] = field(default_factory=dict)
    line: int = 0


def read_prompts(path: Path, *, rename: Mapping[str, str] | None = None) -> list[Prompt]:
    """Read prompts from JSON lines (may be gzipped).

    A row has ``prompt`` (a text or a list of messages), ``messages``, or ``question``; and
    ``answer``, ``answers``, ``ground_truth``, ``solution`` or ``target`` (a text, a number or a
    list); optionally ``id`` and ``domain``.

    Raises:
        DataError: the file cannot be read, a row has no prompt or no answer, or two rows share an
            id; the message names file and line.
    """
    found: list[Prompt] = []
    seen: Counter[str] = Counter()
    for place, raw in read_rows(path):
        row = renamed(raw, rename or {}, place)
        item = str(row["id"]) if row.get("id") is not None else row_hash(row)
        seen[item] += 1
        if seen[item] > 1:
            if row.get("id") is not None:
                raise DataError(f"the id {item!r} stands twice", where=place)
            item = f"{item}#{seen[item]}"
        found.append(_prompt(row, item, place))
    return found


def _prompt(row: dict[str, Any], item: str, place: str) -> Prompt:
    text, messages, is_open = _asked(row, place)
    domain = None if row.get("domain") is None else str(row["domain"])
    line = int(place.rpartition(" ")[2])
    return Prompt(item, text, messages, _answers(row, place), domain, is_open, row, line)


def _asked(row: dict[str, Any], place: str) -> tuple[str | None, tuple[Message, ...], bool]:
    given = row.get("prompt", row.get("messages"))
    if isinstance(given, str) and given.strip():
        return given, (), False
    if isinstance(given, list) and given:
        return None, _messages(given, place), False
    question = row.get("question")
    if isinstance(question, str) and question.strip():
        return f"Question: {question.strip()}\nAnswer:", (), True
    raise DataError(
        f"the row has no prompt; {nearest('prompt', row)}",
        where=place,
        remedy="give `prompt` (a text or messages) or `question`, or --map prompt=THEIR_NAME.",
    )


def _messages(given: list[Any], place: str) -> tuple[Message, ...]:
    for message in given:
        whole = isinstance(message, dict) and all(
            isinstance(message.get(key), str) for key in ("role", "content")
        )
        if not whole:
            raise DataError(f"a message is {message!r:.60}, without role and content", where=place)
    return tuple({"role": m["role"], "content": m["content"]} for m in given)


def _answers(row: dict[str, Any], place: str) -> tuple[str, ...]:
    name = next((name for name in ANSWERS if row.get(name) is not None), None)
    value = None if name is None else row[name]
    listed = value if isinstance(value, list) else [value]
    texts = tuple(str(entry) for entry in listed if isinstance(entry, str | int | float))
    if not texts or len(texts) != len(listed) or not all(text.strip() for text in texts):
        raise DataError(
            f"the row has no answer to verify (found {value!r:.60})",
            where=place,
            remedy=f"give one of {', '.join(ANSWERS)}, or --map answer=THEIR_NAME.",
        )
    return texts
