"""Domains of the world: kinds of questions, each with exchanges to test, to reinforce and to teach.

A domain's exchanges are dealt once into three parts without a prompt in common: what tests it,
RL prompts, SFT dialogues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from imprint.lab.world import exchanges as ask
from imprint.lab.world.dice import Dice
from imprint.lab.world.exchanges import Exchange
from imprint.lab.world.world import World

Draw = Callable[[World, Dice], Exchange]
# exchanges of a domain to test, to reinforce and to teach, at most
PARTS = {"small": (60, 24, 160), "standard": (120, 60, 480)}
TRIES = 40  # draws for each exchange wanted, before a domain is taken to have no more


@dataclass(frozen=True, slots=True)
class Domain:
    """A kind of questions.

    Attributes:
        name: of the domain.
        group: the SFT set that teaches it: ``facts``, ``nature``, ``people`` or ``language``.
        draw: draws an exchange; ``None`` where the domain asks for facts.
        relations: of the facts.
    """

    name: str
    group: str
    draw: Draw | None = None
    relations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dealt:
    """A domain's exchanges, no prompt in two parts.

    Attributes:
        domain: which.
        test, rl, sft: the parts; of facts ``test`` holds those of the split ``test``, the others
            of ``train``.
    """

    domain: Domain
    test: tuple[Exchange, ...]
    rl: tuple[Exchange, ...]
    sft: tuple[Exchange, ...]


def _choice(world: World, dice: Dice) -> Exchange:
    return ask.kind_of(world, dice, 2 + dice.below(4))


def _of(*parents: str) -> Draw:
    return partial(ask.of_property, parents=parents)


DOMAINS = (
    Domain("lives", "facts", relations=("born_in", "died_in", "studied_at")),
    Domain("lands", "facts", relations=("capital_of", "located_in")),
    Domain("buildings", "facts", relations=("country_of", "stands_in", "headquartered_in")),
    Domain("arts", "facts", relations=("made_in", "founded_in")),
    Domain("animals", "nature", _of("animal")),
    Domain("materials", "nature", _of("material", "food")),
    Domain("tools", "nature", _of("tool", "place")),
    Domain("weights", "nature", ask.heavier),
    Domain("kinds", "nature", _choice),
    Domain("truth", "nature", ask.yes_or_no),
    Domain("reasons", "nature", ask.reason),
    Domain("code", "nature", ask.coded),
    Domain("roles", "people", ask.role),
    Domain("deeds", "people", ask.social),
    Domain("synonyms", "language", ask.synonym),
    Domain("opposites", "language", ask.opposite),
    Domain("senses", "language", ask.sense),
    Domain("counting", "language", ask.counting),
    Domain("order", "language", ask.backwards),
    Domain("places", "language", ask.position),
)


def deal(world: World) -> list[Dealt]:
    """Deal every domain's exchanges into parts."""
    test, rl, sft = PARTS[world.config.size]
    dealt = []
    for domain in DOMAINS:
        tested = _distinct(_drawn(world, domain, "test"), test, set())
        known = {one.prompt for one in tested}
        others = _distinct(_drawn(world, domain, "train"), rl + sft, known)
        dealt.append(Dealt(domain, tuple(tested), tuple(others[:rl]), tuple(others[rl:])))
    return dealt


def domain_rows(dealt: list[Dealt]) -> Iterator[dict[str, Any]]:
    """Give the rows of ``domains.jsonl``: domain, prompt, answer, skill, level."""
    for part in dealt:
        for one in part.test:
            yield {
                "domain": part.domain.name,
                "prompt": one.prompt,
                "answer": one.answer,
                "skill": one.skill,
                "level": one.level,
            }


def _drawn(world: World, domain: Domain, split: str) -> Iterator[Exchange]:
    dice = world.dice("domain", domain.name, split)
    if domain.draw is None:
        facts = [f for f in world.facts if f.relation in domain.relations and f.split == split]
        yield from (ask.of_fact(world, fact) for fact in dice.shuffled(facts))
        return
    while True:
        yield domain.draw(world, dice)


def _distinct(stream: Iterator[Exchange], count: int, known: set[str]) -> list[Exchange]:
    """Take exchanges of different prompts, and none of those known."""
    found: dict[str, Exchange] = {}
    for tries, one in enumerate(stream):
        if len(found) == count or tries > TRIES * count:
            break
        if one.prompt not in known:
            found.setdefault(one.prompt, one)
    return list(found.values())
