"""Model-scored web text: raw documents that a naive Bayes model finds most like curated ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

Document = tuple[str, str]
CANDIDATES = 2  # raw documents per document kept
WINDOW = 400  # documents kept at a time; a document competes with others of its window
SCALE = 1 << 16


class Likeness:
    """Scores a text by how much likelier its words are in liked texts than in others.

    Word counts with one added to each; whole numbers throughout, so that every machine ranks alike.

    Args:
        liked: texts to be like.
        others: texts to be unlike.
    """

    def __init__(self, liked: Iterable[str], others: Iterable[str]):
        good = Counter(word for text in liked for word in text.split())
        bad = Counter(word for text in others for word in text.split())
        total_good, total_bad = good.total() + len(good), bad.total() + len(bad)
        self._score = {
            word: _log2((good[word] + 1) * total_bad * SCALE // ((bad[word] + 1) * total_good))
            for word in sorted(good | bad)
        }

    def score(self, text: str) -> int:
        """Give the mean log-ratio of the text's words, in 1/256 of a bit."""
        words = text.split()
        known = self._score
        return sum(known.get(word, 0) for word in words) // max(1, len(words))


def _log2(ratio: int) -> int:
    """Give log2(ratio / SCALE) in 1/256, by whole numbers: exponent, then mantissa in a line."""
    ratio = max(1, ratio)
    exponent = ratio.bit_length() - 1
    mantissa = (ratio << 8 >> exponent) - 256
    return ((exponent - 16) << 8) + mantissa


def best(candidates: Iterator[Document], model: Likeness, count: int) -> Iterator[Document]:
    """Keep the best of the candidates, in the order in which they came."""
    left = count
    while left > 0:
        keep = min(WINDOW, left)
        window = list(islice(candidates, keep * CANDIDATES))
        scores = [model.score(text) for text, _ in window]
        order = sorted(range(len(window)), key=lambda at: (-scores[at], at))
        yield from (window[at] for at in sorted(order[:keep]))
        left -= keep
