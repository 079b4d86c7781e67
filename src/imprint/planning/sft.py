"""The SFT subset: rows hard for this model with a reference to learn from, diverse, and few."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.special import betainc

from imprint.findings import Finding
from imprint.planning.config import SIZES, PlanConfig
from imprint.planning.diversity import first_of_each
from imprint.planning.pool import Estimated, text

MID = (2, 3)  # levels of facts, the better one first (arXiv 2509.16596)
RANKED = ("row", "domain", "prompt", "n", "c", "shrunk_rate", "ref_nll")
SPARE = 4  # candidates looked at for near-duplicates, as a multiple of the size


@dataclass(frozen=True)
class Chosen:
    """A set and why every other row is not in it.

    Attributes:
        rows: ``row`` of the set, in order of preference.
        eligible: ``row`` of those that a random control draws from.
        reasons: ``row`` and ``reason`` of all rows, ``chosen`` for the set.
        findings: what was noticed.
    """

    rows: pl.Series
    eligible: pl.Series
    reasons: pl.DataFrame
    findings: list[Finding]


def choose_sft(pool: Estimated, config: PlanConfig) -> Chosen:
    """Choose rows for SFT.

    A skill: the lowest shrunk pass rates, at most ``hard_below``. Facts: level 2 first, then level
    3 (arXiv 2509.16596), by how probable the level is. Without rollouts: the least likely
    references of each domain. Then at most ``domain_share`` of one domain, and near-duplicates
    out.
    """
    size = config.size or SIZES[config.kind or "skill"]
    frame = pool.frame.with_columns(reason=_unfit(pool, config))
    eligible = frame.filter(pl.col("reason").is_null())["row"]
    frame = frame.with_columns(reason=pl.coalesce("reason", _unwanted(pool, config)))
    slim = [name for name in RANKED if name in frame.columns]
    ranked = _ranked(frame.filter(pl.col("reason").is_null()).select(slim), pool, config)
    cap = _cap(ranked, size, config)
    kept = ranked.filter(pl.int_range(pl.len()).over("domain") < cap)
    looked = kept.head(max(SPARE * size, size + 200))
    prompts = looked.select(text(looked)).to_series().to_list()
    places = first_of_each(prompts, config.near_duplicate, size)
    rows = looked["row"].gather(places) if len(looked) else looked["row"]
    reached = (places[-1] + 1 if len(places) == size else len(looked)) if places else 0
    passed = looked.head(reached)["row"]
    near = passed.filter(~passed.is_in(rows.implode()))
    over = ranked["row"].filter(~ranked["row"].is_in(kept["row"].implode()))
    reasons = frame.select(
        "row",
        reason=pl.when(pl.col("row").is_in(rows.implode()))
        .then(pl.lit("chosen"))
        .when(pl.col("row").is_in(near.implode()))
        .then(pl.lit("near-duplicate of a chosen row"))
        .when(pl.col("row").is_in(over.implode()))
        .then(pl.lit("its domain has its share"))
        .otherwise(pl.col("reason").fill_null("beyond the size")),
    )
    return Chosen(rows, eligible, reasons, _noticed(len(rows), size, len(over), frame, config))


def _unfit(pool: Estimated, config: PlanConfig) -> pl.Expr:
    """Name why a row can be in no SFT set, a random one included."""
    verified = pl.col("reference_verified")
    reason = (
        pl.when(pl.col("duplicate"))
        .then(pl.lit("duplicate prompt"))
        .when(pl.col("reference").is_null() | (pl.col("reference").str.len_bytes() == 0))
        .then(pl.lit("no reference answer"))
        .when(verified.eq_missing(pl.lit(value=False)))
        .then(pl.lit("reference found wrong"))
    )
    if not pool.rolled:
        return reason.when(pl.col("ref_nll").is_null()).then(pl.lit("no likelihood"))
    return reason.when(pl.col("n").fill_null(0) == 0).then(pl.lit("no rollouts"))


def _unwanted(pool: Estimated, config: PlanConfig) -> pl.Expr:
    """Name why a row that could be taken is not wanted."""
    if not pool.rolled:
        return pl.lit(None, dtype=pl.String)
    if config.kind == "fact":
        level = _level()
        told = pl.format("mastery level {}", level)
        return pl.when(~level.is_in(MID)).then(told)
    checked = pl.col("reference_verified").fill_null(value=False)
    return (
        pl.when(pl.col("c") == pl.col("n"))
        .then(pl.lit("solved in every rollout"))
        .when(pl.col("shrunk_rate") > config.hard_below)
        .then(pl.lit("not hard for this model"))
        .when((pl.col("c") == 0) & ~checked)
        .then(pl.lit("unsolved, and its reference is not marked as verified"))
    )


def _level() -> pl.Expr:
    """Mastery level ⌈4c/n⌉ in whole numbers."""
    return (4 * pl.col("c") + pl.col("n") - 1) // pl.col("n").clip(lower_bound=1)


def _ranked(frame: pl.DataFrame, pool: Estimated, config: PlanConfig) -> pl.DataFrame:
    """Order rows by preference; ties in a seeded random order."""
    rng = np.random.default_rng([config.seed, 1])
    frame = frame.with_columns(chance=pl.Series(rng.random(len(frame)), dtype=pl.Float64))
    if not pool.rolled:
        share = pl.col("ref_nll").rank(descending=True) / pl.len()
        frame = frame.with_columns(share.over("domain").alias("hardness"))
        return frame.sort("hardness", "chance")
    if config.kind == "fact":
        frame = frame.with_columns(level=_level(), sure=_certainty(frame, pool))
        return frame.sort("level", "sure", "chance", descending=[False, True, False])
    return frame.sort("shrunk_rate", "chance")


def _certainty(frame: pl.DataFrame, pool: Estimated) -> pl.Series:
    """Give the posterior probability that a fact is of the level that its hits say."""
    priors = {prior.domain: prior for prior in pool.priors[1:]}
    own = [priors.get(d, pool.priors[0]) for d in frame["domain"].to_list()]
    n, c = frame["n"].to_numpy(), frame["c"].to_numpy()
    alpha = np.array([p.a for p in own]) + c
    beta = np.array([p.b for p in own]) + n - c
    level = (4 * c + n - 1) // np.maximum(n, 1)
    found = betainc(alpha, beta, level / 4) - betainc(alpha, beta, np.maximum(level - 1, 0) / 4)
    return pl.Series("sure", found, dtype=pl.Float64)


def _cap(ranked: pl.DataFrame, size: int, config: PlanConfig) -> int:
    domains = max(ranked["domain"].n_unique(), 1)
    share = config.domain_share or min(1.0, 2 / domains)
    return len(ranked) if share >= 1 else max(1, math.ceil(share * size))


def _noticed(
    count: int, size: int, over: int, frame: pl.DataFrame, config: PlanConfig
) -> list[Finding]:
    found = []
    if not count:
        told = _none(frame, config)
        found.append(Finding("no_hard_rows", told, "warn", len(frame)))
    elif count < size:
        told = f"the SFT subset has {count:,} rows, fewer than the {size:,} asked for"
        more = f"; {over:,} more were left out by their domain's share" if over else ""
        found.append(Finding("small_subset", told + more, "warn", size - count))
    absent = frame.filter(
        pl.col("reason") == "unsolved, and its reference is not marked as verified"
    )
    if len(absent):
        told = (
            f"{len(absent):,} unsolved rows are left out because nothing says that their reference "
            "is right; give reference_verified, or state it with --references-verified"
        )
        found.append(Finding("unverified_references", told, "warn", len(absent)))
    hard = frame["shrunk_rate"] <= config.hard_below if "shrunk_rate" in frame.columns else None
    if hard is not None and config.kind != "fact" and hard.all() and count:
        told = "every prompt is hard for this model: the subset is chosen by chance and diversity"
        found.append(Finding("all_hard", told, "warn", len(frame)))
    return found


def _none(frame: pl.DataFrame, config: PlanConfig) -> str:
    if not len(frame.filter(pl.col("reference").is_not_null())):
        return "no row has a reference answer to learn from, so there is no SFT subset"
    if config.kind == "fact":
        return "no fact is of level 2 or 3, so there is no SFT subset"
    return f"no usable row has a shrunk pass rate of at most {config.hard_below:g}: no SFT subset"
