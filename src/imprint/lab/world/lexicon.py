"""The closed lexicon: every word that a text of any world can hold."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from imprint.lab.world.documents.noise import BOILERPLATE
from imprint.lab.world.kinds import CLASSES, PROPERTIES
from imprint.lab.world.names import CLOSED, POOLS
from imprint.lab.world.people import ASPECTS, INTERACTIONS, ROLES
from imprint.lab.world.relations import RELATIONS
from imprint.lab.world.sentences import VERBS
from imprint.lab.world.words import FIELDS, SENSES, SYNONYMS

GLUE = (
    ". , : ; ? | = == > < ( ) { } a an is are was so if then no not because than true false "
    "unknown heavier lighter saw near here word words of the and in other same different meaning "
    "means as contrary this right wrong it felt one or who text question answer does tell yes "
    "assert def x return class kind"
)


@cache
def lexicon() -> tuple[str, ...]:
    """Give every word type, sorted; the same for all worlds."""
    words = {
        word
        for text in _texts()
        for word in text.split()
        if not word.startswith("{") or word == "{"
    }
    return tuple(sorted(words))


def _texts() -> Iterator[str]:
    yield GLUE
    yield from BOILERPLATE
    yield from VERBS
    for pool in POOLS.values():
        yield from (*pool.first, *pool.second)
    for words in CLOSED.values():
        yield from words
    for relation in RELATIONS:
        yield from (relation.label, relation.question, *relation.statements)
    for one in PROPERTIES:
        yield from (one.id, one.question, *one.statements)
    for kind in CLASSES:
        yield from (kind.name, kind.parent, *kind.members, *kind.values.values())
    for aspects in ASPECTS.values():
        yield from (text for aspect in aspects for text in (aspect.id, *aspect.statements))
    for role in ROLES:
        yield from (role.word, *role.values.values())
    for deed in INTERACTIONS:
        yield from (deed.deed, deed.answer, deed.giver, deed.receiver)
    for gloss, contexts in FIELDS.items():
        yield from (gloss, *contexts)
    yield from (sense.word for sense in SENSES)
    for pair in SYNONYMS:
        yield from (pair.first, pair.second, pair.opposite)
