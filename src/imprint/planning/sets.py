"""The sets of a plan as rows that trainers read, each beside its random control."""

from __future__ import annotations

import numpy as np
import polars as pl

from imprint.planning.control import random_control
from imprint.planning.pool import Estimated
from imprint.planning.sft import Chosen

SFT = ("id", "domain", "prompt", "completion", "pass_rate", "n", "shrunk_rate", "ref_nll", "model")
RL = (
    *("id", "domain", "prompt", "answer", "pass_rate", "n", "c", "ci_low", "ci_high"),
    *("shrunk_rate", "weight", "part", "model"),
)


def with_control(pool: Estimated, chosen: Chosen, *, seed: list[int]) -> pl.Series:
    """Draw the equal-size random control of a chosen set; ``row`` of each."""
    rows = pool.frame.select("row", "domain", "length")
    eligible = rows.filter(pl.col("row").is_in(chosen.eligible.implode()))
    taken = rows.filter(pl.col("row").is_in(chosen.rows.implode()))
    return random_control(eligible, taken, seed=seed)


def sft_rows(pool: Estimated, rows: pl.Series) -> pl.DataFrame:
    """Give rows with ``prompt`` and ``completion``, as TRL's ``SFTTrainer`` reads them.

    A conversation's completion is a list with the assistant's message, as its prompt is a list; a
    text's completion starts with a blank unless the prompt ends with white space.
    """
    frame = _taken(pool, rows, SFT)
    if frame.schema["prompt"] == pl.String:
        gap = pl.col("prompt").str.contains(r"\s$") | pl.col("reference").str.contains(r"^\s")
        glue = pl.when(gap).then(pl.lit("")).otherwise(pl.lit(" "))
        completion = pl.concat_str(glue, "reference")
    else:
        said = pl.struct(pl.lit("assistant").alias("role"), pl.col("reference").alias("content"))
        completion = pl.concat_list(said)
        frame = frame.with_columns(_turns("prompt"))
    frame = frame.with_columns(completion.alias("completion"))
    return _known(frame, SFT)


def rl_rows(pool: Estimated, rows: pl.Series, parts: pl.DataFrame | None = None) -> pl.DataFrame:
    """Give rows with ``prompt`` and ``answer``, as TRL's ``GRPOTrainer`` hands them to rewards.

    Args:
        pool: the pool.
        rows: which.
        parts: ``row`` and ``reason``: where each stands (in the band, easy tail, hard tail).
    """
    frame = _taken(pool, rows, RL)
    if parts is not None:
        frame = frame.join(
            parts.select("row", part="reason"), on="row", how="left", maintain_order="left"
        )
    if frame.schema["prompt"] != pl.String:
        frame = frame.with_columns(_turns("prompt"))
    answer = pl.coalesce("answer", "reference")
    frame = frame.with_columns(answer.alias("answer"))
    return _known(frame, RL)


def shuffled(rows: pl.Series, *, seed: list[int]) -> pl.Series:
    """Put rows into a random order: files carry no curriculum of their own."""
    return rows.gather(np.random.default_rng(seed).permutation(len(rows)))


def _taken(pool: Estimated, rows: pl.Series, names: tuple[str, ...]) -> pl.DataFrame:
    wanted = [n for n in (*names, "row", "reference") if n in pool.frame.columns]
    return pool.frame.select(list(dict.fromkeys(wanted)))[rows]


def _known(frame: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    """Keep the columns named that hold something."""
    there = [name for name in names if name in frame.columns]
    return frame.select(n for n in there if frame[n].null_count() < len(frame) or frame.is_empty())


def _turns(name: str) -> pl.Expr:
    """Keep of messages what every trainer knows: role and content."""
    turn = pl.struct(
        pl.element().struct.field("role").alias("role"),
        pl.element().struct.field("content").alias("content"),
    )
    return pl.col(name).list.eval(turn)
