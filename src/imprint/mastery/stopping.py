"""When enough samples of a fact are drawn.

Samples have an order: the first sample of every template, then the second, and so on, so that
every template has its share whenever a fact is stopped. Stops are decided at fixed numbers of
samples, never by what else happens to be in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imprint.errors import ConfigError
from imprint.mastery.levels import edges, level_probabilities

STEPS = 4  # looks at a fact after the first moment at which its level can be settled
FIRST = 42  # samples before the first look where certainty suffices
LOOK = 21  # and between looks


@dataclass(frozen=True, slots=True)
class Stopping:
    """A rule.

    Attributes:
        certainty: stop when one level of the full run has at least this probability; 1 stops only
            when the remaining samples cannot change the level, which alters no level; ``None``
            draws all.
    """

    certainty: float | None = 1.0

    def looks(self, total: int) -> list[int]:
        """Give the numbers of samples after which facts are looked at, the last is ``total``."""
        if self.certainty is None:
            return [total]
        if self.certainty < 1:
            return [*range(min(FIRST, total), total, LOOK), total]
        first = total - most_saved(total)
        step = max(1, -(-(total - first) // STEPS))
        return [*range(first, total, step), total]

    def settled(self, hits: int, drawn: int, total: int) -> bool:
        """Tell whether a fact needs no more samples."""
        if self.certainty is None or drawn == total:
            return drawn == total
        if self.certainty < 1:
            return max(level_probabilities(hits, drawn, total)) >= self.certainty
        return any(low <= hits and hits + total - drawn <= high for low, high in edges(total))


def read_stop(text: str) -> Stopping:
    """Read ``exact``, ``none`` or a probability such as ``0.95``.

    Raises:
        ConfigError: it is none of them.
    """
    if text in ("exact", "none"):
        return Stopping(1.0 if text == "exact" else None)
    try:
        certainty = float(text)
    except ValueError:
        certainty = -1.0
    if not 0.5 < certainty < 1:
        raise ConfigError(
            f"--stop {text!r}", remedy="write exact, none, or a probability above 0.5 and below 1."
        )
    return Stopping(certainty)


def most_saved(total: int) -> int:
    """Give how many samples the exact rule can save at most.

    >>> most_saved(210)
    52
    """
    return max(high - low for low, high in edges(total))


def order(templates: int, samples: int) -> list[tuple[int, int]]:
    """Give (template, sample) in the order of drawing.

    >>> order(2, 2)
    [(0, 0), (1, 0), (0, 1), (1, 1)]
    """
    return [(template, sample) for sample in range(samples) for template in range(templates)]


def pieces(looks: Sequence[int]) -> list[tuple[int, int]]:
    """Give the ranges of samples between looks.

    >>> pieces([158, 210])
    [(0, 158), (158, 210)]
    """
    return list(zip([0, *looks[:-1]], looks, strict=True))
