"""SFT sets beside each other: which changes these domains most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from imprint.forecast.judged import Judged
from imprint.forecast.predicted import Floats
from imprint.stats import percentile_interval, top_k_probability

SETS = {
    "predictor": pl.String,
    "sft": pl.String,
    **dict.fromkeys(("score", "low", "high", "rank", "first"), pl.Float64),
}


def rank_sets(judged: Sequence[Judged]) -> pl.DataFrame:
    """Table ``sets``: SFT sets by the mean of each predictor over all domains.

    Predictors that are measured from the mean over all domains cannot tell sets apart and are not
    in it.
    """
    names = [p.name for p in judged[0].found.predicted if not p.relative]
    names = [n for n in names if all(n in [p.name for p in j.found.predicted] for j in judged)]
    return pl.concat([pl.DataFrame(schema=SETS), *(_ranked(judged, name) for name in names)])


def _ranked(judged: Sequence[Judged], name: str) -> pl.DataFrame:
    scored = [one.named(name) for one in judged]
    mean = np.array([_over_domains(s.score[None])[0] for s in scored])
    draws = np.stack([_over_domains(s.samples) for s in scored], axis=1)
    low, high = percentile_interval(draws)
    # a fall in all domains is as much of a change as a rise
    size, sizes = (np.abs(mean), np.abs(draws)) if scored[0].predicted.signed else (mean, draws)
    rank = 1.0 + (size[None] > size[:, None]).sum(axis=1)
    return pl.DataFrame(
        {
            "predictor": [name] * len(judged),
            "sft": [one.found.sft for one in judged],
            "score": mean,
            "low": low,
            "high": high,
            "rank": np.where(np.isfinite(size), rank, np.nan),
            "first": top_k_probability(sizes),
        },
        schema=SETS,
    ).fill_nan(None)


def _over_domains(scores: Floats) -> Floats:
    known = np.isfinite(scores)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, scores, 0.0).sum(axis=-1) / known.sum(axis=-1))
