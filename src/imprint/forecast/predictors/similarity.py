"""How close the model's states on domain texts are to those on SFT examples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from imprint.forecast.predicted import Floats, Predicted
from imprint.forecast.predictors.pooled import States, pooled
from imprint.forecast.predictors.stand_in import stand_ins
from imprint.forecast.setting import Setting

# of the texts of one domain and of the examples: a value per text
Closeness = Callable[[States, States], Floats]


def cosine_to_mean(texts: Floats, examples: Floats) -> Floats:
    """Give the cosine of each text's vector with the mean of the examples', [texts]."""
    return np.asarray(_unit(texts) @ _unit(examples.mean(axis=0)))


def cosines(texts: Floats, examples: Floats) -> Floats:
    """Give the cosine of each text with each example, [texts, examples]."""
    return np.asarray(_unit(texts) @ _unit(examples).T)


def overlap(texts: Floats, examples: Floats) -> Floats:
    """Give the negative of the maximum mean discrepancy, in shares of single texts, [texts].

    Their mean is −MMD² between texts and examples (Gretton et al. 2012, the unbiased estimate) with
    a Gaussian kernel as wide as the median distance; NaN for fewer than two texts or examples.
    """
    if min(len(texts), len(examples)) < 2:
        return np.full(len(texts), np.nan)
    both = np.concatenate([texts, examples])
    squares = _distances(both, both)
    width = np.median(squares[np.triu_indices(len(both), 1)]) or 1.0
    kernel = np.exp(-squares / width)
    n, m = len(texts), len(examples)
    among = (kernel[:n, :n].sum(axis=1) - 1) / (n - 1)
    across = kernel[:n, n:].mean(axis=1)
    base = (kernel[n:, n:].sum() - m) / (m * (m - 1))
    return np.asarray(2 * across - among - base)


MEASURES: tuple[tuple[str, str, Closeness, str], ...] = (
    (
        "similarity_layer",
        "similarity of states at the layer",
        lambda texts, examples: cosine_to_mean(texts.layer, examples.layer),
        "cosine with the mean over SFT examples",
    ),
    (
        "similarity_last",
        "similarity of last states",
        lambda texts, examples: cosine_to_mean(texts.last, examples.last),
        "cosine with the mean over SFT examples",
    ),
    (
        "mmd",
        "overlap of states at the layer (−MMD²)",
        lambda texts, examples: overlap(texts.layer, examples.layer),
        "the mean over a domain is −MMD²; 0 where both cannot be told apart",
    ),
    (
        "rds_max",
        "nearest SFT example (RDS+)",
        lambda texts, examples: cosines(texts.late, examples.late).max(axis=1),
        "cosine of last states, later tokens weighing more",
    ),
    (
        "rds_mean",
        "SFT examples on average (RDS+)",
        lambda texts, examples: cosines(texts.late, examples.late).mean(axis=1),
        "cosine of last states, later tokens weighing more",
    ),
)


def similarity(setting: Setting) -> list[Predicted]:
    """Give how close domain texts are to SFT examples, in five ways.

    RDS+ is Ivison et al., arXiv 2503.01807; their code pools over padding too, here it is masked.
    Under the null, texts of other domains stand in for the SFT set.
    """
    if not setting.material.sft:
        return []
    texts, examples = pooled(setting, setting.texts), pooled(setting, setting.sample)
    others = [stand_ins(setting, draw, len(setting.sample)) for draw in range(setting.draws)]
    groups = setting.groups
    found = []
    for name, title, measure, note in MEASURES:
        values = np.empty(len(setting.texts))
        null = np.empty((len(others), len(setting.texts)))
        for domain, rows in groups.items():
            values[rows] = measure(texts.only(rows), examples)
            for draw, chosen in enumerate(others):
                if chosen is not None:
                    null[draw, rows] = measure(texts.only(rows), texts.only(chosen[domain]))
        found.append(
            Predicted(
                name,
                title,
                values[None],
                null=null if len(groups) > 1 else None,
                family="similarity",
                note=note,
            )
        )
    return found


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1.0))


def _distances(one: Floats, other: Floats) -> Floats:
    """Squared Euclidean distances [N, M]."""
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * one @ other.T
    return np.asarray(np.maximum(squares, 0.0))
