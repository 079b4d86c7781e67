"""How things are said: the surface forms that corpora and benchmarks share.

Every function is pure and takes what it speaks of; none looks at what is held out. Corpora call
them with what may be said, benchmarks with what was held out.
"""

from __future__ import annotations

from imprint.lab.world.kinds import CLASSES, Property
from imprint.lab.world.people import Interaction
from imprint.lab.world.relations import Relation

VERBS = ("sees", "has", "buys", "finds", "wants", "draws")
MASS = frozenset(m for kind in CLASSES if kind.mass for m in (*kind.members, kind.name))


def article(thing: str) -> str:
    """Give a noun with its article: ``a robin``, ``an owl``, ``iron``."""
    if thing in MASS or thing == "food":
        return thing
    return f"an {thing}" if thing[0] in "aeiou" else f"a {thing}"


def fact_prefix(relation: Relation, statement: int, subject: str) -> str:
    """State a fact up to its answer."""
    return relation.statements[statement].replace("{subject}", subject)


def fact_question(relation: Relation, subject: str) -> str:
    """Ask for a fact."""
    return relation.question.replace("{subject}", subject)


def property_prefix(asked: Property, statement: int, thing: str) -> str:
    """State a property of a thing, or of a class, up to its value."""
    return asked.statements[statement].replace("{object}", article(thing))


def property_question(asked: Property, thing: str) -> str:
    """Ask for a property."""
    return asked.question.replace("{object}", article(thing))


def sentence(prefix: str, answer: str) -> str:
    """End a statement."""
    return f"{prefix} {answer} ."


def is_a(thing: str, kind: str) -> str:
    """Say what a thing is: ``a robin is a bird .``."""
    return f"{article(thing)} is {article(kind)} ."


def because(prefix: str, value: str, thing: str, kind: str) -> str:
    """State a property with its reason, the class."""
    return f"{prefix} {value} , because {article(thing)} is {article(kind)} ."


def inference(name: str, verb: str, premise: str, conclusion: str) -> str:
    """Infer from one noun phrase to another, up to the verdict ``true``, ``false``, ``unknown``."""
    return f"if {name} {verb} {premise} then {name} {verb} {conclusion} ."


def verdict(statement: str) -> str:
    """Ask whether a statement holds, up to ``right`` or ``wrong``."""
    return f"is this right or wrong : {statement} it is"


def compared(thing: str, other: str, *, heavier: bool) -> str:
    """Compare the weights of two things."""
    word = "heavier" if heavier else "lighter"
    return f"{article(thing)} is {word} than {article(other)} ."


def role_prefix(statement: str, name: str, role: str) -> str:
    """State what follows from a state or job, up to its value."""
    return statement.replace("{name}", name).replace("{role}", role)


def deed(done: Interaction, giver: str, receiver: str) -> str:
    """Say what one did to another."""
    return f"{giver} {done.deed} {receiver} ."


def deed_answer(done: Interaction, giver: str, receiver: str) -> str:
    """Say what came of it."""
    first, second = (receiver, giver) if done.by_receiver else (giver, receiver)
    return f"so {first} {done.answer} {second} ."


def deed_feeling(done: Interaction, giver: str, receiver: str, *, of_giver: bool) -> str:
    """Say how one of the two feels."""
    return f"{giver} felt {done.giver} ." if of_giver else f"{receiver} felt {done.receiver} ."


def deed_who(feeling: str) -> str:
    """Ask which of two feels so, up to the name."""
    return f"the one who felt {feeling} was"


def sense_scene(name: str, word: str, context: str) -> str:
    """Use a word of two senses near a word that tells which."""
    return f"{name} saw the {word} near the {context} ."


def sense_gloss(word: str) -> str:
    """Say what the word means there, up to the gloss."""
    return f"here {word} is a word of"


def senses_compared(word: str, context: str, other: str) -> str:
    """Compare two uses of a word, up to ``same`` or ``different``."""
    return f"the {word} near the {context} and the {word} near the {other} are"


def paraphrase(name: str, verb: str, adjective: str, thing: str, other: str) -> str:
    """Say a thing in other words: ``big`` for ``large``."""
    first, second = (_described(adjective, thing), _described(other, thing))
    return f"{name} {verb} {first} . in other words {name} {verb} {second} ."


def likeness(name: str, verb: str, adjective: str, other: str, thing: str) -> str:
    """Compare two sentences that differ in a word, up to ``same`` or ``different``."""
    first, second = (_described(adjective, thing), _described(other, thing))
    return f"{name} {verb} {first} and {name} {verb} {second} : the meaning is"


def reading(text: str, question: str) -> str:
    """Put a question to a text, up to the answer."""
    return f"text : {text} question : {question} answer :"


def answerable(text: str, question: str) -> str:
    """Ask whether a text answers a question, up to ``yes`` or ``no``."""
    return f"text : {text} question : {question} does the text tell ?"


def _described(adjective: str, thing: str) -> str:
    phrase = f"{adjective} {thing}"
    if thing in MASS:
        return phrase
    return f"an {phrase}" if adjective[0] in "aeiou" else f"a {phrase}"
