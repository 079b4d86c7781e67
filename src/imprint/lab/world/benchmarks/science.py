"""Science: animals, origins, weights and kinds; four benchmarks."""

from __future__ import annotations

from collections.abc import Iterator

from imprint.lab.world import sentences as say
from imprint.lab.world.benchmarks.drawing import of_properties
from imprint.lab.world.benchmarks.groups import Asked, Group
from imprint.lab.world.dice import Dice
from imprint.lab.world.names import PEOPLE_FIRST
from imprint.lab.world.world import CLASS_OF, World


def animals(world: World, dice: Dice) -> Iterator[Group]:
    """Ask how animals look, move, eat and sound."""
    return of_properties(world, dice, ("cover", "moves", "diet", "sound"), 4)


def origins(world: World, dice: Dice) -> Iterator[Group]:
    """Ask where materials and food come from, and where animals live."""
    return of_properties(world, dice, ("source", "home"), 3)


def weights(world: World, dice: Dice) -> Iterator[Group]:
    """Ask what a thing is heavier than, and what it is lighter than: of two others."""
    held = world.held_out.heavier
    things = sorted(CLASS_OF)
    rank = {thing: CLASS_OF[thing].rank for thing in things}
    apart = {
        one: [b for b in things if rank[b] != rank[one] and ((one, b) in held or (b, one) in held)]
        for one in things
    }
    while True:
        one = dice.pick(things)
        lighter = [thing for thing in apart[one] if rank[thing] < rank[one]]
        heavier = [thing for thing in apart[one] if rank[thing] > rank[one]]
        if not lighter or not heavier:
            continue
        light, heavy = dice.pick(lighter), dice.pick(heavier)
        yield [
            _compared(one, light, "heavier"),
            _compared(one, heavy, "lighter"),
        ]


def _compared(one: str, other: str, word: str) -> Asked:
    prompt = f"{say.article(one)} is {word} than"
    return Asked(prompt, say.article(other), f"{one} {other}")


def kinds(world: World, dice: Dice) -> Iterator[Group]:
    """Ask what somebody who sees a thing sees: its kind."""
    held: dict[str, list[str]] = {}
    for thing, kind in sorted(world.held_out.kinds):
        if kind == CLASS_OF[thing].name:
            held.setdefault(kind, []).append(thing)
    while True:
        name, verb = dice.pick(PEOPLE_FIRST), dice.pick(say.VERBS)
        group = []
        for kind in dice.sample(sorted(held), 4):
            thing = dice.pick(held[kind])
            prompt = f"if {name} {verb} {say.article(thing)} then {name} {verb}"
            group.append(Asked(prompt, say.article(kind), f"{thing} {kind}"))
        yield group
