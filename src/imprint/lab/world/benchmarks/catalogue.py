"""The twenty benchmarks, by the four categories of arXiv 2602.11217 (7, 4, 4, 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from imprint.lab.world.benchmarks import commonsense, nli, science, semantic
from imprint.lab.world.benchmarks.groups import Group, items
from imprint.lab.world.dice import Dice
from imprint.lab.world.world import World

COUNT = {"small": 300, "standard": 600}  # items of each at least
TRIES = 20  # groups drawn for each item wanted, before there are taken to be no more


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark of the world.

    Attributes:
        name: of its file.
        category: ``commonsense``, ``science``, ``nli`` or ``semantic``.
        options: of each item; all are right equally often, so chance is one in so many.
        about: what an answer needs.
        groups: draws groups of questions.
    """

    name: str
    category: str
    options: int
    about: str
    groups: Callable[[World, Dice], Iterator[Group]]

    @property
    def chance(self) -> float:
        """Expected accuracy of guessing."""
        return 1 / self.options

    def rows(self, world: World) -> list[dict[str, Any]]:
        """Give the items of a world, as ``imprint evaluate --benchmarks`` reads them.

        Each row has ``id``, ``prompt``, ``choices``, ``answer``, ``about`` and ``category``.
        """
        count = COUNT[world.config.size]
        draws = self.groups(world, world.dice("benchmark", self.name))
        order = world.dice("benchmark", self.name, "options")
        found = items(self.name, islice(draws, count * TRIES), count, order)
        return [{**row, "category": self.category} for row in found]


def _category(
    category: str, *rows: tuple[Callable[[World, Dice], Iterator[Group]], int, str]
) -> tuple[Benchmark, ...]:
    return tuple(
        Benchmark(groups.__name__, category, options, about, groups)
        for groups, options, about in rows
    )


BENCHMARKS = (
    *_category(
        "commonsense",
        (
            commonsense.objects,
            2,
            "how a thing feels and tastes, its shape, whether it floats, by its class",
        ),
        (commonsense.accidents, 3, "what fire or a fall does to a thing, by its class"),
        (commonsense.usage, 4, "what a thing is for and where it is kept, by its class"),
        (commonsense.states, 2, "what somebody in a state does, needs, where they go"),
        (commonsense.jobs, 4, "what somebody with a job does, uses, where they go"),
        (commonsense.feelings, 2, "how giver and receiver of a deed feel"),
        (commonsense.who, 2, "which of two people feels so after a deed"),
    ),
    *_category(
        "science",
        (science.animals, 4, "cover, moves, diet and sound of an animal, by its class"),
        (science.origins, 3, "where materials and food come from and animals live, by their class"),
        (science.weights, 2, "which of two things is lighter or heavier than a third"),
        (science.kinds, 4, "the kind of a thing"),
    ),
    *_category(
        "nli",
        (nli.entailment, 3, "whether a sentence follows by the kind of a thing: also unknown"),
        (nli.classes, 2, "whether a thing is of a wide class"),
        (nli.claims, 2, "whether a claim on a thing is right, by its class"),
        (nli.answerable, 2, "whether a text answers a question"),
    ),
    *_category(
        "semantic",
        (
            semantic.senses,
            2,
            "which sense a word has beside another, or whether two uses share one",
        ),
        (semantic.synonyms, 2, "the word of the same meaning"),
        (semantic.likeness, 2, "whether two sentences mean the same"),
        (semantic.reading, 2, "what a text says, against what is known"),
        (semantic.reference, 2, "whom the second half of a story concerns"),
    ),
)
CATEGORIES = {
    category: tuple(one.name for one in BENCHMARKS if one.category == category)
    for category in dict.fromkeys(one.category for one in BENCHMARKS)
}
