"""Entities and facts, with skewed frequency."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from imprint.lab.world.dice import Dice, Weighted
from imprint.lab.world.names import CLOSED, POOLS
from imprint.lab.world.relations import RELATIONS, Relation

Split = Literal["train", "test", "ood"]
# entities of each type; subjects of in-domain relations need as many as these have facts
ENTITIES = {
    "small": {
        "person": 80,
        "city": 60,
        "country": 12,
        "region": 80,
        "school": 80,
        "company": 80,
        "landmark": 80,
        "band": 80,
        "film": 80,
        "label": 12,
        "device": 36,
        "book": 36,
        "song": 36,
        "painting": 36,
    },
    "standard": {
        "person": 240,
        "city": 150,
        "country": 20,
        "region": 200,
        "school": 200,
        "company": 200,
        "landmark": 200,
        "band": 200,
        "film": 200,
        "label": 20,
        "device": 80,
        "book": 80,
        "song": 80,
        "painting": 80,
    },
}
# facts of a relation in and out of domain, and of the former those for training
FACTS = {"small": (80, 36), "standard": (200, 80)}
TRAIN_PERCENT = 80
# the weight of a fact falls with the square of its place among 1,000, from here on: steeper than
# Zipf's law, so that in a short pretraining some facts are learnt and most are not
FIRST_PLACE = 75
RANGE_FLATTEN = 4  # the same of answers: a few countries and cities have much


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact.

    Attributes:
        id: ``capital_of-017``.
        relation: its id.
        subject: two words.
        answer: two words, or one from a closed range.
        split: ``train`` or ``test`` of relations in domain, ``ood`` of the others.
        frequency: weight by which texts draw facts: the first 200 times that of the last.
    """

    id: str
    relation: str
    subject: str
    answer: str
    split: Split
    frequency: int


def draw_entities(seed: int, size: str) -> dict[str, tuple[str, ...]]:
    """Draw names: type → names, all different within the world."""
    drawn = {
        kind: tuple(Dice(seed, "entities", kind).sample(POOLS[kind].all(), count))
        for kind, count in ENTITIES[size].items()
    }
    return {**drawn, **CLOSED}


def draw_facts(seed: int, size: str, entities: dict[str, tuple[str, ...]]) -> tuple[Fact, ...]:
    """Draw the facts of every relation, most frequent first."""
    rows = [row for relation in RELATIONS for row in _rows(relation, seed, size, entities)]
    order = Dice(seed, "frequency").shuffled(range(len(rows)))
    ranked = (rows[position] for position in order)
    return tuple(
        replace(fact, frequency=10_000_000 // (rank * 1000 // len(rows) + FIRST_PLACE) ** 2)
        for rank, fact in enumerate(ranked)
    )


def _rows(
    relation: Relation, seed: int, size: str, entities: dict[str, tuple[str, ...]]
) -> list[Fact]:
    inside, outside = FACTS[size]
    count = inside if relation.group == "in" else outside
    dice = Dice(seed, "facts", relation.id)
    subjects = dice.sample(entities[relation.domain], count)
    answers = dice.shuffled(entities[relation.range])
    drawn = Weighted(answers, [10_000 // (r + RANGE_FLATTEN) for r in range(len(answers))])
    train = count * TRAIN_PERCENT // 100
    rows = []
    for at, subject in enumerate(subjects):
        answer = drawn.draw(dice)
        while answer == subject:
            answer = drawn.draw(dice)
        split: Split = "ood" if relation.group == "out" else "train" if at < train else "test"
        rows.append(Fact(f"{relation.id}-{at:03d}", relation.id, subject, answer, split, 0))
    return rows
