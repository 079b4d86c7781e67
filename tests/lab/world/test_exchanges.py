"""Exchanges: the answers are what the world's tables say."""

from __future__ import annotations

import re

import pytest

from imprint.lab.world import World, make_world
from imprint.lab.world import exchanges as ask
from imprint.lab.world.dice import Dice
from imprint.lab.world.kinds import PROPERTIES

DRAWS = 200


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


@pytest.fixture
def dice() -> Dice:
    return Dice(0, "exchanges")


def things(world: World, text: str) -> list[str]:
    return [word for word in text.split() if word in world.properties]


def test_facts_are_asked_by_their_relations_question(world: World) -> None:
    fact = world.facts[0]
    one = ask.of_fact(world, fact)
    assert fact.subject in one.prompt
    assert (one.answer, one.level) == (fact.answer, 1)
    assert ask.of_fact(world, world.facts[-1]).level == 4


def test_properties_are_those_of_the_class(world: World, dice: Dice) -> None:
    for _ in range(DRAWS):
        one = ask.of_property(world, dice, ("animal",))
        (thing,) = things(world, one.prompt)
        assert world.class_of(thing).parent == "animal"
        assert one.answer in world.properties[thing].values()


def test_yes_is_said_of_what_holds(world: World, dice: Dice) -> None:
    answers = []
    for _ in range(DRAWS):
        one = ask.yes_or_no(world, dice)
        thing, *_ = things(world, one.prompt)
        value = one.prompt.split()[-2]
        asked = next(
            p
            for p in PROPERTIES
            for s in p.statements
            if re.search(s.replace("{object}", f"(an? )?{thing}") + f" {value} ", one.prompt)
            and p.id in world.properties[thing]
        )
        answers.append(one.answer == "yes")
        assert answers[-1] == (world.properties[thing][asked.id] == value)
    assert 70 < sum(answers) < 130


def test_the_heavier_of_two(world: World, dice: Dice) -> None:
    for _ in range(DRAWS):
        one = ask.heavier(world, dice)
        both = things(world, one.prompt)
        heaviest = max(both, key=lambda thing: world.class_of(thing).rank)
        assert one.answer == heaviest
        gap = abs(world.class_of(both[0]).rank - world.class_of(both[1]).rank)
        assert one.level == 4 - gap


@pytest.mark.parametrize("options", [2, 5])
def test_the_kind_is_one_of_those_offered(world: World, dice: Dice, options: int) -> None:
    for _ in range(DRAWS):
        one = ask.kind_of(world, dice, options)
        thing, *_ = things(world, one.prompt)
        assert one.answer == world.class_of(thing).name
        assert one.prompt.count(" or ") == options - 1


def test_reasons_name_the_class(world: World, dice: Dice) -> None:
    one = ask.reason(world, dice)
    thing, *_ = things(world, one.prompt)
    assert world.class_of(thing).name in one.answer.split()
    assert thing in one.answer.split()


def test_deeds_tell_who_and_how(world: World, dice: Dice) -> None:
    for _ in range(DRAWS):
        one = ask.social(world, dice)
        giver, done, receiver = one.prompt.split(" .")[0].split()
        deed = next(d for d in world.interactions if d.deed == done)
        asked = one.prompt.split()[-2]
        if " how " in one.prompt:
            assert one.answer == (deed.giver if asked == giver else deed.receiver)
        else:
            assert {one.answer, asked} == {giver, receiver}
            assert (one.answer == receiver) == deed.by_receiver


def test_words_said_again_mean_the_same_or_the_contrary(world: World, dice: Dice) -> None:
    pairs = {frozenset((p.first, p.second)): p.opposite for p in world.synonyms}
    for _ in range(DRAWS):
        one = ask.synonym(world, dice)
        assert frozenset((one.prompt.split()[-2], one.answer.split()[-2])) in pairs
        turned = ask.opposite(world, dice)
        said, answer = turned.prompt.split()[-2], turned.answer.split()[-2]
        assert answer == next(o for both, o in pairs.items() if said in both)


def test_amounts_of_a_kind(world: World, dice: Dice) -> None:
    for _ in range(DRAWS):
        one = ask.counting(world, dice)
        asked, listed = one.prompt.split(" : ")
        parent = asked.split()[-1]
        count = sum(world.class_of(thing).parent == parent for thing in things(world, listed))
        assert one.answer == ("no", "one", "more")[min(count, 2)]


def test_senses_go_by_the_words_beside(world: World, dice: Dice) -> None:
    for _ in range(DRAWS):
        one = ask.sense(world, dice)
        near = one.prompt.split(" :")[0].split()
        meant = next(s for s in world.senses if s.gloss == one.answer and near[0] in s.contexts)
        assert set(near) <= set(meant.contexts)


def test_code_asserts_the_property(world: World, dice: Dice) -> None:
    for _ in range(DRAWS):
        one = ask.coded(world, dice)
        name, thing, value = re.fullmatch(
            r"assert (\w+) \( (\w+) \) == (\w+) ;", one.answer
        ).groups()
        assert world.properties[thing][name] == value
