"""How each fact is asked for: own prompts, templates, or few-shot variants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from imprint.errors import DataError
from imprint.formats.facts import Synonyms, Templates, accepted
from imprint.mastery.config import MasteryConfig
from imprint.mastery.matching import Matcher
from imprint.models.inverse_cdf import key

Row = dict[str, Any]
LINE = "\n"  # ends an answer in a few-shot prompt


@dataclass(frozen=True)
class Asked:
    """One fact and the prompts that ask for it.

    Attributes:
        fact: its id.
        relation, split: what it belongs to.
        answer: the canonical answer.
        names: all that counts as the answer.
        kind: ``own``, ``templates`` or ``few-shot``.
        prompts: each ends where the answer begins.
        shots: for few-shot prompts, the examples of each.
        strange: another fact's answer, for the null; ``None`` where all answers are the same.
    """

    fact: str
    relation: str
    split: str | None
    answer: str
    names: tuple[str, ...]
    kind: str
    prompts: tuple[str, ...]
    shots: tuple[tuple[tuple[str, str], ...], ...] = ()
    strange: tuple[str, ...] | None = None

    @property
    def matcher(self) -> Matcher:
        """Looks for the answer."""
        return Matcher(self.names)


def ask(
    facts: pl.DataFrame,
    templates: Mapping[str, Templates],
    synonyms: Synonyms,
    config: MasteryConfig,
) -> list[Asked]:
    """Prepare all facts, in their order.

    Raises:
        DataError: nothing asks for a fact: no prompts, no templates of its relation, no question.
    """
    rows = facts.rows(named=True)
    names = [tuple(accepted(row["answers"], synonyms)) for row in rows]
    others = strangers(rows, names, config.seed)
    shots = _Shots(rows, config)
    found = []
    for row, accept, strange in zip(rows, names, others, strict=True):
        kind, prompts, examples = _prompts(row, templates, shots, config)
        asked = Asked(
            row["fact"],
            row["relation"],
            row["split"],
            row["answers"][0],
            accept,
            kind,
            tuple(prompts),
            tuple(examples),
            strange,
        )
        found.append(asked)
    return found


def _prompts(
    row: Row, templates: Mapping[str, Templates], shots: _Shots, config: MasteryConfig
) -> tuple[str, Sequence[str], Sequence[Any]]:
    known = templates.get(row["relation"])
    if config.asking == "auto" and row["prompts"]:
        return "own", row["prompts"], ()
    if config.asking == "auto" and known and row["subject"] is not None:
        return "templates", known.prompts(row["subject"]), ()
    if row["question"]:
        return "few-shot", [row["question"]] * config.variants, list(shots.of(row))
    lacking = "question" if config.asking == "few-shot" else "templates of its relation"
    raise DataError(
        f"the fact {row['fact']!r} of {row['relation']!r} has no {lacking}",
        remedy="give --templates FILE, or rows with prompts or question.",
    )


class _Shots:
    """Examples for few-shot prompts: other questions of the relation, from train where it is."""

    def __init__(self, rows: Sequence[Row], config: MasteryConfig):
        self.config = config
        self.known: dict[str, list[tuple[str, str]]] = {}
        with_train = {row["relation"] for row in rows if row["split"] == "train"}
        for row in rows:
            if row["question"] and (row["split"] == "train" or row["relation"] not in with_train):
                shot = (row["question"], row["answers"][0])
                self.known.setdefault(row["relation"], []).append(shot)

    def of(self, row: Row) -> Iterator[tuple[tuple[str, str], ...]]:
        """Give the examples of each variant, drawn by the fact's id."""
        pool = self.known.get(row["relation"], [])
        count = self.config.prompting.num_fewshot
        for variant in range(self.config.variants):
            random = np.random.default_rng(key(self.config.seed, row["fact"], "shots", variant))
            picks: list[int] = random.permutation(len(pool))[: count + 1].tolist() if count else []
            others = [pool[n] for n in picks if pool[n][0] != row["question"]]
            yield tuple(others[:count])


def strangers(
    rows: Sequence[Row], names: Sequence[tuple[str, ...]], seed: int
) -> list[tuple[str, ...] | None]:
    """Give each fact the names of another fact's answer, drawn among those of its relation."""
    groups: dict[str, list[int]] = {}
    for n, row in enumerate(rows):
        groups.setdefault(row["relation"], []).append(n)
    found: list[tuple[str, ...] | None] = []
    for n, row in enumerate(rows):
        group = groups[row["relation"]]
        random = np.random.default_rng(key(seed, row["fact"], "stranger"))
        picks = random.integers(0, len(group), 32).tolist()
        other = (names[group[m]] for m in picks if not set(names[group[m]]) & set(names[n]))
        found.append(next(other, None))
    return found
