"""The pool and the balance report as files."""

from __future__ import annotations

import polars as pl

from imprint.formats.rollouts import ABOUT
from imprint.planning.config import PlanConfig
from imprint.planning.pool import Estimated
from imprint.planning.sft import Chosen
from imprint.report.markdown import escape

FIRST = (
    *("id", "domain", "source", "prompt", "n", "c", "pass_rate", "ci_low", "ci_high", "ci_method"),
    *("shrunk_rate", "shrunk_low", "shrunk_high", "in_band", "learnability", "pass_at_k"),
    *("ref_nll", "ref_tokens", "tokens"),
)


def pool_rows(pool: Estimated, sft: Chosen, rl: Chosen | None) -> pl.DataFrame:
    """Give every row with its estimates, how it was rolled out, and what was decided why."""
    frame = pool.frame
    # both are in the order of the pool
    decided = [pl.Series("sft_reason", sft.reasons["reason"])]
    if rl is not None:
        decided.append(pl.Series("rl_reason", rl.reasons["reason"]))
    columns: list[pl.Expr] = [pl.lit("wilson").alias("ci_method")] if pool.rolled else []
    frame = frame.with_columns(*columns, *decided)
    chosen = pl.col("sft_reason") == "chosen"
    frame = frame.with_columns(sft=chosen)
    if rl is not None:
        frame = frame.with_columns(rl=pl.col("row").is_in(rl.rows.implode()))
    names = [*FIRST, *ABOUT, "sft", "sft_reason", "rl", "rl_reason"]
    return frame.select(name for name in names if name in frame.columns)


def balance_markdown(table: pl.DataFrame, config: PlanConfig) -> str:
    """Write the balance report by itself."""
    lines = [
        "# What pretraining covers, by domain",
        "",
        f"Groups of {config.group_size} rollouts; intervals are 95 %.",
        "",
        "| domain | prompts | pass rate | groups that all fail | reading |",
        "|---|---:|---:|---:|---|",
    ]
    for row in table.iter_rows(named=True):
        rate = _told(row["rate"], row["rate_low"], row["rate_high"])
        fail = _told(row["all_fail"], row["all_fail_low"], row["all_fail_high"])
        domain = escape(row["domain"])
        said = f"{row['indicator']}: {row['words']}"
        if row["target"] is not None:
            said += f" ({row['target']:.0%} of the target, {row['share']:.0%} of the pool)"
        lines.append(f"| {domain} | {row['prompts']:,} | {rate} | {fail} | {said} |")
    return "\n".join(lines) + "\n"


def _told(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"
