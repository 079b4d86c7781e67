"""Which domains the pretrained model can learn from by outcome rewards: a table by domain.

The theory (arXiv 2603.01293, section 7) puts a shift Δ beside what pretraining covered, ρ(Γ₀⁻¹Δ):
below 1 a direction is partly learned and outcome supervision moves it. Of a language model neither
is known; what stands in here is the share of RL groups in which every rollout fails.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import stdtrit

from imprint.planning.config import PlanConfig
from imprint.planning.groups import group_shares
from imprint.planning.pool import Estimated
from imprint.planning.rates import LEVEL, wilson
from imprint.report import State

Floats = npt.NDArray[np.float64]
WORDS = {
    "blocked": "nearly every group fails: outcome rewards are expected to stall here; it needs SFT "
    "or more pretraining first",
    "saturated": "nearly every group passes: there is little left for outcome rewards to teach",
    "partly learned": "some rollouts pass and some fail: outcome rewards have something to rank",
    "undetermined": "more rollouts or prompts would decide whether outcome rewards can move it",
    "unknown": "no rollouts: a likelihood alone does not say whether outcome rewards can move it",
}
TYPES: dict[str, pl.DataType] = {
    "domain": pl.String(),
    "prompts": pl.Int64(),
    "share": pl.Float64(),
    "target": pl.Float64(),
    **dict.fromkeys(("rate", "rate_low", "rate_high"), pl.Float64()),
    "unsolved": pl.Int64(),
    "solved": pl.Int64(),
    **{f"{kind}{end}": pl.Float64()
       for kind in ("zero_variance", "all_fail", "all_pass") for end in ("", "_low", "_high")},
    **dict.fromkeys(("nll", "nll_low", "nll_high"), pl.Float64()),
    "indicator": pl.String(),
    "state": pl.String(),
    "words": pl.String(),
}  # fmt: skip


def balance(pool: Estimated, config: PlanConfig) -> pl.DataFrame:
    """Report every domain.

    Returns:
        One row per domain, by prompts: ``prompts``, ``share`` of the pool, ``target`` weight where
        given, ``rate`` (mean over prompts) with an interval clustered by ``source``, prompts
        ``unsolved`` and ``solved`` in all rollouts, expected shares of groups without signal with
        intervals, ``nll`` of references in nats per token, ``indicator`` and ``words``.
    """
    frame, total = pool.frame, sum(config.targets.values())
    rows = []
    for (domain,), part in frame.group_by("domain", maintain_order=True):
        row: dict[str, Any] = {"domain": domain, "prompts": len(part)}
        row["share"] = len(part) / len(frame)
        if total:
            row["target"] = config.targets.get(str(domain), 0.0) / total
        row |= _rates(part, pool, config) if pool.rolled else {}
        row |= _likelihood(part)
        row["indicator"] = _indicator(row, config.stalled)
        row["state"] = STATES[row["indicator"]]
        row["words"] = WORDS[row["indicator"]]
        rows.append(row)
    return pl.DataFrame(rows, schema=TYPES).sort("prompts", "domain", descending=[True, False])


STATES: dict[str, State] = {
    "blocked": "does_not_hold",
    "saturated": "does_not_hold",
    "partly learned": "holds",
    "undetermined": "undetermined",
    "unknown": "undetermined",
}


def clustered_mean(values: Floats, clusters: pl.Series) -> tuple[float, float, float]:
    """Mean over prompts with a 95 % interval that takes prompts of one source together.

    Linearised, with Student's quantile on the number of clusters less one (Cameron and Miller
    2015, equation 11 with its small-sample factor). Where all values are 0, or all 1, Wilson's
    interval of as many prompts as there are clusters stands in.

    Args:
        values: [N] in [0, 1], or any reals.
        clusters: [N] which belong together; null is a cluster of its own.

    Returns:
        Mean and ends; the ends are NaN for a single cluster.
    """
    mean = float(values.mean())
    gaps = pl.DataFrame({"cluster": clusters, "gap": values - mean})
    alone = gaps["cluster"].is_null()
    sums = np.concatenate(
        [
            gaps.filter(alone)["gap"].to_numpy(),
            gaps.filter(~alone)
            .group_by("cluster", maintain_order=True)
            .agg(pl.col("gap").sum())["gap"]
            .to_numpy(),
        ]
    )
    count = len(sums)
    if values.min() == values.max() and mean in (0.0, 1.0):
        low, high = wilson([mean * count], [count])[:, 0].tolist()
        return mean, low, high
    if count < 2:
        return mean, float("nan"), float("nan")
    error = math.sqrt(count / (count - 1) * float((sums**2).sum())) / len(values)
    half = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * error
    return mean, mean - half, mean + half


def _rates(part: pl.DataFrame, pool: Estimated, config: PlanConfig) -> dict[str, Any]:
    known = part.filter(pl.col("n") > 0)
    if not len(known):
        return {}
    mean, low, high = clustered_mean(known["pass_rate"].to_numpy(), known["source"])
    shares = group_shares(
        known, pool.priors, group=config.group_size, resamples=config.resamples, seed=config.seed
    )
    return {
        "rate": mean,
        "rate_low": _end(max(low, 0.0)),
        "rate_high": _end(min(high, 1.0)),
        "unsolved": int((known["c"] == 0).sum()),
        "solved": int((known["c"] == known["n"]).sum()),
        **{k: v["share"] for k, v in shares.items()},
        **{f"{k}_low": v["low"] for k, v in shares.items()},
        **{f"{k}_high": v["high"] for k, v in shares.items()},
    }


def _likelihood(part: pl.DataFrame) -> dict[str, Any]:
    known = part.drop_nulls("ref_nll")
    if not len(known):
        return {}
    mean, low, high = clustered_mean(known["ref_nll"].to_numpy(), known["source"])
    return {"nll": mean, "nll_low": _end(low), "nll_high": _end(high)}


def _end(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _indicator(row: dict[str, Any], stalled: float) -> str:
    """Name what the expected groups say; intervals across the limit leave it open."""
    if "rate" not in row:
        return "unknown"
    for kind, name in (("all_fail", "blocked"), ("all_pass", "saturated")):
        if row[f"{kind}_low"] >= stalled:
            return name
        if row[f"{kind}_high"] >= stalled:
            return "undetermined"
    return "partly learned"
