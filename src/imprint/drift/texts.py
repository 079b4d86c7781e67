"""The texts that drift is measured on, and the parts of them that count."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imprint.drift.conversations import Conversation, last_answer
from imprint.errors import DataError
from imprint.tables import load_frame, row_place

Span = tuple[int, int]  # characters from … up to …


@dataclass(frozen=True, slots=True)
class Sample:
    """One text.

    Attributes:
        name: what tells it apart, ``id`` of the row or its number from 0.
        text: the text; of a prompt–completion row the completion.
        domain: what it belongs to, where the row says so.
        prompt: what stands before the text and is not compared, ``None`` for a plain text.
        conversation: the turns that end in the prompt, where the row is a conversation.
        tuned_prompt: what stands before it for the tuned model, where that is another.
        spans: the parts of the text that are its answer; none where the row names none.
        place: file and line, for messages.
    """

    name: str
    text: str
    domain: str | None = None
    prompt: str | None = None
    conversation: Conversation | None = None
    tuned_prompt: str | None = None
    spans: tuple[Span, ...] = ()
    place: str = ""


def read_samples(
    path: Path, *, rename: Mapping[str, str] | None = None, answered: bool = True
) -> list[Sample]:
    """Read texts.

    A ``.txt`` holds texts separated by blank lines. A row of ``.jsonl``, ``.parquet`` or ``.csv``
    has ``text``, or ``prompt`` and ``completion``, or ``messages``, whose last assistant turn is
    the completion (``prompt`` and ``completion`` may be messages too); optionally ``id``,
    ``domain`` (or ``relation``), and its answer: ``spans``, a list of [start, end] in characters,
    or ``answer``, whose last occurrence in the text counts.

    Args:
        path: the file.
        rename: our name → the name in the file.
        answered: refuse messages without an answer; else all of them are a prompt.

    Raises:
        DataError: the file cannot be read, a row has no text, two rows share an ``id``, or an
            answer is not in its text; the message names file and line.
    """
    found = (
        _paragraphs(path) if path.suffix == ".txt" else list(_rows(path, rename or {}, answered))
    )
    seen: dict[str, str] = {}
    for sample in found:
        if sample.name in seen:
            problem = f"the id {sample.name!r} stands in {seen[sample.name]} too"
            raise DataError(problem, where=sample.place)
        seen[sample.name] = sample.place
    return found


def drawn(samples: Sequence[Sample], limit: int | None, seed: int) -> list[Sample]:
    """Take at most ``limit`` samples of each domain at random, in their order."""
    if limit is None:
        return list(samples)
    groups: dict[str | None, list[int]] = {}
    for number, sample in enumerate(samples):
        groups.setdefault(sample.domain, []).append(number)
    kept: list[int] = []
    for domain, members in groups.items():
        draw = random.Random(f"{seed} {domain}")  # noqa: S311
        kept += draw.sample(members, limit) if len(members) > limit else members
    return [samples[number] for number in sorted(kept)]


def _paragraphs(path: Path) -> list[Sample]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError("no such file", where=str(path)) from None
    except UnicodeDecodeError as wrong:
        raise DataError(f"is not UTF-8: {wrong.reason}", where=str(path)) from wrong
    except OSError as failed:
        raise DataError(f"cannot be read: {failed.strerror}", where=str(path)) from failed
    found: list[Sample] = []
    for piece in re.finditer(r"\S.*?(?=\n[^\S\n]*\n|\Z)", text, re.DOTALL):
        line = text.count("\n", 0, piece.start()) + 1
        place = f"{path}, line {line}"
        found.append(Sample(str(len(found)), piece[0].rstrip(), place=place))
    if not found:
        raise DataError("the file holds no text", where=str(path))
    return found


def _rows(path: Path, rename: Mapping[str, str], answered: bool) -> Iterator[Sample]:
    frame = load_frame(path)
    for ours, theirs in rename.items():
        if theirs not in frame.columns:
            raise DataError(f"no column {theirs!r} (mapped to {ours!r})", where=str(path))
    back = {theirs: ours for ours, theirs in rename.items()}
    frame = frame.drop([c for c in rename if c in frame.columns and c not in back]).rename(back)
    known = {"text", "messages"} & set(frame.columns)
    if not known and not {"prompt", "completion"} <= set(frame.columns):
        raise DataError(
            f"has neither 'text' nor 'messages' nor 'prompt' and 'completion'; its columns: "
            f"{', '.join(frame.columns[:12])}",
            where=str(path),
            remedy="name the column: --map text=THEIR_NAME.",
        )
    for number, row in enumerate(frame.iter_rows(named=True)):
        yield _sample(row, number, row_place(path, number), answered)


def _sample(row: Mapping[str, Any], number: int, place: str, answered: bool) -> Sample:
    text, prompt, conversation = _told(row, place, answered)
    for value in (text, prompt):
        if value is not None and not isinstance(value, str):
            problem = f"holds {type(value).__name__} where a text is expected"
            raise DataError(problem, where=place)
    if (answered or conversation is None) and not (text and text.strip()):
        raise DataError("has no text", where=place)
    name = row["id"] if row.get("id") is not None else number
    domain = row.get("domain") if row.get("domain") is not None else row.get("relation")
    belongs = None if domain is None else str(domain)
    sample = Sample(str(name), text or "", belongs, prompt, conversation, place=place)
    return replace(sample, spans=tuple(_spans(row, sample.text, place)))


def _told(
    row: Mapping[str, Any], place: str, answered: bool
) -> tuple[Any, Any, Conversation | None]:
    """Give the text, its prompt, and the conversation where the row is one."""
    prompt, completion, messages = (row.get(n) for n in ("prompt", "completion", "messages"))
    if isinstance(prompt, list) and isinstance(completion, list):
        messages = [*prompt, *completion]
    elif prompt is not None and completion is not None:
        return completion, prompt, None
    elif row.get("text") is not None or messages is None:
        return row.get("text"), None, None
    if not isinstance(messages, list):
        raise DataError(f"holds {type(messages).__name__} where messages are expected", where=place)
    conversation, answer = last_answer(messages, place, answered=answered)
    if answered and answer is None:
        raise DataError("the conversation has no turn of an assistant", where=place)
    return answer, conversation.question if conversation else None, conversation


def _spans(row: Mapping[str, Any], text: str, place: str) -> Iterator[Span]:
    for span in row.get("spans") or ():
        if len(span) != 2 or not 0 <= span[0] < span[1] <= len(text):
            raise DataError(f"the span {list(span)} lies outside the text", where=place)
        yield int(span[0]), int(span[1])
    answer = row.get("answer")
    if row.get("spans") is None and isinstance(answer, str) and answer:
        at = text.rfind(answer)
        if at < 0:
            raise DataError(f"the answer {answer[:60]!r} is not in the text", where=place)
        yield at, at + len(answer)
