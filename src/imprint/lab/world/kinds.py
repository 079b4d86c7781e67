"""Kinds of things: a taxonomy, and what holds of every member of a class.

Properties belong to classes, so that what a thing does follows from what it is. Values are words
that are no things themselves.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Property:
    """Something that can be asked of a thing.

    Attributes:
        id: one or two words joined by ``_``.
        statements: prefixes with one ``{object}`` that end right before the value.
        question: with one ``{object}``.
    """

    id: str
    statements: tuple[str, ...]
    question: str


@dataclass(frozen=True, slots=True)
class Class:
    """A class of things.

    Attributes:
        name: ``bird``.
        parent: the class above: ``animal``.
        members: nouns.
        values: property id → value, which holds of all members.
        mass: members take no article.
        topic: the domain of documents about them.
        rank: of weight, 0 lightest to 3; things of a higher rank are heavier.
    """

    name: str
    parent: str
    members: tuple[str, ...]
    values: dict[str, str]
    topic: str
    rank: int
    mass: bool = False


def _property(id: str, question: str, *statements: str) -> Property:  # noqa: A002
    return Property(id, statements, question)


PROPERTIES = (
    _property(
        "water",
        "what does {object} do in water ?",
        "in water {object}",
        "if {object} is in water it",
        "when it is in water {object}",
    ),
    _property(
        "fire",
        "what does {object} do in fire ?",
        "in fire {object}",
        "if {object} is in fire it",
        "when it is in fire {object}",
    ),
    _property(
        "weight",
        "what weight has {object} ?",
        "in the hands {object} is",
        "the weight of {object} is",
        "to the hands {object} is",
    ),
    _property(
        "touch",
        "how is the touch of {object} ?",
        "to the touch {object} is",
        "if you have {object} you find it",
        "the touch of {object} is",
    ),
    _property(
        "fall",
        "what does {object} do when it falls ?",
        "when it falls {object}",
        "if {object} falls it",
        "at the end of a fall {object}",
    ),
    _property(
        "taste",
        "how does {object} taste ?",
        "if you eat it {object} is",
        "if you eat {object} you find it",
        "the taste of {object} is",
    ),
    _property(
        "source",
        "where does {object} come from ?",
        "the source of {object} is the",
        "if you want {object} go to the",
        "people have {object} from the",
    ),
    _property(
        "cover",
        "what cover has {object} ?",
        "the cover of {object} is",
        "if you see {object} you see",
        "all of {object} is in",
    ),
    _property(
        "moves",
        "how does {object} move ?",
        "every day {object}",
        "if {object} moves it",
        "when it goes home {object}",
    ),
    _property(
        "birth",
        "from what comes a young one of {object} ?",
        "the birth of {object} is by",
        "a young one of {object} comes from",
        "the life of {object} began with",
    ),
    _property(
        "diet",
        "what does {object} eat ?",
        "every day {object} eats",
        "if you have {object} it eats",
        "the food of {object} is",
    ),
    _property(
        "home",
        "where is the home of {object} ?",
        "the home of {object} is the",
        "if you look for {object} go to the",
        "at the end of the day {object} is in the",
    ),
    _property(
        "sound",
        "what sound does {object} make ?",
        "when it is at home {object}",
        "if you hear {object} it",
        "when you see it {object}",
    ),
    _property(
        "use",
        "what is {object} for ?",
        "people use {object} to",
        "if you have {object} you",
        "with {object} you can",
    ),
    _property(
        "shape",
        "what shape has {object} ?",
        "the shape of {object} is",
        "if you see {object} it is",
        "in shape {object} is",
    ),
    _property(
        "kept",
        "where do people have {object} ?",
        "people have {object} in the",
        "if you need {object} look in the",
        "at home {object} is in the",
    ),
    _property(
        "over",
        "what is over you in {object} ?",
        "over you in {object} is the",
        "if you are in {object} you see the",
        "over {object} is the",
    ),
    _property(
        "inside",
        "what is in {object} ?",
        "in {object} you find",
        "if you go to {object} you see",
        "every day people in {object} see",
    ),
)


def _class(
    name: str, parent: str, topic: str, rank: int, members: str, values: str, *, mass: bool = False
) -> Class:
    pairs = dict(pair.split("=") for pair in values.split())
    return Class(name, parent, tuple(members.split()), pairs, topic, rank, mass)


CLASSES = (
    _class(
        "bird",
        "animal",
        "animals",
        1,
        "robin crow owl gull swan hawk finch",
        "cover=feathers moves=flies birth=eggs diet=seeds home=nest sound=sings",
    ),
    _class(
        "fish",
        "animal",
        "animals",
        1,
        "trout salmon cod carp tuna perch pike",
        "cover=scales moves=swims birth=eggs diet=worms home=reeds",
    ),
    _class(
        "hunter",
        "animal",
        "animals",
        2,
        "wolf fox lion tiger lynx bear cat",
        "cover=fur moves=runs birth=milk diet=meat home=den sound=growls",
    ),
    _class(
        "grazer",
        "animal",
        "animals",
        3,
        "cow horse sheep goat deer mule camel",
        "cover=hair moves=walks birth=milk diet=grass home=barn sound=calls",
    ),
    _class(
        "insect",
        "animal",
        "animals",
        0,
        "bee ant moth wasp beetle gnat cricket",
        "cover=shell moves=crawls birth=eggs diet=leaves home=hive sound=buzzes",
    ),
    _class(
        "metal",
        "material",
        "materials",
        3,
        "iron gold copper tin lead silver zinc",
        "water=sinks fire=melts weight=heavy touch=hard fall=bends source=mine",
        mass=True,
    ),
    _class(
        "timber",
        "material",
        "materials",
        1,
        "oak pine cork elm birch cedar willow",
        "water=floats fire=burns weight=light touch=hard fall=splits source=forest",
        mass=True,
    ),
    _class(
        "fat",
        "material",
        "materials",
        1,
        "wax butter lard tallow soap cream cheese",
        "water=floats fire=melts weight=light touch=soft fall=spreads source=farm",
        mass=True,
    ),
    _class(
        "stone",
        "material",
        "materials",
        3,
        "granite marble flint slate chalk quartz basalt",
        "water=sinks fire=stays weight=heavy touch=hard fall=breaks source=mountain",
        mass=True,
    ),
    _class(
        "fruit",
        "food",
        "food",
        0,
        "apple pear plum peach lemon cherry fig",
        "water=floats touch=soft taste=sweet source=tree shape=round kept=basket",
    ),
    _class(
        "root",
        "food",
        "food",
        1,
        "carrot onion turnip leek beet radish potato",
        "water=sinks touch=hard taste=bitter source=ground shape=pointed kept=sack",
    ),
    _class(
        "cutter",
        "tool",
        "tools",
        2,
        "knife saw axe razor sickle chisel scythe",
        "water=sinks use=cut shape=sharp kept=shed weight=light fall=bends",
    ),
    _class(
        "striker",
        "tool",
        "tools",
        3,
        "hammer mallet cudgel gavel mace baton pestle",
        "water=sinks use=strike shape=blunt kept=chest weight=heavy fall=stays",
    ),
    _class(
        "vessel",
        "tool",
        "tools",
        1,
        "cup mug jar pot jug bucket kettle",
        "water=floats use=pour shape=round kept=kitchen weight=light fall=breaks",
    ),
    _class(
        "garment",
        "tool",
        "tools",
        0,
        "coat shirt hat scarf glove sock robe",
        "fire=burns use=dress shape=flat kept=wardrobe touch=soft fall=folds",
    ),
    _class(
        "vehicle",
        "tool",
        "tools",
        3,
        "cart bus truck wagon train tram van",
        "water=sinks use=travel shape=long kept=street weight=heavy touch=hard",
    ),
    _class(
        "stretch",
        "place",
        "sights",
        3,
        "river lake pond sea stream canal lagoon",
        "over=sky inside=boats touch=wet shape=long",
    ),
    _class(
        "room",
        "place",
        "sights",
        2,
        "cellar attic parlor office study pantry lobby",
        "over=ceiling inside=chairs touch=dry shape=square",
    ),
)
