"""Words that domain texts share with SFT examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from imprint.forecast.material import Text
from imprint.forecast.predicted import Floats, Predicted
from imprint.forecast.predictors.dsir import WORD
from imprint.forecast.predictors.stand_in import stand_ins
from imprint.forecast.setting import Setting

K1, B = 1.2, 0.75  # the usual constants
CELLS = 1 << 22  # matches of queries and documents held at once
Words = Sequence[str]


def bm25(setting: Setting) -> list[Predicted]:
    """Give the best match of each domain prompt among the SFT examples, per word of the prompt.

    BM25 (Robertson and Zaragoza 2009) with k1 = 1.2 and b = .75; a prompt is a set of words. Under
    the null, texts of other domains stand in for the SFT set.
    """
    if not setting.material.sft:
        return []
    queries = [_words(text.prompt) for text in setting.texts]
    documents = [_words(_whole(text)) for text in setting.material.sft]
    return [
        Predicted(
            "bm25",
            "words shared with an SFT example (BM25)",
            best_matches(queries, documents)[None],
            null=_null(setting, queries),
            family="similarity",
            note="best match over SFT examples, per word of the prompt",
        )
    ]


def best_matches(queries: Sequence[Words], documents: Sequence[Words]) -> Floats:
    """Give each query's highest BM25 over the documents, divided by its words, [queries].

    >>> best_matches([["a", "b"], ["c"]], [["a", "a"], ["b"]]).round(3).tolist()
    [0.436, 0.0]
    """
    number = {word: n for n, word in enumerate(sorted({w for one in queries for w in one}))}
    weights = _weights(documents, number)
    asked = _counts([sorted(set(one)) for one in queries], number)
    words = np.asarray(asked.sum(axis=1)).ravel()
    found = np.full(len(queries), np.nan)
    step = max(1, CELLS // len(documents))
    for at in range(0, len(queries), step):
        rows = slice(at, at + step)
        best = (asked[rows] @ weights.T).max(axis=1).toarray().ravel()
        np.divide(best, words[rows], out=found[rows], where=words[rows] > 0)
    return found


def _weights(documents: Sequence[Words], number: dict[str, int]) -> Any:
    """Give what each word is worth in each document, sparse [documents, words]."""
    counts = _counts(documents, number)
    lengths = np.array([len(one) for one in documents], dtype=np.float64)
    holding = np.bincount(counts.indices, minlength=len(number))
    rarity = np.log1p((len(documents) - holding + 0.5) / (holding + 0.5))
    norms = K1 * (1 - B + B * lengths / max(1.0, lengths.mean()))
    norms = np.repeat(norms, np.diff(counts.indptr))
    counts.data *= (K1 + 1) / (counts.data + norms) * rarity[counts.indices]
    return counts


def _counts(texts: Sequence[Words], number: dict[str, int]) -> Any:
    """Count known words, sparse [texts, words]."""
    from scipy.sparse import csr_array

    found = [sorted(Counter(w for w in one if w in number).items()) for one in texts]
    begins = np.cumsum([0, *map(len, found)])
    words = np.array([number[word] for one in found for word, _ in one], dtype=np.int64)
    counts = np.array([count for one in found for _, count in one], dtype=np.float64)
    return csr_array((counts, words, begins), shape=(len(texts), len(number)))


def _null(setting: Setting, queries: Sequence[Words]) -> Floats | None:
    whole = [_words(_whole(text)) for text in setting.texts]
    draws = []
    for draw in range(setting.draws):
        others = stand_ins(setting, draw, len(setting.material.sft))
        if others is None:
            return None
        values = np.empty(len(queries))
        for domain, rows in setting.groups.items():
            documents = [whole[n] for n in others[domain]]
            values[rows] = best_matches([queries[n] for n in rows], documents)
        draws.append(values)
    return np.stack(draws)


def _words(text: str) -> list[str]:
    return [str(word) for word in WORD.findall(text.lower())]


def _whole(text: Text) -> str:
    return f"{text.prompt} {text.answer or ''}"
