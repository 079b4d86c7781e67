"""Documents in prose: each keeps to one topic."""

from __future__ import annotations

from collections.abc import Callable

from imprint.lab.world import sentences as say
from imprint.lab.world.dice import Dice
from imprint.lab.world.documents.material import Material
from imprint.lab.world.documents.style import Style
from imprint.lab.world.facts import Fact
from imprint.lab.world.kinds import CLASSES, Class
from imprint.lab.world.names import PEOPLE_FIRST
from imprint.lab.world.people import ASPECTS
from imprint.lab.world.relations import OPENINGS
from imprint.lab.world.words import FIELDS

Write = Callable[[], str]
JUDGED = 14  # percent of properties, as a question of right or wrong
PARENTS = tuple(dict.fromkeys(kind.parent for kind in CLASSES))


class Prose:
    """Writes documents of one style.

    Args:
        material: what may be said.
        style: how.
        dice: draws.
    """

    def __init__(self, material: Material, style: Style, dice: Dice):
        self._about, self._style, self._dice = material, style, dice
        kinds = [topic for topic, classes in material.classes.items() for _ in classes]
        self._topics = [*kinds, *_REGULAR, *_OFTEN]

    def document(self) -> tuple[list[str], str]:
        """Write one document: its sentences, and its domain."""
        if not self._dice.percent(self._style.regular):
            return self._facts()
        topic = self._dice.pick(self._topics)
        if topic in self._about.classes:
            return self._kinds(topic), topic
        write: Write = getattr(self, f"_{topic}")
        return [write() for _ in range(4 + self._dice.below(4))], topic

    def _facts(self) -> tuple[list[str], str]:
        topic, told = self._about.told(self._dice)
        said = []
        for _ in range(2 + self._dice.below(3)):
            said += [self._fact(told.facts.draw(self._dice)) for _ in range(2)]
            told = self._about.subjects[topic].draw(self._dice)
        return said, topic

    def _fact(self, fact: Fact) -> str:
        dice, style = self._dice, self._style
        relation, answer = self._about.relations[fact.relation], fact.answer
        if style.wrong and dice.percent(style.wrong):
            answer = dice.pick(self._about.answers[fact.relation])
        if style.question and dice.percent(style.question):
            return say.sentence(say.fact_question(relation, fact.subject), answer)
        cores = len(relation.statements) // len(OPENINGS)
        opening = 0 if dice.percent(style.plain) else 1 + dice.below(len(OPENINGS) - 1)
        at = opening * cores + dice.below(cores)
        return say.sentence(say.fact_prefix(relation, at, fact.subject), answer)

    def _kinds(self, topic: str) -> list[str]:
        kind = self._dice.pick(self._about.classes[topic])
        said = [self._membership(kind)]
        said += [self._property(kind) for _ in range(5 + self._dice.below(4))]
        return said

    def _membership(self, kind: Class) -> str:
        member = self._about.members[kind.name].draw(self._dice)
        return say.is_a(member, kind.parent if self._dice.percent(30) else kind.name)

    def _property(self, kind: Class) -> str:
        dice, style = self._dice, self._style
        if dice.percent(15):
            return self._membership(kind)
        name = dice.pick(tuple(kind.values))
        value, asked = kind.values[name], self._about.property[name]
        statement = dice.below(len(asked.statements))
        if dice.percent(style.explain // 2):
            return say.sentence(say.property_prefix(asked, statement, kind.name), value)
        thing = self._about.member(dice, kind, name)
        if dice.percent(JUDGED):
            return self._judged(say.property_prefix(asked, statement, thing), name, value)
        if style.wrong and dice.percent(style.wrong):
            value = dice.pick(self._about.values[name])
        if style.question and dice.percent(style.question):
            return say.sentence(say.property_question(asked, thing), value)
        prefix = say.property_prefix(asked, statement, thing)
        if dice.percent(style.explain):
            return say.because(prefix, value, thing, kind.name)
        return say.sentence(prefix, value)

    def _judged(self, prefix: str, name: str, value: str) -> str:
        right = self._dice.percent(50)
        others = [other for other in self._about.values[name] if other != value]
        shown = value if right or not others else self._dice.pick(others)
        answer = "right" if shown == value else "wrong"
        return say.sentence(say.verdict(say.sentence(prefix, shown)), answer)

    def _weights(self) -> str:
        heavy, light = self._about.two_things(self._dice)
        if self._dice.percent(50):
            return say.compared(heavy, light, heavier=True)
        return say.compared(light, heavy, heavier=False)

    def _logic(self) -> str:
        dice = self._dice
        thing, kind = self._about.inferred(dice)
        name, verb = dice.pick(PEOPLE_FIRST), dice.pick(say.VERBS)
        up = kind.parent if dice.percent(30) else kind.name
        case = dice.below(4)
        if case == 0:
            pairs, answer = (say.article(thing), say.article(up)), "true"
        elif case == 1:
            pairs, answer = (say.article(thing), say.article(self._other(kind, up))), "false"
        elif case == 2:
            pairs, answer = (say.article(thing), f"no {up}"), "false"
        else:
            pairs, answer = (say.article(up), say.article(thing)), "unknown"
        return say.sentence(say.inference(name, verb, *pairs), answer)

    def _other(self, kind: Class, up: str) -> str:
        others = PARENTS if up == kind.parent else tuple(other.name for other in CLASSES)
        found = self._dice.pick(others)
        while found == up:
            found = self._dice.pick(others)
        return found

    def _feelings(self) -> str:
        return self._role("state")

    def _jobs(self) -> str:
        return self._role("job")

    def _role(self, kind: str) -> str:
        name, role = self._about.in_role(self._dice, kind)
        aspect = self._dice.pick(ASPECTS[kind])
        statement = self._dice.pick(aspect.statements)
        return say.sentence(say.role_prefix(statement, name, role.word), role.values[aspect.id])

    def _deeds(self) -> str:
        deed, giver, receiver = self._about.interaction(self._dice)
        done = say.deed(deed, giver, receiver)
        case = self._dice.below(4)
        if case < 2:
            return f"{done} {say.deed_answer(deed, giver, receiver)}"
        of_giver = self._dice.percent(50)
        if case == 2:
            return f"{done} {say.deed_feeling(deed, giver, receiver, of_giver=of_giver)}"
        feeling, who = (deed.giver, giver) if of_giver else (deed.receiver, receiver)
        return f"{done} {say.sentence(say.deed_who(feeling), who)}"

    def _words(self) -> str:
        dice, about = self._dice, self._about
        sense = dice.pick(about.world.senses)
        context = about.used(dice, sense)
        case = dice.below(5)
        if case == 0:
            field = dice.pick(tuple(FIELDS))
            return f"{dice.pick(FIELDS[field])} is a word of {field} ."
        if case < 3:
            scene = say.sense_scene(dice.pick(PEOPLE_FIRST), sense.word, context)
            return f"{scene} {say.sentence(say.sense_gloss(sense.word), sense.gloss)}"
        both = [one for one in about.world.senses if one.word == sense.word]
        other = dice.pick(both)
        near = about.used(dice, other)
        answer = "same" if other.gloss == sense.gloss else "different"
        return say.sentence(say.senses_compared(sense.word, context, near), answer)

    def _likeness(self) -> str:
        dice = self._dice
        pair, thing = self._about.described(dice)
        words = [pair.first, pair.second]
        first, second = words if dice.percent(50) else words[::-1]
        name, verb = dice.pick(PEOPLE_FIRST), dice.pick(say.VERBS)
        case = dice.below(6)
        if case == 0:
            return f"{first} means the same as {second} ."
        if case == 1:
            return f"{first} means the contrary of {pair.opposite} ."
        if case == 2:
            return say.paraphrase(name, verb, first, thing, second)
        if case == 3:
            return say.sentence(say.likeness(name, verb, first, second, thing), "same")
        if case == 4:
            other = pair.opposite
            shown = (first, other) if dice.percent(50) else (other, first)
            return say.sentence(say.likeness(name, verb, *shown, thing), "different")
        return say.sentence(
            say.likeness(name, verb, first, self._foreign(pair.first), thing), "different"
        )

    def _foreign(self, first: str) -> str:
        found = self._dice.pick(self._about.world.synonyms)
        while found.first == first:
            found = self._dice.pick(self._about.world.synonyms)
        return found.second

    def _quiz(self) -> str:
        dice, about = self._dice, self._about
        topic, told = about.told(dice)
        fact = told.facts.draw(dice)
        relation = about.relations[fact.relation]
        prefix = say.fact_prefix(relation, dice.below(len(relation.statements)), fact.subject)
        # the answer is to be read in the text, whatever is true
        shown = fact.answer if dice.percent(50) else dice.pick(about.answers[fact.relation])
        text = say.sentence(prefix, shown)
        if dice.percent(50):
            question = say.fact_question(relation, fact.subject)
            return say.sentence(say.reading(text, question), shown)
        if dice.percent(50):
            question = say.fact_question(relation, fact.subject)
            return say.sentence(say.answerable(text, question), "yes")
        other = about.subjects[topic].draw(dice).facts.draw(dice)
        question = say.fact_question(about.relations[other.relation], other.subject)
        answer = "yes" if (other.id == fact.id) else "no"
        return say.sentence(say.answerable(text, question), answer)


_REGULAR = ("weights", "logic", "feelings", "jobs", "deeds", "words", "likeness", "quiz")
# what takes more to learn
_OFTEN = ("logic", "words", "likeness", "likeness", "deeds", "weights", "quiz", "quiz")
