"""Facts of the user's own, as JSON lines: with a subject, with prompts, or a question and answer.

A row may be

- ``{"relation", "subject", "answers"}``: asked for by the templates of its relation;
- ``{"prompts": ["…", …], "answers"}``: asked for by prompts of its own;
- ``{"question", "answer"}`` or ``{"prompt", "completion"}``: asked for by few-shot prompts.

``answers`` is a list, ``answer`` or ``object`` one text. ``fact`` (id), ``relation``, ``question``
and ``split`` may stand beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imprint.errors import DataError
from imprint.formats.facts.fact_set import FactSet, checked_answers, fact_id, frame_of
from imprint.formats.json_input import Object, need, optional, parse_lines

NO_RELATION = "facts"
SINGLE = ("answer", "object", "completion")


def read_own_rows(path: Path, rename: Mapping[str, str] | None = None) -> FactSet:
    """Read facts of any of the three forms.

    Args:
        path: the file.
        rename: our field → the name in the file.

    Raises:
        DataError: a row lacks an answer, or what is needed to ask for it.
    """
    with path.open("rb") as lines:
        named = (
            (where, _renamed(row, rename or {}, where))
            for where, row in parse_lines(lines, str(path))
        )
        rows = [_row(row, where) for where, row in named]
    facts, findings = frame_of(rows, str(path))
    return FactSet(facts, {}, findings)


def _renamed(row: Object, rename: Mapping[str, str], where: str) -> Object:
    return {**row, **{ours: need(row, theirs, object, where) for ours, theirs in rename.items()}}


def _row(row: Object, where: str) -> dict[str, Any]:
    answers = _answers(row, where)
    subject = optional(row, "subject", str, where)
    prompts = _prompts(row, where)
    question = optional(row, "question", str, where) or optional(row, "prompt", str, where)
    relation = optional(row, "relation", str, where) or NO_RELATION
    if subject is None and not prompts and not question:
        raise DataError(
            "the row has neither subject, nor prompts, nor question",
            where=where,
            remedy="see the forms of rows in docs/mastery.md.",
        )
    split = optional(row, "split", str, where)
    given = optional(row, "fact", (str, int), where)
    identity = (relation, split, subject, question, *(prompts or ()), *answers)
    return {
        "fact": fact_id(*identity) if given is None else str(given),
        "relation": relation,
        "subject": subject,
        "answers": answers,
        "question": question,
        "split": split,
        "prompts": prompts,
    }


def _answers(row: Object, where: str) -> list[str]:
    if row.get("answers") is not None:
        return checked_answers(need(row, "answers", list, where), where)
    for name in SINGLE:
        if row.get(name) is not None:
            return checked_answers([need(row, name, str, where)], where)
    raise DataError("the fact has no answer", where=where, remedy="give answers or answer.")


def _prompts(row: Object, where: str) -> list[str] | None:
    found: list[Any] | None = optional(row, "prompts", list, where)
    if found is None:
        return None
    if not found or not all(isinstance(text, str) and text.strip() for text in found):
        raise DataError("prompts is no list of texts", where=where)
    return [text.rstrip() for text in found]
