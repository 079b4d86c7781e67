"""Questions with one answer, put to models that are compared with each other.

Every model is asked in the same words: by the tokenizer's chat template where it has one, as it is
fine-tuned, else by the plain question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from imprint.errors import DataError
from imprint.models import Loaded, LocalEngine, Prompter, Prompting, load, prompter
from imprint.tables import load_frame

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """A question.

    Attributes:
        name: of the item.
        group: domain, relation or split that it belongs to.
        prompt, answer: the texts.
    """

    name: str
    group: str
    prompt: str
    answer: str


def of_rows(path: Path, group: str) -> list[Question]:
    """Read rows of ``prompt`` (or ``question``) and ``answer`` (or ``answers``), or ``messages``.

    Rows without both are left out.

    Args:
        path: JSON lines, Parquet or CSV.
        group: the column that groups them.

    Raises:
        DataError: the file cannot be read, or no row has a question and an answer.
    """
    found = []
    for number, row in enumerate(load_frame(path).iter_rows(named=True)):
        asked, answer = turns(row)
        if asked and answer:
            name = row.get("id") or row.get("fact") or number
            found.append(Question(str(name), str(row.get(group) or ""), asked, answer))
    if not found:
        raise DataError("no row has a question and an answer", where=str(path))
    return found


def turns(row: Row) -> tuple[str, str]:
    """Give the question and the answer of a row, empty where it has none."""
    messages = row.get("messages")
    if messages and len(messages) >= 2 and messages[-1]["role"] == "assistant":
        return str(messages[-2]["content"]), str(messages[-1]["content"])
    asked = row.get("prompt") or row.get("question")
    answers = row.get("answers")
    answer = row.get("answer") or (answers[0] if answers else None) or row.get("completion")
    return str(asked or "").strip(), str(answer or "").strip()


def some(
    questions: Sequence[Question], limit: int | None, seed: int, *, each: bool = False
) -> list[Question]:
    """Draw questions, of all or of each group, in their own order.

    Args:
        questions: to draw from.
        limit: so many; all where ``None``.
        seed: of the draw; with the same seed a smaller draw lies inside a larger one.
        each: draw so many of each group.
    """
    if limit is None:
        return list(questions)
    groups: dict[str, list[int]] = {}
    for at, one in enumerate(questions):
        groups.setdefault(one.group if each else "", []).append(at)
    chances, kept = np.random.default_rng(seed), []
    for places in groups.values():
        kept += [places[at] for at in chances.permutation(len(places))[:limit]]
    return [questions[at] for at in sorted(kept)]


def ask(
    models: Sequence[str], questions: Sequence[Question], device: str | None = None
) -> pl.DataFrame:
    """Put questions to models.

    Returns:
        A row per model (its place in ``models``) and question: ``model``, ``item``, ``group``,
        ``logprob`` (mean over the tokens of the answer, nats), ``correct`` (whether greedy
        decoding says the answer).
    """
    return pl.concat([_asked(at, load(m, device=device), questions) for at, m in enumerate(models)])


def scores(loaded: Loaded, questions: Sequence[Question]) -> pl.DataFrame:
    """Give ``logprob`` and ``correct`` of each question."""
    how = rendering(loaded.tokenizer)
    pairs = [(how.context(one.prompt), how.delimiter + one.answer) for one in questions]
    found = LocalEngine(loaded).loglikelihoods(pairs)
    return pl.DataFrame(
        {
            "logprob": [one.logprob / max(one.tokens, 1) for one in found],
            "correct": [one.greedy for one in found],
        },
        schema={"logprob": pl.Float64, "correct": pl.Boolean},
    )


def rendering(tokenizer: Any) -> Prompter:
    """Choose how questions are put to a model."""
    return prompter(Prompting(template_of(tokenizer)), tokenizer)


def template_of(tokenizer: Any) -> str:
    """Name the chat template that is used: ``auto`` where there is one."""
    return "auto" if getattr(tokenizer, "chat_template", None) else "none"


def taught(questions: Iterable[Question], tokenizer: Any) -> list[dict[str, Any]]:
    """Make SFT rows of questions, in the words in which they are asked."""
    if template_of(tokenizer) == "none":
        return [{"prompt": q.prompt, "completion": f" {q.answer}"} for q in questions]
    return [
        {
            "messages": [
                {"role": "user", "content": q.prompt},
                {"role": "assistant", "content": q.answer},
            ]
        }
        for q in questions
    ]


def _asked(number: int, loaded: Loaded, questions: Sequence[Question]) -> pl.DataFrame:
    about = pl.DataFrame(
        {
            "model": [number] * len(questions),
            "item": [one.name for one in questions],
            "group": [one.group for one in questions],
        },
        schema={"model": pl.Int64, "item": pl.String, "group": pl.String},
    )
    return pl.concat([about, scores(loaded, questions)], how="horizontal")
