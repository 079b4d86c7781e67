"""What a plan claims, and whether the counts carry it."""

from __future__ import annotations

from typing import Any

import polars as pl

from imprint.planning.config import PlanConfig
from imprint.report import State, Verdict

Json = dict[str, Any]
MOST = 0.8  # share of the band's prompts that must be expected in it


def judge(sets: Json, table: pl.DataFrame, config: PlanConfig) -> list[Verdict]:
    """Judge sets and domains.

    Args:
        sets: the entries of ``result.json``.
        table: the balance table.
        config: band and group size.
    """
    found = [_sft(sets["sft"])]
    if sets["rl"] is not None:
        found += [_band(sets["rl"], config), _signal(sets["rl"], config)]
    return [*found, *_domains(table, config)]


def _sft(sft: Json) -> Verdict:
    claim = "There is an SFT subset that is hard for this model and has references."
    if sft["kind"] == "fact":
        claim = "There is an SFT subset of facts of middling mastery."
    if not sft["rows"]:
        return Verdict(claim, "does_not_hold", "No row qualifies.")
    state: State = "holds" if sft["rows"] >= sft["asked"] else "undetermined"
    rate = "" if sft["pass_rate"] is None else f", mean shrunk pass rate {sft['pass_rate']:.3f}"
    told = f"{sft['rows']:,} rows of {sft['asked']:,} asked for{rate}."
    return Verdict(claim, state, told)


def _band(rl: Json, config: PlanConfig) -> Verdict:
    low, high = config.band
    claim = f"The prompts of the RL band pass between {low:g} and {high:g} of the time."
    if not rl["band"]:
        return Verdict(claim, "does_not_hold", "No prompt is likely enough to.")
    inside = rl["truly_in_band"]
    state: State = "holds" if inside["low"] >= MOST else "undetermined"
    told = f"{rl['band']:,} prompts; {_share(inside)} of them are expected to."
    if state == "undetermined":
        told += (
            f" More rollouts would tell: {rl['open']:,} prompts of the pool lie within 95 % "
            "intervals of an edge."
        )
    return Verdict(claim, state, told)


def _signal(rl: Json, config: PlanConfig) -> Verdict:
    claim = "The RL set wastes fewer groups than its random control."
    ours, control = rl["groups"], rl["control_groups"]
    if ours is None or control is None:
        return Verdict(claim, "undetermined", "There is no set to compare.")
    told = (
        f"Groups of {config.group_size} without signal: {_share(ours)} against {_share(control)} "
        "expected; what training makes of it only training shows."
    )
    if ours["high"] < control["low"]:
        return Verdict(claim, "holds", told)
    state: State = "does_not_hold" if ours["low"] >= control["share"] else "undetermined"
    return Verdict(claim, state, told)


def _domains(table: pl.DataFrame, config: PlanConfig) -> list[Verdict]:
    found = []
    for row in table.iter_rows(named=True):
        rate = "" if row["rate"] is None else f"mean pass rate {row['rate']:.3f}"
        if row["rate_low"] is not None:
            rate += f" [{row['rate_low']:.3f}, {row['rate_high']:.3f}]"
        weight = "" if row["target"] is None else f", {row['target']:.0%} of the target"
        known = [f"{row['prompts']:,} prompts", *([rate] if rate else [])]
        words = f"{row['words'][0].upper()}{row['words'][1:]}"
        detail = f"{words} ({', '.join(known)}{weight})."
        claim = f"Outcome rewards can move {row['domain']}."
        found.append(Verdict(claim, row["state"], detail))
    order = {"does_not_hold": 0, "undetermined": 1, "holds": 2}
    return sorted(found, key=lambda verdict: order[verdict.state])


def _share(groups: Json) -> str:
    return f"{groups['share']:.1%} [{groups['low']:.1%}, {groups['high']:.1%}]"
