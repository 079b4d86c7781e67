"""Near-duplicates among candidates: prompts that share most of their word trigrams.

Candidates for a match are found by MinHash with bands (Broder 1997), and decided by the exact share
of trigrams (Jaccard). Prompts of few words are told apart by every character.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import numpy.typing as npt

BANDS, ROWS = 16, 4
SHORT = 8  # words; below it one changed number makes another question
PRIME = (1 << 31) - 1


def first_of_each(texts: Sequence[str], share: float, wanted: int) -> list[int]:
    """Choose texts in order, leaving out those nearly like one chosen before.

    Args:
        texts: in order of preference.
        share: trigrams shared (Jaccard, of the union) from which two are one; 1 or more keeps all.
        wanted: how many to choose at most.

    Returns:
        Places of the chosen.
    """
    if share >= 1:
        return list(range(min(wanted, len(texts))))
    rng = np.random.default_rng(0)  # the same bands for every pool
    factors = rng.integers(1, PRIME, (2, BANDS * ROWS), dtype=np.int64)
    buckets: dict[tuple[int, bytes], list[int]] = {}
    known: dict[int, set[int]] = {}
    chosen: list[int] = []
    for place, text in enumerate(texts):
        if len(chosen) == wanted:
            break
        grams = _trigrams(text)
        if grams:
            marks = _bands(grams, factors)
            rivals = {other for mark in marks for other in buckets.get(mark, ())}
            if any(_alike(grams, known[other]) >= share for other in rivals):
                continue
            known[place] = grams
            for mark in marks:
                buckets.setdefault(mark, []).append(place)
        chosen.append(place)
    return chosen


def _trigrams(text: str) -> set[int]:
    words = text.lower().split()
    if len(words) < SHORT:
        return set()
    return {crc32(" ".join(words[i : i + 3]).encode()) for i in range(len(words) - 2)}


def _bands(grams: set[int], factors: npt.NDArray[np.int64]) -> list[tuple[int, bytes]]:
    values = np.fromiter(grams, np.int64, len(grams)) % PRIME
    hashed = (values[:, None] * factors[0] + factors[1]) % PRIME
    least = hashed.min(axis=0).reshape(BANDS, ROWS)
    return [(band, row.tobytes()) for band, row in enumerate(least)]


def _alike(one: set[int], other: set[int]) -> float:
    return len(one & other) / len(one | other)
