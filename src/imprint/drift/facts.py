"""Facts of a mastery run: the base goes on with its best template, the tuned model answers.

The base's prompt is, per relation, the statement template with the highest success rate over all
samples (arXiv 2509.16596, 3.2); of equal templates the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from imprint.drift.config import DriftConfig, FactPrompts
from imprint.drift.texts import Sample
from imprint.errors import DataError
from imprint.tables import load_frame

NEEDED = {
    "mastery": ("fact", "relation", "level", "answers", "question"),
    "templates": ("fact", "template", "prompt", "hits", "samples"),
}


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact as both models are asked for it.

    Attributes:
        fact, relation: what it is.
        level: how well the base masters it, 0 to 4.
        answers: all that count; the first is canonical.
        statement: the base's prompt, ending right before the answer.
        question: the tuned model's prompt.
    """

    fact: str
    relation: str
    level: int
    answers: tuple[str, ...]
    statement: str
    question: str

    def sample(self, prompts: FactPrompts) -> Sample:
        """Give the fact as a text whose completion is the canonical answer."""
        base = self.question if prompts == "question" else self.statement
        tuned = self.statement if prompts == "statement" else self.question
        # the blank belongs to the answer's first token
        return Sample(
            self.fact,
            f" {self.answers[0].strip()}",
            self.relation,
            base.rstrip(),
            tuned_prompt=tuned.rstrip(),
            place=f"fact {self.fact}",
        )


def read_facts(run: Path, prompts: FactPrompts = "paper") -> tuple[list[Fact], int]:
    """Read the facts of a mastery run: its tables ``mastery`` and ``templates``.

    Args:
        run: its folder.
        prompts: how facts are asked; only ``statement`` does without a question.

    Returns:
        The facts, and how many more there are that cannot be asked.

    Raises:
        DataError: it is no such run, or a table lacks what is needed.
    """
    mastery, templates = (_table(run, name) for name in NEEDED)
    best = best_prompts(mastery, templates)
    found = [
        Fact(
            str(row["fact"]),
            str(row["relation"]),
            int(row["level"]),
            tuple(row["answers"]),
            best[row["fact"]],
            row["question"] or "",
        )
        for row in mastery.iter_rows(named=True)
        if row["fact"] in best and row["answers"] and (row["question"] or prompts == "statement")
    ]
    if not found:
        raise DataError(
            "holds no fact with question, answer and a template that was sampled",
            where=str(run),
            remedy="first-token drift needs a run over facts with templates; facts without a "
            "question can be asked by --fact-prompts statement.",
        )
    return found, len(mastery) - len(found)


def best_prompts(mastery: pl.DataFrame, templates: pl.DataFrame) -> dict[str, str]:
    """Give each fact its prompt by the most successful template of its relation.

    Args:
        mastery: ``fact``, ``relation``.
        templates: ``fact``, ``template`` (its number), ``prompt``, ``hits``, ``samples``.
    """
    rows = templates.join(mastery.select("fact", "relation"), on="fact", how="inner")
    best = (
        rows.group_by("relation", "template")
        .agg(pl.col("hits", "samples").sum())
        .filter(pl.col("samples") > 0)
        .with_columns(rate=pl.col("hits") / pl.col("samples"))
        .sort("rate", "template", descending=[True, False])
        .unique("relation", keep="first", maintain_order=True)
    )
    kept = rows.join(best.select("relation", "template"), on=["relation", "template"], how="inner")
    return dict(kept.drop_nulls("prompt").select("fact", "prompt").iter_rows())


def chosen(facts: Sequence[Fact], config: DriftConfig) -> list[Fact]:
    """Keep the facts of the levels that are asked for.

    Raises:
        DataError: there is none.
    """
    found = [fact for fact in facts if not config.levels or fact.level in config.levels]
    if not found:
        there = sorted({fact.level for fact in facts})
        raise DataError(
            f"no fact has level {', '.join(map(str, config.levels))}; the run has levels "
            f"{', '.join(map(str, there))}"
        )
    return found


def begins_near(text: str, answers: Sequence[str], tokenizer: Any, near: int) -> bool:
    """Tell whether an answer begins within the first tokens of a completion."""
    places = [text.find(answer) for answer in answers if answer in text]
    if not places:
        return False
    before = tokenizer(text[: min(places)].rstrip(), add_special_tokens=False)["input_ids"]
    return len(before) < near


def _table(run: Path, name: str) -> pl.DataFrame:
    if not run.is_dir():
        raise DataError("no such folder", where=str(run), remedy="name a run of imprint mastery.")
    path = run / "tables" / f"{name}.parquet"
    if not path.is_file():
        raise DataError(
            f"has no table {name!r}, so it is no finished run of `imprint mastery`",
            where=str(run),
            remedy="name the run's folder, the one that holds result.json.",
        )
    frame = load_frame(path)
    lacking = [column for column in NEEDED[name] if column not in frame.columns]
    if lacking:
        raise DataError(f"has no column {lacking[0]!r}", where=str(path))
    return frame


def with_facts(tokens: pl.DataFrame, facts: Mapping[int, Fact]) -> pl.DataFrame:
    """Give the first token of every fact its relation and level.

    Args:
        tokens: rows of a measurement over facts, ``sample`` the number of the fact.
        facts: number → fact.
    """
    known = pl.DataFrame(
        {
            "sample": list(facts),
            "fact": [fact.fact for fact in facts.values()],
            "relation": [fact.relation for fact in facts.values()],
            "level": [fact.level for fact in facts.values()],
        },
        schema={"sample": pl.Int64, "fact": pl.String, "relation": pl.String, "level": pl.Int64},
    )
    first = tokens.filter(pl.col("position") == 0).join(known, on="sample", how="left")
    names = ["fact", "relation", "level"]
    return first.select("sample", *names, pl.exclude("sample", "position", *names))
