"""Drawing groups of questions from what the corpora never say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from imprint.lab.world import sentences as say
from imprint.lab.world.benchmarks.groups import Asked, Group
from imprint.lab.world.dice import Dice
from imprint.lab.world.people import ASPECTS, Interaction
from imprint.lab.world.relations import Relation
from imprint.lab.world.world import World


def of_properties(world: World, dice: Dice, ids: Sequence[str], options: int) -> Iterator[Group]:
    """Ask for a property of things whose own value no corpus states: their class decides.

    Args:
        world: the world.
        dice: what to draw by.
        ids: of the properties.
        options: questions of a group, each about a thing with another value.
    """
    held = held_properties(world, ids)
    by_id = {one.id: one for one in world.property_list}
    asked = [by_id[name] for name in ids if len(held[name]) >= options]
    # a property is asked as often as it has things to ask about
    weighted = [p for p in asked for things in held[p.id].values() for _ in things]
    while True:
        one = dice.pick(weighted)
        statement = dice.below(len(one.statements))
        group = []
        for value in dice.sample(sorted(held[one.id]), options):
            thing = dice.pick(held[one.id][value])
            prompt = say.property_prefix(one, statement, thing)
            group.append(Asked(prompt, value, f"{thing} {one.id}"))
        yield group


def held_properties(world: World, ids: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Give property → value → things of which no corpus states it."""
    held: dict[str, dict[str, list[str]]] = {}
    for thing, name in sorted(world.held_out.properties):
        if name in ids:
            value = world.properties[thing][name]
            held.setdefault(name, {}).setdefault(value, []).append(thing)
    return held


def of_roles(world: World, dice: Dice, kind: str, options: int) -> Iterator[Group]:
    """Ask what follows from a state or job, of people never said to be in it."""
    roles = {role.word: role for role in world.roles if role.kind == kind}
    held: dict[str, list[str]] = {}
    for first, word in sorted(world.held_out.roles):
        if word in roles:
            held.setdefault(word, []).append(first)
    while True:
        aspect = dice.pick(ASPECTS[kind])
        statement = dice.pick(aspect.statements)
        group = []
        for word in dice.sample(sorted(held), options):
            prompt = say.role_prefix(statement, dice.pick(held[word]), word)
            group.append(Asked(prompt, roles[word].values[aspect.id], f"{word} {aspect.id}"))
        yield group


def deeds(world: World, dice: Dice) -> Iterator[tuple[Interaction, str, str]]:
    """Draw deeds between two people of whom no corpus tells them, with giver and receiver."""
    known = {deed.deed: deed for deed in world.interactions}
    held = sorted(world.held_out.interactions)
    while True:
        word, couple = dice.pick(held)
        giver, receiver = couple.split()
        yield known[word], giver, receiver


def untold(world: World, dice: Dice) -> Iterator[tuple[Relation, str, list[str]]]:
    """Draw a relation, a subject, and answers that the relation has nowhere in the corpora."""
    options = []
    for relation in world.relations:
        facts = [fact for fact in world.facts if fact.relation == relation.id]
        told = {fact.answer for fact in facts}
        others = [name for name in world.entities[relation.range] if name not in told]
        if len(others) > 1:
            options.append((relation, [fact.subject for fact in facts], others))
    while True:
        relation, subjects, others = dice.pick(options)
        yield relation, dice.pick(subjects), others
