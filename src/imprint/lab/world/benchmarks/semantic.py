"""Semantics: what words mean, whom they refer to, what a text says; five benchmarks."""

from __future__ import annotations

from collections.abc import Iterator

from imprint.lab.world import sentences as say
from imprint.lab.world.benchmarks.drawing import untold
from imprint.lab.world.benchmarks.groups import Asked, Group
from imprint.lab.world.dice import Dice
from imprint.lab.world.names import PEOPLE_FIRST
from imprint.lab.world.words import Synonyms
from imprint.lab.world.world import World


def senses(world: World, dice: Dice) -> Iterator[Group]:
    """Ask what a word of two senses means near words it never stood near, or whether it is one."""
    held: dict[str, dict[str, list[str]]] = {}
    for one in world.senses:
        near = [context for context in one.contexts if (one.word, context) in world.held_out.senses]
        if near:
            held.setdefault(one.word, {})[one.gloss] = near
    both = [word for word in sorted(held) if len(held[word]) > 1]
    while True:
        word = dice.pick(both)
        glosses = dice.shuffled(sorted(held[word]))
        if dice.percent(50) and len(held[word][glosses[0]]) > 1:
            yield _compared(dice, word, held[word][glosses[0]], held[word][glosses[1]])
        else:
            name = dice.pick(PEOPLE_FIRST)
            yield [_glossed(name, word, dice.pick(held[word][g]), g) for g in glosses]


def _glossed(name: str, word: str, context: str, gloss: str) -> Asked:
    prompt = f"{say.sense_scene(name, word, context)} {say.sense_gloss(word)}"
    return Asked(prompt, gloss, f"{word} {context}")


def _compared(dice: Dice, word: str, near: list[str], far: list[str]) -> Group:
    first, second = dice.sample(near, 2)
    return [
        Asked(say.senses_compared(word, first, other), answer, f"{word} {first}")
        for other, answer in ((second, "same"), (dice.pick(far), "different"))
    ]


def synonyms(world: World, dice: Dice) -> Iterator[Group]:
    """Ask for the word of the same meaning."""
    held = _held(world)
    many = [thing for thing in sorted(held) if len(held[thing]) > 1]
    while True:
        thing = dice.pick(many)
        name, verb = dice.pick(PEOPLE_FIRST), dice.pick(say.VERBS)
        group = []
        for pair in dice.sample(held[thing], 2):
            said, other = dice.shuffled((pair.first, pair.second))
            whole = say.paraphrase(name, verb, said, thing, other).removesuffix(" .")
            start = f" in other words {name} {verb} "
            first, _, answer = whole.partition(start)
            group.append(Asked(f"{first}{start}".rstrip(), answer, f"{pair.first} {thing}"))
        yield group


def likeness(world: World, dice: Dice) -> Iterator[Group]:
    """Ask whether two sentences that differ in a word mean the same."""
    held = _held(world)
    while True:
        thing = dice.pick(sorted(held))
        pair = dice.pick(held[thing])
        first, second = dice.shuffled((pair.first, pair.second))
        name, verb = dice.pick(PEOPLE_FIRST), dice.pick(say.VERBS)
        yield [
            Asked(say.likeness(name, verb, first, other, thing), answer, f"{pair.first} {thing}")
            for other, answer in ((second, "same"), (pair.opposite, "different"))
        ]


def reading(world: World, dice: Dice) -> Iterator[Group]:
    """Ask for what a text says, against whatever is known."""
    for relation, subject, answers in untold(world, dice):
        prefix = say.fact_prefix(relation, dice.below(len(relation.statements)), subject)
        question = say.fact_question(relation, subject)
        yield [
            Asked(say.reading(say.sentence(prefix, answer), question), answer, relation.id)
            for answer in dice.sample(answers, 2)
        ]


def reference(world: World, dice: Dice) -> Iterator[Group]:
    """Ask whom it concerns: to whom one of two people does what follows from a deed."""
    asked: dict[tuple[str, ...], dict[str, list[Asked]]] = {}
    for deed in world.interactions:
        for word, couple in sorted(world.held_out.interactions):
            if word == deed.deed:
                giver, receiver = couple.split()
                answer = say.deed_answer(deed, giver, receiver).removesuffix(" .")
                start, _, whom = answer.rpartition(" ")
                prompt = f"{say.deed(deed, giver, receiver)} {start}"
                both = asked.setdefault(tuple(sorted(couple.split())), {})
                both.setdefault(whom, []).append(Asked(prompt, whom, word))
    couples = [couple for couple in sorted(asked) if len(asked[couple]) > 1]
    while True:
        of = asked[dice.pick(couples)]
        yield [dice.pick(of[whom]) for whom in sorted(of)]


def _held(world: World) -> dict[str, list[Synonyms]]:
    """Give thing → synonyms that no corpus says of it."""
    held: dict[str, list[Synonyms]] = {}
    for pair in world.synonyms:
        for words, thing in sorted(world.held_out.synonyms):
            if words == f"{pair.first} {pair.second}":
                held.setdefault(thing, []).append(pair)
    return held
