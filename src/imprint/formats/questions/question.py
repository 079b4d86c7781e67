"""A multiple-choice question: a context, its options, and which of them are right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Question:
    """One item to score.

    Attributes:
        item: sha256 of the row, as lm-eval's ``doc_hash``; ``…#2`` where a row repeats.
        context: what stands before every option.
        options: the options' texts, without the delimiter before them.
        golds: indices of the right options.
        contexts: one context per option where the contexts vary and the continuation is common
            (a blank inside a sentence); then ``options`` all hold that continuation.
        subset: a part of the benchmark (a subject), where the rows name one.
        row: the row as read.
        line: its line in the file, counted from 1.
    """

    item: str
    context: str
    options: tuple[str, ...]
    golds: tuple[int, ...]
    contexts: tuple[str, ...] = ()
    subset: str | None = None
    row: Mapping[str, Any] = field(default_factory=dict)
    line: int = 0

    @property
    def measured(self) -> tuple[str, ...]:
        """The texts whose length normalises a score: the options, or the contexts that vary."""
        return self.contexts or self.options


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Questions of one file.

    Attributes:
        name: of the benchmark.
        path: the file.
        layout: name of the layout by which it was read.
        questions: what may be scored, in file order.
        shots: questions that may only serve as examples, where the rows say so.
        delimiter: what stands between context and option.
    """

    name: str
    path: Path
    layout: str
    questions: tuple[Question, ...]
    shots: tuple[Question, ...] = ()
    delimiter: str = " "


def row_hash(row: Mapping[str, Any]) -> str:
    """Give the sha256 by which lm-eval tells documents apart (its ``doc_hash``).

    >>> row_hash({"question": "2 + 2"})[:8]
    '19efb089'
    """
    return hashlib.sha256(json.dumps(row, indent=2, ensure_ascii=False).encode()).hexdigest()
