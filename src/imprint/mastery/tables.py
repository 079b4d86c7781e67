"""From hits per template to the tables of a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from imprint.mastery.asking import Asked
from imprint.mastery.config import MasteryConfig
from imprint.mastery.levels import (
    LEVELS,
    Floats,
    fitted_prior,
    level_of,
    level_probabilities,
    levels_of_rates,
    rate_interval,
    repeat_probabilities,
)
from imprint.mastery.scoring import COUNTED
from imprint.stats import paired_difference

SLICK = ("HighlyKnown", "MaybeKnown", "WeaklyKnown", "Unknown")
EXCESS = ("null", "excess", "excess_low", "excess_high")


def mastery_table(
    facts: pl.DataFrame, asked: Sequence[Asked], templates: pl.DataFrame, config: MasteryConfig
) -> pl.DataFrame:
    """Give the table ``mastery``, a row per fact in the order of ``facts``.

    ``level_probabilities`` are those of another full run of the same fact, given its hits and a
    prior fitted to all facts; ``certainty`` is that
    of the level if the samples that were saved had been drawn. With likelihood alone the score is
    the mean over templates of the probability that the answer follows at once at temperature 1,
    and the level that of as many hits as a full run would be expected to give.
    """
    totals = pl.DataFrame(
        {
            "fact": [one.fact for one in asked],
            "asking": [one.kind for one in asked],
            "total": [len(one.prompts) * config.samples for one in asked],
        }
    )
    follows = pl.col("logprob").exp().mean()
    grouped = templates.group_by("fact", maintain_order=True).agg(
        pl.col("hits").sum().alias("all_hits"),
        pl.col("samples").sum().alias("all_samples"),
        *(pl.col(name).sum() for name in (*COUNTED, "whole", "whole_hits", "null_hits")),
        pl.col("hits").alias("template_hits"),
        pl.col("samples").alias("template_samples"),
        pl.when(pl.col("logprob").count() > 0).then(follows).alias("answer_probability"),
        pl.col("greedy").mean().alias("greedy_share"),
    )
    grouped = grouped.rename({"all_hits": "hits", "all_samples": "samples"})
    found = facts.join(totals, on="fact", how="left").join(grouped, on="fact", how="left")
    found = _from_likelihood(found) if config.likelihood == "only" else _from_hits(found, config)
    return found.drop("prompts") if "prompts" in found.columns else found


def relation_table(mastery: pl.DataFrame) -> pl.DataFrame:
    """Give mean scores per relation (and split) with intervals over facts, beside the null.

    ``null`` is the rate at which the same samples match the answer of another fact of the relation,
    on the first sample of every template; ``excess`` is the paired difference to it.
    """
    rows = []
    for (relation, split), group in mastery.group_by("relation", "split", maintain_order=True):
        scores = group["score"].to_numpy()
        mean, low, high = mean_score(scores)
        rows.append(
            {
                "relation": relation,
                "split": split,
                "facts": len(group),
                "score": mean,
                "low": low,
                "high": high,
                **_excess(group),
                **{f"level_{n}": int((group["level"] == n).sum()) for n in range(LEVELS)},
            }
        )
    known = ("score", "low", "high", *EXCESS)
    schema = {"split": pl.String, **dict.fromkeys(known, pl.Float64)}
    return pl.DataFrame(rows, schema_overrides=schema)


def mean_score(scores: Floats) -> tuple[float, float, float]:
    """Give the mean of scores over facts with its 95 % interval within [0, 1].

    Student's interval; where all scores are alike it would have no width, and Wilson's of as many
    facts stands in its place.
    """
    found = paired_difference(scores, np.zeros(len(scores)))
    if len(scores) > 1 and found.se > 0:
        return found.mean, max(0.0, found.low), min(1.0, found.high)
    low, high = rate_interval(found.mean * len(scores), len(scores))
    return found.mean, float(low), float(high)


def template_table(templates: pl.DataFrame, mastery: pl.DataFrame) -> pl.DataFrame:
    """Give the success of every template of every relation, with Wilson intervals."""
    kept = mastery.filter(pl.col("asking") == "templates").select("fact", "relation")
    found = (
        templates.join(kept, on="fact")
        .group_by("relation", "template", maintain_order=True)
        .agg(pl.col("hits", "samples").sum(), pl.len().alias("facts"))
        .with_columns((pl.col("hits") / pl.col("samples")).alias("rate"))
    )
    low, high = rate_interval(found["hits"].to_numpy(), found["samples"].to_numpy().clip(1))
    return found.with_columns(rate_low=pl.Series(low), rate_high=pl.Series(high))


def level_table(mastery: pl.DataFrame) -> pl.DataFrame:
    """Count the facts of each level per split, with the share and its Wilson interval."""
    splits = mastery["split"].unique(maintain_order=True).to_list()
    rows = []
    for split in splits:
        levels = mastery.filter(pl.col("split").eq_missing(split))["level"]
        for level in range(LEVELS):
            count = int((levels == level).sum())
            low, high = rate_interval(count, len(levels))
            row = (split, level, count, count / len(levels), float(low), float(high))
            rows.append(row)
    names = ["split", "level", "facts", "share", "low", "high"]
    return pl.DataFrame(rows, schema=names, orient="row").cast({"split": pl.String})


def slick(greedy_share: float | None, hits: int) -> str | None:
    """Give SliCK's category (arXiv 2405.05904): by greedy answers, then by any sample.

    >>> [slick(1.0, 9), slick(0.2, 9), slick(0.0, 1), slick(0.0, 0)]
    ['HighlyKnown', 'MaybeKnown', 'WeaklyKnown', 'Unknown']
    """
    if greedy_share is None:
        return None
    if greedy_share > 0:
        return SLICK[0] if greedy_share == 1 else SLICK[1]
    return SLICK[2] if hits else SLICK[3]


def _from_hits(found: pl.DataFrame, config: MasteryConfig) -> pl.DataFrame:
    h, n, total = (found[name].to_numpy() for name in ("hits", "samples", "total"))
    low, high = rate_interval(h, n, kind=config.interval)
    triples = list(zip(h.tolist(), n.tolist(), total.tolist(), strict=True))
    reached = [level_probabilities(*triple) for triple in triples]
    level = np.array([int(np.argmax(p)) for p in reached], dtype=np.int64)
    # with all samples drawn, and whenever the exact rule stopped, this is the integer rule itself
    full = n == total
    level[full] = level_of(h[full], n[full])
    prior = fitted_prior(h, n)
    again = [list(repeat_probabilities(*triple, prior)) for triple in triples]
    categories = [
        slick(share, hits)
        for share, hits in zip(found["greedy_share"].to_list(), h.tolist(), strict=True)
    ]
    return found.with_columns(
        score=pl.Series(h / n),
        score_low=pl.Series(low),
        score_high=pl.Series(high),
        level=pl.Series(level),
        level_low=pl.Series(levels_of_rates(low)),
        level_high=pl.Series(levels_of_rates(high)),
        level_probabilities=pl.Series(again, dtype=pl.List(pl.Float64)),
        certainty=pl.Series([max(p) for p in reached], dtype=pl.Float64),
        slick=pl.Series(categories, dtype=pl.String),
    )


def _from_likelihood(found: pl.DataFrame) -> pl.DataFrame:
    score, total = found["answer_probability"].to_numpy(), found["total"].to_numpy()
    expected = np.rint(score * total).astype(np.int64)
    none = pl.lit(None, dtype=pl.Float64)
    emptied = [pl.lit(None, dtype=pl.Int64).alias(name) for name in ("hits", "samples", *COUNTED)]
    return found.with_columns(
        *emptied,
        score=pl.Series(score),
        score_low=none,
        score_high=none,
        level=pl.Series(level_of(expected, total)),
        level_low=pl.lit(None, dtype=pl.Int64),
        level_high=pl.lit(None, dtype=pl.Int64),
        level_probabilities=pl.lit(None, dtype=pl.List(pl.Float64)),
        certainty=none,
        slick=pl.lit(None, dtype=pl.String),
    )


def _excess(group: pl.DataFrame) -> dict[str, float | None]:
    kept = group.filter(pl.col("whole") > 0)
    if not len(kept):
        return dict.fromkeys(EXCESS)
    ours, null = (
        kept[n].to_numpy() / kept["whole"].to_numpy() for n in ("whole_hits", "null_hits")
    )
    gap = paired_difference(ours, null)
    values = (float(null.mean()), gap.mean, gap.low, gap.high)
    return {n: None if np.isnan(v) else v for n, v in zip(EXCESS, values, strict=True)}
