"""What raw web text has besides its matter: boilerplate, slips, and documents met before."""

from __future__ import annotations

from imprint.lab.world.dice import Dice

BOILERPLATE = (
    "click here to read more .",
    "share this page with all people .",
    "click here to see the first page .",
    "this page belongs to the owner .",
)
SLIPS = 8  # percent of sentences
PADDED = 50  # percent of documents with boilerplate
REPEATED = 5  # percent of documents
REMEMBERED = 50  # of the last so many documents one is repeated


def soiled(said: list[str], dice: Dice) -> list[str]:
    """Add boilerplate to a document, and slips to its sentences."""
    found = [_slip(one, dice) if dice.percent(SLIPS) else one for one in said]
    if dice.percent(PADDED):
        found.insert(0 if dice.percent(50) else len(found), dice.pick(BOILERPLATE))
    return found


def _slip(sentence: str, dice: Dice) -> str:
    """Drop, double or swap words; the full stop stays, so that sentences never run together."""
    *words, stop = sentence.split()
    at = dice.below(len(words) - 1)
    case = dice.below(3)
    if words[at] == ".":
        return sentence
    if case == 0:
        del words[at]
    elif case == 1:
        words.insert(at, words[at])
    elif words[at + 1] != ".":
        words[at], words[at + 1] = words[at + 1], words[at]
    return " ".join((*words, stop))
