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
        "if you put {object} in water it",
        "when it is thrown into deep water {object}",
    ),
    _property(
        "fire",
        "what does {object} do in fire ?",
        "in fire {object}",
        "if you put {object} in fire it",
        "when it gets very hot {object}",
    ),
    _property(
        "weight",
        "how heavy is {object} ?",
        "in your hand {object} feels",
        "if you lift {object} you find it",
        "for its size {object} is",
    ),
    _property(
        "touch",
        "how does {object} feel ?",
        "to the touch {object} is",
        "if you press {object} you find it",
        "the outside of {object} is",
    ),
    _property(
        "fall",
        "what does {object} do when it falls ?",
        "when it falls {object}",
        "if you drop {object} it",
        "after a hard blow {object}",
    ),
    _property(
        "taste",
        "how does {object} taste ?",
        "in the mouth {object} tastes",
        "if you eat {object} you find it",
        "the taste of {object} is",
    ),
    _property(
        "source",
        "where does {object} come from ?",
        "fresh {object} comes from the",
        "if you want {object} go to the",
        "people take {object} from the",
    ),
    _property(
        "cover",
        "what covers {object} ?",
        "the body of {object} has",
        "if you look at {object} you see",
        "on its back {object} has",
    ),
    _property(
        "moves",
        "how does {object} move ?",
        "to get away {object}",
        "if you scare {object} it",
        "when it wants to move {object}",
    ),
    _property(
        "birth",
        "how is {object} born ?",
        "in spring {object} has",
        "a mother of the kind of {object} gives",
        "the little ones of {object} come from",
    ),
    _property(
        "diet",
        "what does {object} eat ?",
        "for its dinner {object} eats",
        "if you feed {object} give it",
        "the food of {object} is",
    ),
    _property(
        "home",
        "where does {object} sleep ?",
        "at night {object} sleeps in the",
        "if you look for {object} go to the",
        "the home of {object} is the",
    ),
    _property(
        "sound",
        "what sound does {object} make ?",
        "in the morning {object}",
        "if you listen to {object} it",
        "all day long {object}",
    ),
    _property(
        "use",
        "what is {object} for ?",
        "people use {object} to",
        "if you have {object} you can",
        "with {object} it is easy to",
    ),
    _property(
        "edge",
        "how is the shape of {object} ?",
        "the shape of {object} is",
        "if you draw {object} you make it",
        "the end of {object} is",
    ),
    _property(
        "kept",
        "where do people keep {object} ?",
        "people keep {object} in the",
        "if you need {object} look in the",
        "after work {object} goes to the",
    ),
    _property(
        "above",
        "what is above you in {object} ?",
        "above you in {object} is the",
        "if you look up in {object} you see the",
        "over {object} there is the",
    ),
    _property(
        "inside",
        "what is in {object} ?",
        "in {object} you find",
        "if you go to {object} you see",
        "every day in {object} there are",
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
        "robin crow owl gull swan hawk finch wren",
        "cover=feathers moves=flies birth=eggs diet=seeds home=nest sound=sings",
    ),
    _class(
        "fish",
        "animal",
        "animals",
        1,
        "trout salmon cod carp tuna perch pike herring",
        "cover=scales moves=swims birth=eggs diet=worms home=reeds",
    ),
    _class(
        "hunter",
        "animal",
        "animals",
        2,
        "wolf fox lion tiger lynx bear cat dog",
        "cover=fur moves=runs birth=milk diet=meat home=den sound=growls",
    ),
    _class(
        "grazer",
        "animal",
        "animals",
        3,
        "cow horse sheep goat deer mule camel donkey",
        "cover=hair moves=walks birth=milk diet=grass home=barn sound=calls",
    ),
    _class(
        "insect",
        "animal",
        "animals",
        0,
        "bee ant moth wasp beetle gnat cricket flea",
        "cover=shell moves=crawls birth=eggs diet=leaves home=hive sound=buzzes",
    ),
    _class(
        "metal",
        "material",
        "materials",
        3,
        "iron gold copper tin lead silver zinc steel",
        "water=sinks fire=melts weight=heavy touch=hard fall=bends source=mine",
        mass=True,
    ),
    _class(
        "timber",
        "material",
        "materials",
        1,
        "oak pine cork elm birch cedar willow bamboo",
        "water=floats fire=burns weight=light touch=hard fall=splits source=forest",
        mass=True,
    ),
    _class(
        "fat",
        "material",
        "materials",
        1,
        "wax butter lard tallow soap cream cheese grease",
        "water=floats fire=melts weight=light touch=soft fall=spreads source=farm",
        mass=True,
    ),
    _class(
        "stone",
        "material",
        "materials",
        3,
        "granite marble flint slate chalk quartz basalt clay",
        "water=sinks fire=stays weight=heavy touch=hard fall=breaks source=mountain",
        mass=True,
    ),
    _class(
        "cloth",
        "material",
        "materials",
        0,
        "wool cotton silk linen felt satin denim lace",
        "water=sinks fire=burns weight=light touch=soft fall=folds source=weaver",
        mass=True,
    ),
    _class(
        "fruit",
        "food",
        "food",
        0,
        "apple pear plum peach lemon cherry fig melon",
        "water=floats touch=soft taste=sweet source=tree edge=round kept=bowl",
    ),
    _class(
        "root",
        "food",
        "food",
        1,
        "carrot onion turnip leek beet radish potato yam",
        "water=sinks touch=hard taste=bitter source=ground edge=pointed kept=sack",
    ),
    _class(
        "pastry",
        "food",
        "food",
        0,
        "cake bun pie biscuit tart pancake roll waffle",
        "water=floats touch=soft taste=rich source=oven edge=flat kept=box",
    ),
    _class(
        "cutter",
        "tool",
        "tools",
        2,
        "knife saw axe razor sickle chisel scythe sword",
        "water=sinks use=cut edge=sharp kept=shed weight=light fall=bends",
    ),
    _class(
        "striker",
        "tool",
        "tools",
        3,
        "hammer mallet cudgel gavel mace baton pestle flail",
        "water=sinks use=strike edge=blunt kept=chest weight=heavy fall=stays",
    ),
    _class(
        "vessel",
        "tool",
        "tools",
        1,
        "cup mug jar pot jug bucket kettle barrel",
        "water=floats use=pour edge=round kept=kitchen weight=light fall=breaks",
    ),
    _class(
        "garment",
        "tool",
        "tools",
        0,
        "coat shirt hat scarf glove sock robe boot",
        "fire=burns use=dress edge=flat kept=wardrobe touch=soft fall=folds",
    ),
    _class(
        "vehicle",
        "tool",
        "tools",
        3,
        "cart bus truck wagon train tram van car",
        "water=sinks use=travel edge=long kept=street weight=heavy touch=hard",
    ),
    _class(
        "stretch",
        "place",
        "sights",
        3,
        "river lake pond sea stream canal lagoon swamp",
        "above=sky inside=boats touch=wet edge=long",
    ),
    _class(
        "room",
        "place",
        "sights",
        2,
        "cellar attic parlor office study pantry lobby cabin",
        "above=ceiling inside=chairs touch=dry edge=square",
    ),
    _class(
        "shop",
        "place",
        "sights",
        2,
        "bakery tavern market store inn stall mill forge",
        "above=roof inside=goods touch=dry edge=wide",
    ),
)
