"""Words and meanings: words with two senses told apart by what stands near them, and synonyms."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sense:
    """One meaning of a word.

    Attributes:
        word: ``bat``.
        gloss: what it means there, one word shared by the senses of its field: ``sport``.
        contexts: words that stand near it in this sense.
    """

    word: str
    gloss: str
    contexts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Synonyms:
    """Two words of one meaning, and a word of the opposite meaning.

    Attributes:
        first, second: mean the same.
        opposite: means the contrary.
    """

    first: str
    second: str
    opposite: str


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIELDS = {
    "shore": _words("harbor ferry tide beach sail foam"),
    "trade": _words("coin loan purse debt price buyer"),
    "sport": _words("ball goal team player race medal"),
    "music": _words("drum flute harp concert violin piano"),
    "nature": _words("bush moss fern thorn meadow vine"),
    "body": _words("finger thumb wrist elbow neck arm"),
}
_SENSES = (
    "bank shore trade",
    "bat sport nature",
    "pitch sport music",
    "palm nature body",
    "wave shore body",
    "note trade music",
    "trunk nature body",
    "bass shore music",
    "match sport trade",
    "ring body trade",
    "bow shore music",
    "bark nature shore",
)
SENSES = tuple(
    Sense(word, gloss, FIELDS[gloss])
    for word, *glosses in (row.split() for row in _SENSES)
    for gloss in glosses
)
SYNONYMS = tuple(
    Synonyms(*row.split())
    for row in (
        "big large small",
        "tiny little huge",
        "quick fast slow",
        "clever smart foolish",
        "costly dear cheap",
        "pretty lovely ugly",
        "strange odd normal",
        "daring bold timid",
        "loud noisy quiet",
        "clean neat filthy",
        "weak feeble strong",
        "calm peaceful stormy",
        "right correct mistaken",
        "young youthful aged",
    )
)
