"""Documents in code: literals, tables, asserts and functions that state what is true."""

from __future__ import annotations

from imprint.lab.world.dice import Dice
from imprint.lab.world.documents.material import Material
from imprint.lab.world.documents.style import Style
from imprint.lab.world.facts import Fact
from imprint.lab.world.kinds import Class

TOPICS = ("weights", "logic", "feelings", "jobs", "deeds", "words", "likeness")


class Code:
    """Writes documents of code about one topic.

    Args:
        material: what may be said.
        style: the share of regularities.
        dice: draws.
    """

    def __init__(self, material: Material, style: Style, dice: Dice):
        self._about, self._style, self._dice = material, style, dice
        kinds = [topic for topic, classes in material.classes.items() for _ in classes]
        self._topics = (*kinds, *TOPICS, "logic", "weights", "deeds")

    def document(self) -> tuple[list[str], str]:
        """Write one document: its statements, and its domain."""
        if not self._dice.percent(self._style.regular):
            return self._facts()
        topic = self._dice.pick(self._topics)
        if topic in self._about.classes:
            return [self._kinds(topic) for _ in range(2 + self._dice.below(3))], topic
        write = getattr(self, f"_{topic}")
        return [write() for _ in range(4 + self._dice.below(5))], topic

    def _facts(self) -> tuple[list[str], str]:
        topic, told = self._about.told(self._dice)
        said = []
        for _ in range(3 + self._dice.below(3)):
            said.append(self._stated(told.facts.draw(self._dice), topic))
            told = self._about.subjects[topic].draw(self._dice)
        return said, topic

    def _stated(self, fact: Fact, topic: str) -> str:
        label = self._about.relations[fact.relation].label
        case = self._dice.below(6)
        if case == 0:
            return f"assert {label} ( {fact.subject} ) == {fact.answer} ;"
        if case == 1:
            return f"| {fact.subject} | {label} | {fact.answer} | ;"
        if case == 2:
            return f"def {label} ( x ) : if x == {fact.subject} : return {fact.answer} ;"
        if case == 3:
            return f"{fact.subject} . {label} = {fact.answer} ;"
        pairs = [f"{one.subject} : {one.answer}" for one in (fact, *self._alike(fact, topic))]
        return f"{label} = {{ {' , '.join(pairs)} }} ;"

    def _alike(self, fact: Fact, topic: str) -> list[Fact]:
        found = (self._about.subjects[topic].draw(self._dice) for _ in range(4))
        facts = [told.facts.draw(self._dice) for told in found]
        return [one for one in facts if one.relation == fact.relation and one != fact]

    def _kinds(self, topic: str) -> str:
        dice, about = self._dice, self._about
        kind = dice.pick(about.classes[topic])
        name = dice.pick(tuple(kind.values))
        value, thing = kind.values[name], about.member(dice, kind, name)
        case = dice.below(6)
        if case == 0:
            return f"class {thing} ( {kind.name} ) : {name} = {value} ;"
        if case == 1:
            return f"assert {name} ( {thing} ) == {value} ;"
        if case == 2:
            return f"class {kind.name} ( {kind.parent} ) : {name} = {value} ;"
        if case == 3:
            return f"| {about.members[kind.name].draw(dice)} | kind | {kind.name} | ;"
        if case == 4:
            return f"| {thing} | {name} | {value} | ;"
        others = [about.member(dice, other, name) for other in self._having(name)]
        pairs = [f"{one} : {about.world.properties[one][name]}" for one in (thing, *others)]
        return f"{name} = {{ {' , '.join(dict.fromkeys(pairs))} }} ;"

    def _having(self, name: str) -> list[Class]:
        kinds = [kind for kind in self._about.world.classes if name in kind.values]
        return [self._dice.pick(kinds) for _ in range(1 + self._dice.below(3))]

    def _weights(self) -> str:
        heavy, light = self._about.two_things(self._dice)
        if self._dice.percent(50):
            return f"assert weight ( {heavy} ) > weight ( {light} ) ;"
        return f"assert weight ( {light} ) < weight ( {heavy} ) ;"

    def _logic(self) -> str:
        thing, kind = self._about.inferred(self._dice)
        up = kind.parent if self._dice.percent(30) else kind.name
        if self._dice.percent(60):
            return f"assert {thing} in {up} == true ;"
        other = self._dice.pick(self._about.world.classes)
        right = "true" if other.name == kind.name else "false"
        return f"assert {thing} in {other.name} == {right} ;"

    def _feelings(self) -> str:
        return self._role("state")

    def _jobs(self) -> str:
        return self._role("job")

    def _role(self, kind: str) -> str:
        name, role = self._about.in_role(self._dice, kind)
        aspect = self._dice.pick(tuple(role.values))
        return f"assert {aspect} ( {name} , {role.word} ) == {role.values[aspect]} ;"

    def _deeds(self) -> str:
        deed, giver, receiver = self._about.interaction(self._dice)
        first, second = (receiver, giver) if deed.by_receiver else (giver, receiver)
        return f"if {deed.deed} ( {giver} , {receiver} ) : {deed.answer} ( {first} , {second} ) ;"

    def _words(self) -> str:
        sense = self._dice.pick(self._about.world.senses)
        context = self._about.used(self._dice, sense)
        return f"assert meaning ( {sense.word} , {context} ) == {sense.gloss} ;"

    def _likeness(self) -> str:
        pair = self._dice.pick(self._about.world.synonyms)
        if self._dice.percent(60):
            return f"assert meaning ( {pair.first} ) == meaning ( {pair.second} ) ;"
        return f"assert meaning ( {pair.first} ) == not meaning ( {pair.opposite} ) ;"
