"""What no corpus ever says, though it follows from what corpora do say."""

from __future__ import annotations

from dataclasses import dataclass

from imprint.lab.world.dice import Dice
from imprint.lab.world.kinds import CLASSES
from imprint.lab.world.names import PEOPLE_FIRST
from imprint.lab.world.people import INTERACTIONS, ROLES
from imprint.lab.world.words import SENSES, SYNONYMS

PERCENT = 25  # of pairs
OF_CLASS = 2  # members of a class, for each property

Pairs = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Pairs that never meet in a sentence of any corpus; each alone occurs, with others.

    Attributes:
        properties: (object, property id): neither the value nor a wrong one is stated. Two of the
            seven members of a class for each of its properties.
        kinds: (object, word above it): that the object is of this kind stands in the corpora, but
            no inference ("if mira sees a trout then mira sees a fish") uses the object so.
        heavier: (object, object): the two are never compared, in either order.
        roles: (first name, state or job).
        interactions: (deed, "giver receiver").
        senses: (word, context).
        synonyms: ("first second", object): that a thing is the one and the other.
    """

    properties: Pairs
    kinds: Pairs
    heavier: Pairs
    roles: Pairs
    interactions: Pairs
    senses: Pairs
    synonyms: Pairs


def draw_held_out(seed: int) -> HeldOut:
    """Draw what is held out: a quarter of each kind of pairs."""
    things = [thing for kind in CLASSES for thing in kind.members]
    couples = [f"{one} {other}" for one in PEOPLE_FIRST for other in PEOPLE_FIRST if one != other]
    return HeldOut(
        properties=_within_classes(Dice(seed, "held out", "properties")),
        kinds=_quarter(
            Dice(seed, "held out", "kinds"),
            [(m, up) for kind in CLASSES for m in kind.members for up in (kind.name, kind.parent)],
        ),
        heavier=_quarter(
            Dice(seed, "held out", "heavier"),
            [(a, b) for i, a in enumerate(things) for b in things[i + 1 :]],
        ),
        roles=_quarter(
            Dice(seed, "held out", "roles"),
            [(name, role.word) for name in PEOPLE_FIRST for role in ROLES],
        ),
        interactions=_quarter(
            Dice(seed, "held out", "interactions"),
            [(deed.deed, couple) for deed in INTERACTIONS for couple in couples],
        ),
        senses=_quarter(
            Dice(seed, "held out", "senses"),
            [(sense.word, context) for sense in SENSES for context in sense.contexts],
        ),
        synonyms=_quarter(
            Dice(seed, "held out", "synonyms"),
            [(f"{pair.first} {pair.second}", thing) for pair in SYNONYMS for thing in things],
        ),
    )


def _quarter(dice: Dice, pairs: list[tuple[str, str]]) -> Pairs:
    return frozenset(dice.sample(pairs, len(pairs) * PERCENT // 100))


def _within_classes(dice: Dice) -> Pairs:
    held = []
    for kind in CLASSES:
        for name in kind.values:
            members = dice.sample(kind.members, OF_CLASS)
            held += [(member, name) for member in members]
    return frozenset(held)
