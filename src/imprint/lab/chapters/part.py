"""A part of a chapter, and the words in which numbers are told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from imprint.lab.chapters.chapter import Agreement, Chapter, Stance, Tables
from imprint.report import Section, State


@dataclass
class Part:
    """What one part of a chapter found.

    Attributes:
        answer: one sentence that answers the chapter's title, where this part does.
        judged: the claim that the chapter's state is about, where it is of this part.
        said: what else it found, in a sentence or two.
        states: of its claims.
        sections, tables, agreement, missing: as of the chapter.
    """

    answer: str = ""
    judged: str = ""
    said: str = ""
    states: list[State] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    tables: Tables = field(default_factory=dict)
    agreement: list[Agreement] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def join(number: int, title: str, parts: Iterable[Part]) -> Chapter:
    """Put a chapter together; its claims are those of its parts and of the papers.

    The verdict is the first part's answer; what else was said are the details.
    """
    found = list(parts)
    said = [part.said for part in found if part.said]
    answers = [part.answer for part in found if part.answer] or said[:1]
    chapter = Chapter(number, title, next(iter(answers), ""))
    chapter.judged = next((part.judged for part in found if part.judged), "")
    chapter.details = [one for one in said if one != chapter.verdict]
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
    if chapter.sections:
        chapter.sections.insert(0, opening(chapter))
    return chapter


def opening(chapter: Chapter) -> Section:
    """Make the section that a chapter begins with: what is judged, and the details."""
    section = Section(f"{chapter.number}. {chapter.title}")
    judged = [f"Judged: {chapter.judged}."] if chapter.judged else []
    section.text(*judged, *chapter.details)
    return section


def stance(low: float | None, high: float | None) -> Stance:
    """Judge a claim that a difference is above 0 by the difference's interval."""
    if low is None or high is None or not np.isfinite([low, high]).all() or low <= 0 <= high:
        return "cannot tell"
    return "agrees" if low > 0 else "disagrees"


def stance_of(found: State, *, agrees: State = "holds") -> Stance:
    """Say whether a state agrees with a paper, which expects the state ``agrees``."""
    if found == "undetermined":
        return "cannot tell"
    return "agrees" if found == agrees else "disagrees"


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
