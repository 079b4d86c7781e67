"""A part of a chapter, and the words in which numbers are told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from imprint.lab.chapters.chapter import Agreement, Chapter, Stance, Tables
from imprint.report import Section, State
from imprint.stats import paired_difference


@dataclass
class Part:
    """What one part of a chapter found.

    Attributes:
        said: its sentences of the verdict.
        states: of its claims.
        sections, tables, agreement, missing: as of the chapter.
    """

    said: str = ""
    states: list[State] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    tables: Tables = field(default_factory=dict)
    agreement: list[Agreement] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def join(number: int, title: str, parts: Iterable[Part]) -> Chapter:
    """Put a chapter together; its claims are those of its parts and of the papers."""
    found = list(parts)
    chapter = Chapter(number, title, " ".join(part.said for part in found if part.said))
    stances = [a.stance for part in found for a in part.agreement]
    states = [state for part in found for state in part.states]
    open_claims = states.count("undetermined") + stances.count("cannot tell")
    chapter.decided, chapter.undecided = len(states) + len(stances) - open_claims, open_claims
    for part in found:
        chapter.sections += part.sections
        chapter.tables |= part.tables
        chapter.agreement += part.agreement
        chapter.missing += part.missing
    chapter.verdict = chapter.verdict or f"Not written: {' '.join(chapter.missing)}"
    return chapter


def stance(low: float | None, high: float | None) -> Stance:
    """Judge a claim that a difference is above 0 by the difference's interval."""
    if low is None or high is None or not np.isfinite([low, high]).all() or low <= 0 <= high:
        return "cannot tell"
    return "agrees" if low > 0 else "disagrees"


def state(low: float | None, high: float | None) -> State:
    """Say the same as the state of a verdict."""
    found: dict[Stance, State] = {"agrees": "holds", "disagrees": "does_not_hold"}
    return found.get(stance(low, high), "undetermined")


def interval(mean: float | None, low: float | None, high: float | None, form: str = ".3g") -> str:
    """Write a number with its interval."""
    if mean is None or not np.isfinite(mean):
        return "undefined"
    told = f"{mean:{form}}"
    if low is not None and high is not None and np.isfinite([low, high]).all():
        told += f" [{low:{form}}, {high:{form}}]"
    return told.replace("-", "−")


def compared(
    frame: pl.DataFrame, one: Iterable[str], other: Iterable[str], value: str, by: str
) -> tuple[float, float, float]:
    """Compare the mean of models with that of others on the same texts: difference and interval.

    Args:
        frame: ``model``, the column ``by`` (texts) and ``value``.
        one, other: names of models.

    Returns:
        Mean of one − other over texts, with Student's 95 % interval; NaN where it is undefined.
    """
    sides = [
        frame.filter(pl.col("model").is_in(list(names))).group_by(by).agg(pl.col(value).mean())
        for names in (one, other)
    ]
    both = sides[0].join(sides[1], on=by, suffix="_other").sort(by)
    found = paired_difference(both[value].to_numpy(), both[f"{value}_other"].to_numpy())
    return found.mean, found.low, found.high
