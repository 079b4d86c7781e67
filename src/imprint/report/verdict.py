"""A verdict: a claim in words, and whether the evidence carries it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

State = Literal["holds", "does_not_hold", "undetermined"]
STATES: Final[tuple[State, ...]] = ("holds", "does_not_hold", "undetermined")
WORDS: Final[dict[State, str]] = {
    "holds": "holds",
    "does_not_hold": "does not hold",
    "undetermined": "undetermined",
}
# a state is never told by colour alone
SYMBOLS: Final[dict[State, str]] = {"holds": "✓", "does_not_hold": "✕", "undetermined": "?"}
SYNONYMS: Final[dict[str, State]] = {
    "holds": "holds",
    "reliable": "holds",
    "yes": "holds",
    "agrees": "holds",
    "does not hold": "does_not_hold",
    "unreliable": "does_not_hold",
    "no": "does_not_hold",
    "disagrees": "does_not_hold",
    "undetermined": "undetermined",
    "cannot tell": "undetermined",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One claim and its state.

    Attributes:
        text: the claim, a sentence.
        state: ``holds``, ``does_not_hold`` or ``undetermined``.
        detail: the numbers behind it, and what would decide it where it is undetermined.
    """

    text: str
    state: State
    detail: str = ""

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"state is one of {', '.join(STATES)}, not {self.state!r}")


def state_of(word: str) -> State | None:
    """Find the state that a job's own word stands for; ``None`` where it is none.

    >>> state_of("reliable"), state_of("does_not_hold"), state_of("maybe")
    ('holds', 'does_not_hold', None)
    """
    return SYNONYMS.get(word.replace("_", " ").lower())


def count(verdicts: Iterable[Verdict]) -> dict[State, int]:
    """Count the verdicts of each state; every state is a key."""
    found = Counter(verdict.state for verdict in verdicts)
    return {state: found[state] for state in STATES}
