"""The generated world: what there is, what holds, and what is never said.

A world follows from its seed and size alone. Everything said about it (corpora, benchmarks,
dialogues) is drawn from the tables here. ``World.held_out`` lists what no corpus ever says, so
that it can be asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from imprint.errors import ConfigError
from imprint.lab.world.dice import Dice
from imprint.lab.world.facts import Fact, draw_entities, draw_facts
from imprint.lab.world.held_out import HeldOut, draw_held_out
from imprint.lab.world.kinds import CLASSES, PROPERTIES, Class, Property
from imprint.lab.world.people import INTERACTIONS, ROLES, Interaction, Role
from imprint.lab.world.relations import RELATIONS, Relation
from imprint.lab.world.words import SENSES, SYNONYMS, Sense, Synonyms

Size = Literal["small", "standard"]
Register = Literal["web", "code", "curated"]
Quality = Literal["raw", "filtered", "scored"]
DOCUMENTS = {"small": 12_000, "standard": 120_000}


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """What a world follows from.

    Attributes:
        seed: everything drawn follows from it.
        size: ``small`` has about 1,300 facts, ``standard`` about 3,100.
        documents: of each web corpus, as many of code and half as many curated; by default what
            one pretraining run of the size's scale takes without much repetition.
    """

    seed: int = 0
    size: Size = "small"
    documents: int | None = None

    def __post_init__(self) -> None:
        """Refuse what gives no world."""
        if self.size not in DOCUMENTS:
            raise ConfigError(f"there is no size {self.size!r}", remedy="say small or standard.")
        if self.documents is not None and self.documents < 1:
            raise ConfigError(f"--documents {self.documents} is too few", remedy="give at least 1.")

    @property
    def counts(self) -> dict[str, int]:
        """Documents of each corpus."""
        web = self.documents or DOCUMENTS[self.size]
        counts = {"web_raw": web, "web_filtered": web, "web_scored": web}
        return {**counts, "code": web, "curated": (web + 1) // 2}


@dataclass(frozen=True)
class World:
    """One world.

    Attributes:
        config: seed, size, documents.
        entities: type → names of two words each, in the order in which they were drawn.
        relations: the 24 relations.
        facts: what is true of entities, most frequent first.
        classes: kinds of things, with members and what holds of them all.
        property_list: what can be asked of things, with statements.
        properties: object → property id → value.
        popularity: object → how often it is spoken of, 1 (rare) to 7; each step half as often
            again.
        roles: states and jobs with what follows from them.
        interactions: what people do to each other.
        senses, synonyms: meanings of words.
        held_out: what no corpus says.
    """

    config: WorldConfig
    entities: dict[str, tuple[str, ...]]
    facts: tuple[Fact, ...]
    popularity: dict[str, int]
    held_out: HeldOut
    relations: tuple[Relation, ...] = RELATIONS
    classes: tuple[Class, ...] = CLASSES
    property_list: tuple[Property, ...] = PROPERTIES
    roles: tuple[Role, ...] = ROLES
    interactions: tuple[Interaction, ...] = INTERACTIONS
    senses: tuple[Sense, ...] = SENSES
    synonyms: tuple[Synonyms, ...] = SYNONYMS
    properties: dict[str, dict[str, str]] = field(
        default_factory=lambda: {thing: dict(c.values) for c in CLASSES for thing in c.members}
    )

    @property
    def lexicon(self) -> tuple[str, ...]:
        """Every word type that the world can say, sorted."""
        from imprint.lab.world.lexicon import lexicon

        return lexicon()

    def class_of(self, thing: str) -> Class:
        """Give the class of an object.

        Raises:
            KeyError: it is none.
        """
        return CLASS_OF[thing]

    def dice(self, *labels: int | str) -> Dice:
        """Give a stream of draws that follows from the world's seed and these labels."""
        return Dice(self.config.seed, *labels)

    def documents(
        self, register: Register, quality: Quality | None, count: int, seed: int = 0
    ) -> Iterator[tuple[str, str]]:
        """Write documents.

        Args:
            register: ``web``, ``code`` or ``curated``.
            quality: of the web: ``raw``, ``filtered`` or ``scored``; None elsewhere.
            count: documents.
            seed: another seed gives other documents about the same world.

        Yields:
            text and domain of one document.
        """
        from imprint.lab.world.documents import documents

        return documents(self, register, quality, count, seed)


CLASS_OF = {thing: kind for kind in CLASSES for thing in kind.members}


def make_world(config: WorldConfig | None = None) -> World:
    """Draw a world.

    Args:
        config: seed and size; default seed 0, small.
    """
    config = config or WorldConfig()
    entities = draw_entities(config.seed, config.size)
    return World(
        config=config,
        entities=entities,
        facts=draw_facts(config.seed, config.size, entities),
        popularity=_popularity(config.seed),
        held_out=draw_held_out(config.seed),
    )


def _popularity(seed: int) -> dict[str, int]:
    dice = Dice(seed, "popularity")
    return {
        thing: len(kind.members) - rank
        for kind in CLASSES
        for rank, thing in enumerate(dice.shuffled(kind.members))
    }
