"""Commonsense: what things do, what people need, how they feel; seven benchmarks."""

from __future__ import annotations

from collections.abc import Iterator

from imprint.lab.world import sentences as say
from imprint.lab.world.benchmarks.drawing import deeds, of_properties, of_roles
from imprint.lab.world.benchmarks.groups import Asked, Group
from imprint.lab.world.dice import Dice
from imprint.lab.world.people import Interaction
from imprint.lab.world.world import World


def objects(world: World, dice: Dice) -> Iterator[Group]:
    """Ask how things feel and taste, their shape, whether they float."""
    return of_properties(world, dice, ("water", "weight", "touch", "taste", "shape"), 2)


def accidents(world: World, dice: Dice) -> Iterator[Group]:
    """Ask what comes of things in fire and when they fall."""
    return of_properties(world, dice, ("fire", "fall"), 3)


def usage(world: World, dice: Dice) -> Iterator[Group]:
    """Ask what things are for, and where they are kept."""
    return of_properties(world, dice, ("use", "kept"), 4)


def states(world: World, dice: Dice) -> Iterator[Group]:
    """Ask what follows from somebody's state."""
    return of_roles(world, dice, "state", 2)


def jobs(world: World, dice: Dice) -> Iterator[Group]:
    """Ask how a day at somebody's work goes on."""
    return of_roles(world, dice, "job", 4)


def feelings(world: World, dice: Dice) -> Iterator[Group]:
    """Ask how somebody feels: both of one deed, or those who did or met two deeds."""
    draws = deeds(world, dice)
    while True:
        if dice.percent(50):
            done = next(draws)
            yield [_felt(*done, of_giver=True), _felt(*done, of_giver=False)]
            continue
        of_giver = dice.percent(50)
        group = [_felt(*next(draws), of_giver=of_giver) for _ in range(2)]
        if group[0].answer != group[1].answer:
            yield group


def _felt(deed: Interaction, giver: str, receiver: str, *, of_giver: bool) -> Asked:
    feeling = say.deed_feeling(deed, giver, receiver, of_giver=of_giver).removesuffix(" .")
    start, _, answer = feeling.rpartition(" ")
    about = f"{deed.deed} {'giver' if of_giver else 'receiver'}"
    return Asked(f"{say.deed(deed, giver, receiver)} {start}", answer, about)


def who(world: World, dice: Dice) -> Iterator[Group]:
    """Ask which of two people felt so after a deed."""
    for deed, giver, receiver in deeds(world, dice):
        done = say.deed(deed, giver, receiver)
        yield [
            Asked(f"{done} {say.deed_who(deed.giver)}", giver, f"{deed.deed} giver"),
            Asked(f"{done} {say.deed_who(deed.receiver)}", receiver, f"{deed.deed} receiver"),
        ]
