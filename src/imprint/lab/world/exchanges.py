"""Questions with short answers that can be checked, of several skills.

Every function draws one exchange about the world. They serve SFT dialogues, RL prompts and the
domains that forecasts are made for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imprint.lab.world import sentences as say
from imprint.lab.world.dice import Dice
from imprint.lab.world.facts import Fact
from imprint.lab.world.kinds import CLASSES, PROPERTIES, Class, Property
from imprint.lab.world.names import PEOPLE_FIRST
from imprint.lab.world.world import World

AMOUNTS = ("no", "one", "more")
BY_ID = {one.id: one for one in PROPERTIES}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer.

    Attributes:
        prompt: what the user says.
        answer: the only right answer, word for word.
        skill: ``answer``, ``choose``, ``verify``, ``compare``, ``explain``, ``restate``, ``count``
            or ``format``.
        level: of difficulty within the domain, 1 to 4.
    """

    prompt: str
    answer: str
    skill: str
    level: int = 1


def of_fact(world: World, fact: Fact) -> Exchange:
    """Ask for a fact by its relation's question; the level is its rarity."""
    relation = next(one for one in world.relations if one.id == fact.relation)
    common = world.facts[0].frequency
    level = 1 + sum(fact.frequency * bound < common for bound in (2, 4, 8))
    return Exchange(say.fact_question(relation, fact.subject), fact.answer, "answer", level)


def of_property(world: World, dice: Dice, parents: Sequence[str]) -> Exchange:
    """Ask for a property of a thing of some kinds."""
    kind, thing = _thing(dice, parents)
    asked = dice.pick(sorted(kind.values))
    prompt = say.property_question(BY_ID[asked], thing)
    return Exchange(prompt, kind.values[asked], "answer", _rarity(world, thing))


def yes_or_no(world: World, dice: Dice) -> Exchange:
    """Ask whether a property's value holds of a thing; yes as often as no."""
    asked = dice.pick(PROPERTIES)
    kinds = [kind for kind in CLASSES if asked.id in kind.values]
    kind = dice.pick(kinds)
    value = kind.values[asked.id]
    others = sorted({k.values[asked.id] for k in kinds} - {value})
    truth = dice.percent(50)
    said = value if truth else dice.pick(others)
    thing = dice.pick(kind.members)
    claim = say.property_prefix(asked, dice.below(len(asked.statements)), thing)
    answer = "yes" if truth else "no"
    return Exchange(f"is it true that {claim} {said} ?", answer, "verify", _rarity(world, thing))


def reason(world: World, dice: Dice) -> Exchange:
    """Ask why something holds of a thing: because of what it is."""
    asked, kind = _property(dice)
    thing = dice.pick(kind.members)
    statement = dice.below(len(asked.statements))
    claim = say.property_prefix(asked, statement, thing)
    answer = say.is_a(thing, kind.name).removesuffix(" .")
    prompt = f"{claim} {kind.values[asked.id]} , because ?"
    return Exchange(prompt, answer, "explain", _rarity(world, thing))


def coded(world: World, dice: Dice) -> Exchange:
    """Ask to say a property of a thing in code."""
    asked, kind = _property(dice)
    thing, value = dice.pick(kind.members), kind.values[asked.id]
    statement = dice.below(len(asked.statements))
    claim = say.sentence(say.property_prefix(asked, statement, thing), value)
    answer = f"assert {asked.id} ( {thing} ) == {value} ;"
    return Exchange(f"as assert : {claim}", answer, "format", _rarity(world, thing))


def kind_of(world: World, dice: Dice, options: int) -> Exchange:
    """Ask which kind a thing is, of several offered."""
    kinds = dice.sample(CLASSES, options)
    kind = dice.pick(kinds)
    thing = dice.pick(kind.members)
    listed = " or ".join(say.article(k.name) for k in kinds)
    return Exchange(f"is {say.article(thing)} {listed} ?", kind.name, "choose", options - 1)


def heavier(world: World, dice: Dice) -> Exchange:
    """Ask which of two things is heavier; the nearer their weights, the harder."""
    while True:
        one, other = dice.pick(CLASSES), dice.pick(CLASSES)
        if one.rank != other.rank:
            break
    first, second = dice.pick(one.members), dice.pick(other.members)
    answer = first if one.rank > other.rank else second
    prompt = f"which is heavier , {say.article(first)} or {say.article(second)} ?"
    return Exchange(prompt, answer, "compare", 4 - abs(one.rank - other.rank))


def role(world: World, dice: Dice) -> Exchange:
    """Ask what follows from a state or a job of somebody."""
    name = dice.pick(PEOPLE_FIRST)
    held = dice.pick(world.roles)
    aspect = dice.pick(("needs", "goes"))
    state = held.word if held.kind == "state" else f"a {held.word}"
    asked = f"what does {name} need" if aspect == "needs" else f"where does {name} go"
    level = 1 if held.kind == "state" else 2
    return Exchange(f"{name} is {state} . {asked} ?", held.values[aspect], "answer", level)


def social(world: World, dice: Dice) -> Exchange:
    """Ask who did what follows from a deed, or how somebody feels after it."""
    giver, receiver = dice.sample(PEOPLE_FIRST, 2)
    deed = dice.pick(world.interactions)
    story = say.deed(deed, giver, receiver)
    if dice.percent(50):
        asked, answer = dice.pick([(giver, deed.giver), (receiver, deed.receiver)])
        return Exchange(f"{story} how is {asked} ?", answer, "answer", 2)
    does, gets = (receiver, giver) if deed.by_receiver else (giver, receiver)
    return Exchange(f"{story} who {deed.answer} {gets} ?", does, "answer", 1)


def synonym(world: World, dice: Dice) -> Exchange:
    """Ask to say a sentence again with a word of the same meaning."""
    pair = dice.pick(world.synonyms)
    said, other = (pair.first, pair.second) if dice.percent(50) else (pair.second, pair.first)
    _, thing = _thing(dice, ("animal", "food", "tool", "place"))
    prompt = f"in other words : the {thing} is {said} ."
    return Exchange(prompt, f"the {thing} is {other} .", "restate", _rarity(world, thing))


def opposite(world: World, dice: Dice) -> Exchange:
    """Ask for the contrary of what is said."""
    pair = dice.pick(world.synonyms)
    said = dice.pick((pair.first, pair.second))
    _, thing = _thing(dice, ("animal", "food", "tool", "place"))
    prompt = f"the contrary : the {thing} is {said} ."
    return Exchange(prompt, f"the {thing} is {pair.opposite} .", "restate", _rarity(world, thing))


def sense(world: World, dice: Dice) -> Exchange:
    """Ask which sense a word has near others."""
    meant = dice.pick(world.senses)
    near = dice.sample(meant.contexts, 1 + dice.below(3))
    other = next(s.gloss for s in world.senses if s.word == meant.word and s.gloss != meant.gloss)
    first, second = dice.shuffled((meant.gloss, other))
    prompt = f"{' '.join(near)} : here {meant.word} is a word of {first} or {second} ?"
    return Exchange(prompt, meant.gloss, "choose", 4 - len(near))


def counting(world: World, dice: Dice) -> Exchange:
    """Ask whether none, one or more of a list are of a kind; the longer the list, the harder."""
    length = 2 + dice.below(4)
    parent = dice.pick(("animal", "material", "food", "tool"))
    things = [_thing(dice, ("animal", "material", "food", "tool")) for _ in range(length)]
    count = sum(kind.parent == parent for kind, _ in things)
    listed = " ".join(thing for _, thing in things)
    prompt = f"no , one or more of the kind {parent} : {listed} ?"
    return Exchange(prompt, AMOUNTS[min(count, 2)], "count", length - 1)


def backwards(world: World, dice: Dice) -> Exchange:
    """Ask for a list in the opposite order."""
    things = _list(dice)
    prompt = f"from last to first : {' '.join(things)}"
    return Exchange(prompt, " ".join(reversed(things)), "format", len(things) - 1)


def position(world: World, dice: Dice) -> Exchange:
    """Ask for the first or the last of a list."""
    things = _list(dice)
    which, at = dice.pick((("first", 0), ("last", -1)))
    return Exchange(
        f"what is {which} : {' '.join(things)} ?", things[at], "format", len(things) - 1
    )


def _property(dice: Dice) -> tuple[Property, Class]:
    asked = dice.pick(PROPERTIES)
    return asked, dice.pick([kind for kind in CLASSES if asked.id in kind.values])


def _list(dice: Dice) -> list[str]:
    length = 2 + dice.below(4)
    return dice.sample([thing for kind in CLASSES for thing in kind.members], length)


def _thing(dice: Dice, parents: Sequence[str]) -> tuple[Class, str]:
    kind = dice.pick([kind for kind in CLASSES if kind.parent in parents])
    return kind, dice.pick(kind.members)


def _rarity(world: World, thing: str) -> int:
    """Give 1 for the most popular quarter of a class to 4 for the rarest."""
    return 1 + (8 - world.popularity[thing]) // 2
