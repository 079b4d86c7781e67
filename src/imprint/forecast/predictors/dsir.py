"""Importance of domain texts for an SFT set, from hashed words and pairs of words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from imprint.forecast.material import Text
from imprint.forecast.predicted import Floats, Predicted
from imprint.forecast.predictors.stand_in import stand_ins
from imprint.forecast.setting import Setting

BUCKETS = 10_000
SMOOTHING = 0.5  # counts added to every bucket, so that one never seen has a probability
WORD = re.compile(r"\w+|[^\w\s]+")


def buckets(text: str) -> npt.NDArray[np.int64]:
    """Give the bucket of each word and of each pair of neighbours, lower case, by SHA-256.

    >>> len(buckets("Two words!")), len(buckets(""))
    (5, 0)
    """
    words = WORD.findall(text.lower())
    grams = [*words, *(f"{one} {other}" for one, other in pairwise(words))]
    return np.array([_bucket(gram) for gram in grams], dtype=np.int64)


def log_probabilities(found: Iterable[npt.NDArray[np.int64]]) -> Floats:
    """Give the log-probability of every bucket from the buckets of texts, smoothed, [BUCKETS]."""
    counts = np.full(BUCKETS, SMOOTHING)
    for one in found:
        counts += np.bincount(one, minlength=BUCKETS)
    return np.asarray(np.log(counts / counts.sum()))


def dsir(setting: Setting) -> list[Predicted]:
    """Give the log importance weight per n-gram of each domain text for the SFT set.

    log p_SFT − log p_pool, summed over a text's words and pairs and divided by their number; the
    pool is all domain texts together (DSIR, Xie et al., arXiv 2302.03169; there the weight is a
    sum, made to draw texts by it, here a mean, so that long texts do not weigh more). Smoothing is
    additive. Under the null, texts of other domains stand in for the SFT set.
    """
    if not setting.material.sft:
        return []
    own = [buckets(_words(text)) for text in setting.texts]
    pool = log_probabilities(own)
    target = log_probabilities(buckets(_words(text)) for text in setting.material.sft)
    return [
        Predicted(
            "dsir",
            "importance by hashed n-grams (DSIR)",
            _weights(own, target - pool)[None],
            null=_null(setting, own, pool),
            family="similarity",
            note="log weight per word and pair of words, against all domains together",
        )
    ]


def _null(setting: Setting, own: Sequence[npt.NDArray[np.int64]], pool: Floats) -> Floats | None:
    draws = []
    for draw in range(setting.draws):
        others = stand_ins(setting, draw, len(setting.material.sft))
        if others is None:
            return None
        values = np.empty(len(own))
        for domain, rows in setting.groups.items():
            target = log_probabilities(own[n] for n in others[domain])
            values[rows] = _weights([own[n] for n in rows], target - pool)
        draws.append(values)
    return np.stack(draws)


def _weights(own: Sequence[npt.NDArray[np.int64]], ratio: Floats) -> Floats:
    return np.array([ratio[one].mean() if len(one) else np.nan for one in own])


def _words(text: Text) -> str:
    return f"{text.prompt} {text.answer or ''}"


@cache
def _bucket(gram: str) -> int:
    return int.from_bytes(hashlib.sha256(gram.encode()).digest(), "big") % BUCKETS
