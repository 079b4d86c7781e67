"""What may be said of a world: facts and regularities without what is held out, ready to draw."""

from __future__ import annotations

from dataclasses import dataclass

from imprint.lab.world.dice import Dice, Weighted
from imprint.lab.world.facts import Fact
from imprint.lab.world.kinds import CLASSES, Class
from imprint.lab.world.names import PEOPLE_FIRST
from imprint.lab.world.people import Interaction, Role
from imprint.lab.world.words import Sense, Synonyms
from imprint.lab.world.world import World


@dataclass(frozen=True, slots=True)
class Told:
    """The facts of one subject within one topic, drawn by their frequency."""

    subject: str
    facts: Weighted[Fact]


class Material:
    """The tables of a world as documents draw from them.

    Args:
        world: the world.
        rare: tell of rarer subjects as often as their facts' frequency says; else a quarter of it.
    """

    def __init__(self, world: World, *, rare: bool = True):
        self.world = world
        self.relations = {relation.id: relation for relation in world.relations}
        self.property = {one.id: one for one in world.property_list}
        self.answers = {
            relation.id: sorted({f.answer for f in world.facts if f.relation == relation.id})
            for relation in world.relations
        }
        self.values = {
            name: sorted({kind.values[name] for kind in CLASSES if name in kind.values})
            for name in self.property
        }
        self.fact_topics, self.subjects = _by_topic(world, rare=rare)
        self.classes = {
            topic: [kind for kind in CLASSES if kind.topic == topic]
            for topic in dict.fromkeys(kind.topic for kind in CLASSES)
        }
        often = {thing: 3**step // 2**step for thing, step in world.popularity.items()}
        self.members = {
            kind.name: Weighted(kind.members, [often[member] for member in kind.members])
            for kind in CLASSES
        }
        self.things = Weighted(list(often), list(often.values()))

    def told(self, dice: Dice) -> tuple[str, Told]:
        """Draw a topic of facts and a subject."""
        topic = self.fact_topics.draw(dice)
        return topic, self.subjects[topic].draw(dice)

    def member(self, dice: Dice, kind: Class, prop: str) -> str:
        """Draw a member whose property may be said."""
        held = self.world.held_out.properties
        member = self.members[kind.name].draw(dice)
        while (member, prop) in held:
            member = self.members[kind.name].draw(dice)
        return member

    def two_things(self, dice: Dice) -> tuple[str, str]:
        """Draw two things of different weight that may be compared, the heavier first."""
        while True:
            one, other = self.things.draw(dice), self.things.draw(dice)
            ranks = self.world.class_of(one).rank, self.world.class_of(other).rank
            if ranks[0] == ranks[1]:
                continue
            if {(one, other), (other, one)} & self.world.held_out.heavier:
                continue
            return (one, other) if ranks[0] > ranks[1] else (other, one)

    def inferred(self, dice: Dice) -> tuple[str, Class]:
        """Draw a thing that inferences may use, with its class."""
        held = self.world.held_out.kinds
        while True:
            thing = self.things.draw(dice)
            kind = self.world.class_of(thing)
            if (thing, kind.name) not in held and (thing, kind.parent) not in held:
                return thing, kind

    def in_role(self, dice: Dice, kind: str) -> tuple[str, Role]:
        """Draw a first name and a state or job that may meet."""
        roles = [role for role in self.world.roles if role.kind == kind]
        while True:
            name, role = dice.pick(PEOPLE_FIRST), dice.pick(roles)
            if (name, role.word) not in self.world.held_out.roles:
                return name, role

    def interaction(self, dice: Dice) -> tuple[Interaction, str, str]:
        """Draw a deed with giver and receiver that may meet in it."""
        while True:
            deed = dice.pick(self.world.interactions)
            giver, receiver = dice.pick(PEOPLE_FIRST), dice.pick(PEOPLE_FIRST)
            held = (deed.deed, f"{giver} {receiver}") in self.world.held_out.interactions
            if giver != receiver and not held:
                return deed, giver, receiver

    def used(self, dice: Dice, sense: Sense) -> str:
        """Draw a context of a sense that the word may stand near."""
        while True:
            context = dice.pick(sense.contexts)
            if (sense.word, context) not in self.world.held_out.senses:
                return context

    def described(self, dice: Dice) -> tuple[Synonyms, str]:
        """Draw synonyms and a thing that may be called by both."""
        while True:
            pair, thing = dice.pick(self.world.synonyms), self.things.draw(dice)
            if (f"{pair.first} {pair.second}", thing) not in self.world.held_out.synonyms:
                return pair, thing


def _by_topic(world: World, *, rare: bool) -> tuple[Weighted[str], dict[str, Weighted[Told]]]:
    median = world.facts[len(world.facts) // 2].frequency
    subjects = {}
    for topic, groups in _grouped(world).items():
        told, weights = [], []
        for subject, facts in groups.items():
            told.append(Told(subject, Weighted(facts, [fact.frequency for fact in facts])))
            known = rare or max(fact.frequency for fact in facts) > median
            weights.append(told[-1].facts.total * (4 if known else 1))
        subjects[topic] = Weighted(told, weights)
    totals = [drawn.total for drawn in subjects.values()]
    return Weighted(list(subjects), totals), subjects


def _grouped(world: World) -> dict[str, dict[str, list[Fact]]]:
    """Give topic → subject → facts."""
    topic_of = {relation.id: relation.topic for relation in world.relations}
    groups: dict[str, dict[str, list[Fact]]] = {}
    for fact in world.facts:
        groups.setdefault(topic_of[fact.relation], {}).setdefault(fact.subject, []).append(fact)
    return groups
