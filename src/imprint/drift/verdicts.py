"""What the numbers say: each claim with its state, and the headline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from imprint.drift.config import DriftConfig
from imprint.drift.means import difference
from imprint.report import State, Verdict
from imprint.stats import critical_correlation, spearman

if TYPE_CHECKING:
    from imprint.drift.result import Found

Tables = Mapping[str, pl.DataFrame]
MORE_TEXTS = "More texts would decide it."


def judge(tables: Tables, found: Sequence[Found], config: DriftConfig) -> list[Verdict]:
    """State every claim that the tables allow."""
    verdicts = [*_moved(tables)]
    if "null" in tables:
        verdicts += _beyond_null(tables["null"])
    verdicts += _grown(found, config)
    if "levels" in tables:
        verdicts += _levels(tables, found[-1].name)
    if "on_policy_summary" in tables:
        verdicts += _estimators(tables["on_policy_summary"])
    if "accuracy" in tables:
        verdicts += _accuracy(tables["accuracy"])
    return verdicts


def headline(tables: Tables, names: Sequence[str]) -> str:
    """Say the answer about the last tuned model in a sentence or two."""
    last, said = names[-1], []
    if "summary" in tables:
        row = _row(tables["summary"], tuned=last, measure="kl")
        same = _row(tables["summary"], tuned=last, measure="top1_same")
        said.append(
            f"{last} is {_number(row)} nats per token from its base, KL(base‖tuned), over "
            f"{row['tokens']:,} tokens of {row['texts']:,} texts; on {same['mean']:.1%} of them "
            "both find the same token most likely."
        )
    if "levels" in tables:
        rows = tables["levels"].filter(
            (pl.col("tuned") == last) & (pl.col("measure") == "kl_tuned_base_top10")
        )
        if len(rows):
            best = rows.sort("level").row(-1, named=True)
            said.append(
                f"On the first token of {best['tokens']:,} facts of level {best['level']} the ten "
                f"likeliest tokens moved by {_number(best)} nats, KL(tuned‖base)."
            )
    if "on_policy_summary" in tables:
        frame = tables["on_policy_summary"]
        row = _row(frame, tuned=last, per="sequence", measure="kl_tuned_base")
        said.append(f"Its own completions are {_number(row)} nats from the base, KL(tuned‖base).")
    return " ".join(said)


def _moved(tables: Tables) -> Iterator[Verdict]:
    if "summary" not in tables:
        return
    for row in tables["summary"].filter(pl.col("measure") == "kl").iter_rows(named=True):
        state: State = "undetermined"
        if row["max"] == 0:
            state = "does_not_hold"
        elif row["low"] is not None and row["low"] > 0:
            state = "holds"
        detail = f"KL(base‖tuned) {_number(row)} nats per token; the base against itself gives 0."
        if row["low"] is None:
            detail += " One text alone gives no interval."
        yield Verdict(
            f"{row['tuned']} predicts these texts otherwise than its base.", state, detail
        )


def _beyond_null(null: pl.DataFrame) -> Iterator[Verdict]:
    for row in null.iter_rows(named=True):
        low, high = row["excess_low"], row["excess_high"]
        state = _state(low, high)
        detail = (
            f"KL of the control is {_number(row, 'kl_mean', 'kl_low', 'kl_high')}; the tuned model "
            f"lies {row['excess']:+.3g} from it"
            + (f" [{low:.3g}, {high:.3g}]." if low is not None else ".")
        )
        if state == "undetermined":
            detail += f" {MORE_TEXTS}"
        claim = f"{row['tuned']} moved further than a random change of the same size."
        yield Verdict(claim, state, detail)


def _grown(found: Sequence[Found], config: DriftConfig) -> Iterator[Verdict]:
    """Compare the ends along the step, and along every column of numbers of the models table."""
    measured = [(o, o.main) for o in found if o.main is not None]
    for column in ("step", *dict.fromkeys(n for o in found for n in o.labels)):
        along = [(_along(one, column), tokens) for one, tokens in measured]
        known = sorted((at, n) for n, (at, _) in enumerate(along) if at is not None)
        values = [at for at, _ in known]
        # several models of one size: which of them would stand for it?
        if len(known) < 2 or len(set(values)) < len(values):
            continue
        before, after = (along[known[end][1]][1] for end in (0, -1))
        gap, low, high = difference(
            after, before, "kl", resamples=config.resamples, seed=config.seed
        )
        ends = f" [{low:.3g}, {high:.3g}]" if low is not None else ""
        yield Verdict(
            f"Drift grew from {column} {values[0]:,} to {column} {values[-1]:,}.",
            _state(low, high),
            f"KL changed by {gap:+.3g}{ends} nats per token, on the same texts.",
        )


def _along(one: Found, column: str) -> float | None:
    value = one.step if column == "step" else one.labels.get(column)
    return value if isinstance(value, (int, float)) else None


def _levels(tables: Tables, last: str) -> Iterator[Verdict]:
    facts = tables["facts"].filter((pl.col("tuned") == last) & pl.col("near"))
    if facts["level"].n_unique() < 2:
        return
    known = facts["level"].to_numpy().astype(float), facts["kl_tuned_base"].to_numpy()
    rho = float(spearman(known[0][:, None], known[1][:, None])[0])
    bound = critical_correlation(len(facts))
    if not np.isfinite(rho) or not np.isfinite(bound):
        return
    state: State = "undetermined" if abs(rho) < bound else "holds" if rho < 0 else "does_not_hold"
    yield Verdict(
        "The better a fact was known, the less its first token moved.",
        state,
        f"Spearman correlation of level and KL(tuned‖base) {rho:+.2f} over {len(facts):,} facts; "
        f"beyond ±{bound:.2f} it is more than chance. The two prompts differ, so that part of the "
        "divergence is theirs."[:None],
    )


def _estimators(frame: pl.DataFrame) -> Iterator[Verdict]:
    for name in frame["tuned"].unique(maintain_order=True):
        exact, k1 = (
            _row(frame, tuned=name, per="sequence", measure=m)
            for m in ("kl_tuned_base", "k1_tuned_base")
        )
        if k1["se"] is None or exact["se"] is None:
            continue
        near = abs(k1["mean"] - exact["mean"]) <= 3 * (k1["se"] + exact["se"])
        yield Verdict(
            f"The drawn tokens agree with the exact divergence for {name}.",
            "holds" if near else "does_not_hold",
            f"Per sequence {_number(exact)} exactly, {_number(k1)} by k1, KL(tuned‖base).",
        )


def _accuracy(accuracy: pl.DataFrame) -> Iterator[Verdict]:
    if "kl" not in accuracy.columns:
        return
    each = accuracy.group_by("tuned", maintain_order=True).agg(
        pl.col("kl").first(), pl.col("accuracy_change").mean()
    )
    claim = "The further a checkpoint moved, the more accuracy it lost."
    if len(each) < 4:
        detail = f"{len(each)} tuned checkpoints; four at least are needed for a correlation."
        yield Verdict(claim, "undetermined", detail)
        return
    columns = each.select("kl", "accuracy_change").to_numpy()
    rho = float(spearman(columns[:, :1], columns[:, 1:])[0])
    bound = critical_correlation(len(each))
    state: State = "undetermined"
    if np.isfinite(rho) and abs(rho) >= bound:
        state = "holds" if rho < 0 else "does_not_hold"
    detail = (
        f"Spearman correlation {rho:+.2f} over {len(each)} checkpoints (±{bound:.2f} by chance)."
    )
    yield Verdict(claim, state, detail)


def _state(low: float | None, high: float | None) -> State:
    if low is None or high is None or low <= 0 <= high:
        return "undetermined"
    return "holds" if low > 0 else "does_not_hold"


def _row(frame: pl.DataFrame, **wanted: Any) -> dict[str, Any]:
    return frame.filter(*(pl.col(k) == v for k, v in wanted.items())).row(0, named=True)


def _number(
    row: Mapping[str, Any], mean: str = "mean", low: str = "low", high: str = "high"
) -> str:
    ends = f" [{row[low]:.3g}, {row[high]:.3g}]" if row[low] is not None else ""
    return f"{row[mean]:.3g}{ends}"
