"""The RL band: prompts whose rollouts are likely to differ, with an easy and a hard tail."""

from __future__ import annotations

import numpy as np
import polars as pl

from imprint.findings import Finding
from imprint.planning.config import PlanConfig
from imprint.planning.pool import Estimated
from imprint.planning.sft import Chosen

PARTS = {"band": "in the band", "easy": "easy tail", "hard": "hard tail"}
LEFT = {
    "band": "beyond the size",
    "easy": "easier than the band",
    "hard": "harder than the band",
}


def choose_band(pool: Estimated, config: PlanConfig) -> Chosen:
    """Choose prompts for RL.

    The band: posterior probability of at least ``band_probability`` that the rate lies in it. To it
    comes ``tail`` of the whole from below and as much from above, at random.
    """
    frame = pool.frame.with_columns(reason=_unfit())
    eligible = frame.filter(pl.col("reason").is_null())
    rng = np.random.default_rng([config.seed, 2])
    side = _side(config)
    usable = eligible.select("row", "weight", part=side).with_columns(
        chance=pl.Series(rng.random(len(eligible)), dtype=pl.Float64)
    )
    inside = usable.filter(pl.col("part") == "band")
    most = len(inside)
    if config.rl_size is not None:
        most = min(most, max(1, round(config.rl_size * (1 - 2 * config.tail))))
    inside = inside.sort("weight", "chance", descending=[True, False]).head(most)
    tail = round(most * config.tail / (1 - 2 * config.tail))
    tails = [
        usable.filter(pl.col("part") == part).sort("chance").head(tail) for part in ("easy", "hard")
    ]
    chosen = pl.concat([inside, *tails]).select("row", "part")
    rows = chosen["row"]
    told = frame.select("row", "reason").join(
        usable.select("row", "part"), on="row", how="left", maintain_order="left"
    )
    taken = pl.col("row").is_in(rows.implode())
    reasons = told.select(
        "row",
        reason=pl.when(taken)
        .then(pl.col("part").replace(PARTS))
        .otherwise(pl.coalesce("reason", pl.col("part").replace(LEFT))),
    )
    findings = [*_unanswered(pool.frame), *_noticed(len(inside), tails, tail, config)]
    return Chosen(rows, eligible["row"], reasons, findings)


def _unfit() -> pl.Expr:
    return (
        pl.when(pl.col("duplicate"))
        .then(pl.lit("duplicate prompt"))
        .when(pl.col("n").fill_null(0) == 0)
        .then(pl.lit("no rollouts"))
    )


def _side(config: PlanConfig) -> pl.Expr:
    """Tell the band from what is likelier easier or harder."""
    above = 1 - pl.col("in_band") - pl.col("below_band")
    return (
        pl.when(pl.col("in_band") >= config.band_probability)
        .then(pl.lit("band"))
        .when(above > pl.col("below_band"))
        .then(pl.lit("easy"))
        .otherwise(pl.lit("hard"))
    )


def _unanswered(frame: pl.DataFrame) -> list[Finding]:
    bare = int((frame["answer"].is_null() & frame["reference"].is_null()).sum())
    told = f"{bare:,} prompts have no answer: your verifier must know them by id"
    return [Finding("no_answer", told, "info", bare)] if bare else []


def _noticed(
    inside: int, tails: list[pl.DataFrame], tail: int, config: PlanConfig
) -> list[Finding]:
    if not inside:
        low, high = config.band
        told = (
            f"for no prompt is a pass rate in [{low:g}, {high:g}] likely enough: there is no RL set"
        )
        return [Finding("no_band", told)]
    short = [n for n, part in zip(("easy", "hard"), tails, strict=True) if len(part) < tail]
    told = f"too few prompts for the {' and the '.join(short)} tail; it is smaller"
    return [Finding("short_tail", told, "info")] if short else []
