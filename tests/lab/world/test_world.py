"""What a world holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from imprint.errors import ConfigError
from imprint.lab.world import WorldConfig, make_world
from imprint.lab.world.facts import FACTS
from imprint.lab.world.kinds import CLASSES, PROPERTIES
from imprint.lab.world.names import CLOSED, POOLS
from imprint.lab.world.relations import RELATIONS

WORLD = make_world()
IN = ["P17", "P19", "P20", "P36", "P69", "P131", "P159", "P276", "P495", "P740"]
OUT = [
    "P112",
    "P127",
    "P170",
    "P175",
    "P176",
    "P26",
    "P40",
    "P413",
    "P50",
    "P136",
    "P106",
    "P264",
    "P407",
    "P800",
]


def test_every_relation_of_the_paper_has_a_counterpart_in_its_group() -> None:
    groups = {"in": set(), "out": set()}
    for relation in RELATIONS:
        groups[relation.group].add(relation.counterpart)
    assert groups == {"in": set(IN), "out": set(OUT)}
    assert len({relation.id for relation in RELATIONS}) == 24


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda r: r.id)
def test_a_relation_has_21_statements_and_a_question(relation) -> None:
    assert len(set(relation.statements)) == 21
    for text in (relation.question, *relation.statements):
        assert text.count("{subject}") == 1
        assert text == text.strip()


@pytest.mark.parametrize("size", ["small", "standard"])
def test_facts_of_every_relation_are_as_many_as_the_size_says(size) -> None:
    world = make_world(WorldConfig(size=size))
    inside, outside = FACTS[size]
    counts = Counter((fact.relation, fact.split) for fact in world.facts)
    for relation in RELATIONS:
        if relation.group == "in":
            assert counts[relation.id, "train"] == inside * 4 // 5
            assert counts[relation.id, "test"] == inside // 5
        else:
            assert counts[relation.id, "ood"] == outside
    assert 1_200 <= len(world.facts) <= (1_500 if size == "small" else 4_000)


def test_subjects_and_answers_are_of_the_types_of_the_relation() -> None:
    relations = {relation.id: relation for relation in RELATIONS}
    asked = set()
    for fact in WORLD.facts:
        relation = relations[fact.relation]
        assert fact.subject in WORLD.entities[relation.domain]
        assert fact.answer in WORLD.entities[relation.range]
        assert fact.answer != fact.subject
        asked.add((fact.relation, fact.subject))
    assert len(asked) == len(WORLD.facts)


def test_names_are_two_words_and_tell_one_entity() -> None:
    names = [name for kind in POOLS for name in WORLD.entities[kind]]
    assert all(len(name.split()) == 2 for name in names)
    assert len(set(names)) == len(names)
    assert all(len(set(pool.first)) == len(pool.first) for pool in POOLS.values())


def test_frequency_is_skewed_and_falls() -> None:
    frequencies = [fact.frequency for fact in WORLD.facts]
    assert frequencies == sorted(frequencies, reverse=True)
    tenth = len(frequencies) // 10
    assert sum(frequencies[:tenth]) > 3 * sum(frequencies[-tenth * 3 :]) / 3
    assert frequencies[0] > 20 * frequencies[-1]


def test_words_are_few_and_two_seeds_share_them() -> None:
    assert len(WORLD.lexicon) <= 763  # a vocabulary of 1,024 less 256 bytes and 5 marks
    assert make_world(WorldConfig(seed=1)).lexicon == WORLD.lexicon


def test_no_value_is_a_thing_and_no_thing_is_in_two_classes() -> None:
    members = [member for kind in CLASSES for member in kind.members]
    values = {value for kind in CLASSES for value in kind.values.values()}
    assert len(set(members)) == len(members)
    assert not values & set(members)
    assert {name for kind in CLASSES for name in kind.values} == {one.id for one in PROPERTIES}


def test_each_property_tells_classes_apart() -> None:
    for one in PROPERTIES:
        values = {kind.values[one.id] for kind in CLASSES if one.id in kind.values}
        assert len(values) > 1 or one.id in ("inside", "over")


def test_two_members_of_seven_are_held_out_for_each_property_of_a_class() -> None:
    held = Counter(
        (WORLD.class_of(thing).name, asked) for thing, asked in WORLD.held_out.properties
    )
    assert set(held) == {(kind.name, asked) for kind in CLASSES for asked in kind.values}
    assert set(held.values()) == {2}


def test_two_seeds_differ() -> None:
    other = make_world(WorldConfig(seed=1))
    assert {(f.relation, f.subject, f.answer) for f in other.facts} != {
        (f.relation, f.subject, f.answer) for f in WORLD.facts
    }
    assert other.held_out != WORLD.held_out
    assert make_world(WorldConfig(seed=0)) == WORLD


def test_closed_ranges_are_single_words() -> None:
    assert all(" " not in word for words in CLOSED.values() for word in words)


@pytest.mark.parametrize("wrong", [{"documents": 0}, {"size": "huge"}])
def test_unfit_settings_are_refused(wrong) -> None:
    with pytest.raises(ConfigError):
        replace(WorldConfig(), **wrong)
