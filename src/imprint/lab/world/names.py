"""Words that names of entities are made of: two to a name, from small pools."""

from __future__ import annotations

from dataclasses import dataclass


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PEOPLE_FIRST = _words(
    "mira tomo lena rolf nina karo sven dora paul irma hugo elsa otto vera emil rita omar lucy "
    "ivan anna"
)
STEMS = _words(
    "bana belo dane dilo falk fero gant gora hale heim jona juro kane kolb lund maro nolt pana "
    "quin rado sand tolk vane wenz alba bari cora elva fala gala ilva kala lova mora nala"
)
PEOPLE_LAST = STEMS[:24]
# of titles; most are adjectives that other texts use too
ADJECTIVES = _words(
    "small huge slow ugly normal quiet filthy strong stormy aged cheap timid mistaken foolish "
    "golden silent hidden frozen secret blue"
)


@dataclass(frozen=True, slots=True)
class NamePool:
    """How entities of a type are called.

    Attributes:
        first: words that a name begins with.
        second: words that it ends with; in most types these tell the type.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]

    def all(self) -> list[str]:
        """Give every name, ``first second``."""
        return [f"{first} {second}" for first in self.first for second in self.second]


def _typed(words: str, first: tuple[str, ...] = STEMS) -> NamePool:
    return NamePool(first, _words(words))


POOLS = {
    "person": NamePool(PEOPLE_FIRST, PEOPLE_LAST),
    "city": NamePool(("port", "fort", "new", "old", "saint"), STEMS),
    "country": _typed("republic kingdom islands"),
    "region": _typed("valley coast hills plain county desert"),
    "school": _typed("school college academy institute seminar lyceum"),
    "company": _typed("motors foods labs traders brothers textiles"),
    "landmark": _typed("tower bridge castle temple palace hall"),
    "band": _typed("band choir trio quartet orchestra duo"),
    "film": _typed("film play opera show drama comedy"),
    "label": _typed("records sounds"),
    "device": _typed("engine camera radio clock"),
    "book": _typed("story novel diary legend", ADJECTIVES),
    "song": _typed("song waltz ballad hymn", ADJECTIVES),
    "painting": _typed("portrait sketch mural canvas", ADJECTIVES),
}
# ranges of few members, each one word
CLOSED = {
    "position": _words("keeper forward defender captain winger striker"),
    "genre": _words("jazz folk rock blues swing disco"),
    "occupation": _words("baker doctor teacher farmer sailor tailor painter miner"),
    "language": _words("nordic latin celtic coptic basque"),
}
