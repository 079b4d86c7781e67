"""Natural-language inference: does it follow; four benchmarks."""

from __future__ import annotations

from collections.abc import Iterator

from imprint.lab.world import sentences as say
from imprint.lab.world.benchmarks.drawing import held_properties, untold
from imprint.lab.world.benchmarks.groups import Asked, Group
from imprint.lab.world.dice import Dice
from imprint.lab.world.names import PEOPLE_FIRST
from imprint.lab.world.world import CLASS_OF, World


def entailment(world: World, dice: Dice) -> Iterator[Group]:
    """Ask whether a sentence follows from one on a thing, goes against it, or stays open."""
    for thing, kind in _held(world, dice, parent=False):
        other = dice.pick(sorted({c.name for c in world.classes} - {kind}))
        against = dice.pick((say.article(other), f"no {kind}"))
        ask = _Inference(dice, f"{thing} {kind}")
        yield [
            ask(say.article(thing), say.article(kind), "true"),
            ask(say.article(thing), against, "false"),
            ask(say.article(kind), say.article(thing), "unknown"),
        ]


def classes(world: World, dice: Dice) -> Iterator[Group]:
    """Ask whether a thing is of a wide class: follows or not."""
    for thing, kind in _held(world, dice, parent=True):
        other = dice.pick(sorted({c.parent for c in world.classes} - {kind}))
        ask = _Inference(dice, f"{thing} {kind}")
        yield [
            ask(say.article(thing), say.article(kind), "true"),
            ask(say.article(thing), say.article(other), "false"),
        ]


def claims(world: World, dice: Dice) -> Iterator[Group]:
    """Ask whether a claim on a thing is right, its own value never being stated."""
    asked = {p.id: p for p in world.property_list}
    held = held_properties(world, sorted(asked))
    several = [name for name in sorted(held) if len(held[name]) > 1]
    while True:
        one = asked[dice.pick(several)]
        value, wrong = dice.sample(sorted(held[one.id]), 2)
        thing = dice.pick(held[one.id][value])
        prefix = say.property_prefix(one, dice.below(len(one.statements)), thing)
        yield [
            Asked(say.verdict(say.sentence(prefix, shown)), answer, f"{thing} {one.id}")
            for shown, answer in ((value, "right"), (wrong, "wrong"))
        ]


def answerable(world: World, dice: Dice) -> Iterator[Group]:
    """Ask whether a text tells the answer to a question, or speaks of something else."""
    draws = untold(world, dice)
    while True:
        relation, subject, answers = next(draws)
        _, other, _ = next(draws)
        prefix = say.fact_prefix(relation, dice.below(len(relation.statements)), subject)
        text = say.sentence(prefix, dice.pick(answers))
        if other != subject:
            yield [
                Asked(say.answerable(text, say.fact_question(relation, about)), answer, relation.id)
                for about, answer in ((subject, "yes"), (other, "no"))
            ]


class _Inference:
    """Asks whether one noun phrase leads to another, with a name and a verb of its own."""

    def __init__(self, dice: Dice, about: str):
        self._name, self._verb = dice.pick(PEOPLE_FIRST), dice.pick(say.VERBS)
        self._about = about

    def __call__(self, premise: str, conclusion: str, answer: str) -> Asked:
        prompt = say.inference(self._name, self._verb, premise, conclusion)
        return Asked(prompt, answer, self._about)


def _held(world: World, dice: Dice, *, parent: bool) -> Iterator[tuple[str, str]]:
    pairs = [
        (thing, kind)
        for thing, kind in sorted(world.held_out.kinds)
        if kind == (CLASS_OF[thing].parent if parent else CLASS_OF[thing].name)
    ]
    while True:
        yield dice.pick(pairs)
