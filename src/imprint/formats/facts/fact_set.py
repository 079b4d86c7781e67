"""Facts in one shape, whatever they were read from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from imprint.errors import DataError
from imprint.findings import Finding
from imprint.formats.facts.templates import Templates

FACTS: dict[str, Any] = {
    "fact": pl.String,
    "relation": pl.String,
    "subject": pl.String,
    "answers": pl.List(pl.String),
    "question": pl.String,
    "split": pl.String,
    "prompts": pl.List(pl.String),
}


@dataclass(frozen=True)
class FactSet:
    """Facts and the templates that ask for them.

    Attributes:
        facts: a row per fact: ``fact`` (id), ``relation``, ``subject`` (null where unknown),
            ``answers`` (the first is canonical), ``question``, ``split``, ``prompts`` (a row's own,
            each ending where the answer begins).
        templates: relation → templates that came with the facts.
        findings: what was noticed.
    """

    facts: pl.DataFrame
    templates: dict[str, Templates] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def fact_id(*parts: str | None) -> str:
    """Give a stable id from what tells a fact apart.

    >>> fact_id("P36", "test", "What is the capital of France?", "Paris")
    'P36-686d0b643968'
    """
    text = "\0".join(part or "" for part in parts)
    return f"{parts[0]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def frame_of(rows: Sequence[dict[str, Any]], where: str) -> tuple[pl.DataFrame, list[Finding]]:
    """Make the table; rows that repeat a fact word by word are dropped with a finding.

    Raises:
        DataError: there are no rows, or one id stands for two facts.
    """
    if not rows:
        raise DataError("holds no facts", where=where)
    frame = pl.DataFrame(rows, schema=FACTS)
    unique = frame.unique(maintain_order=True)
    twice = unique.filter(pl.col("fact").is_duplicated())
    if len(twice):
        raise DataError(f"the id {twice['fact'][0]!r} stands for two facts", where=where)
    dropped = len(frame) - len(unique)
    detail = f"{dropped:,} rows of {where} repeat an earlier one and are left out"
    return unique, [Finding("repeated_facts", detail, count=dropped)] if dropped else []


def checked_answers(answers: Iterable[Any], where: str) -> list[str]:
    """Give the answers without surrounding blanks.

    Raises:
        DataError: there is none, or one is empty or no text.
    """
    found = list(answers)
    if not found:
        raise DataError("the fact has no answer", where=where)
    for answer in found:
        if not isinstance(answer, str) or not answer.strip():
            raise DataError(f"an answer is {answer!r}, not a text", where=where)
    return [answer.strip() for answer in found]
