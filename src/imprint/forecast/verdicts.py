"""What the numbers say: each claim with its state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from imprint.forecast.choice import LEVEL, Choice, validated
from imprint.forecast.evaluation import COVARIATE
from imprint.forecast.history import Record, mean_interval
from imprint.forecast.numbers import BEYOND, SURE, Tables, interval, r_of
from imprint.report import State, Verdict
from imprint.stats import fisher_interval, spearman, units_needed

LIKELY = 0.5  # probability from which such a place is worth a line
TELLING = 0.5  # correlation from which it matters that one domain carries it
ALIKE = 0.7  # Spearman's ρ from which a score orders domains as another does


def judge(
    tables: Tables, choice: Choice, sets: Sequence[str], top: int, record: Record | None
) -> list[Verdict]:
    """State every claim that the tables allow."""
    return [
        *_trust(tables, choice, sets, record),
        *_null(tables),
        *_places(tables["forecast"].filter(sft=sets[0]), choice, sets, top),
        *_digits(tables, choice, sets),
        *_sets(tables, choice),
    ]


def _trust(
    tables: Tables, choice: Choice, sets: Sequence[str], record: Record | None
) -> Iterator[Verdict]:
    if record is not None:
        yield _by_history(record)
    if "evaluation" not in tables:
        if record is None:
            yield Verdict(
                f"{choice.name} can be trusted here.",
                "undetermined",
                "Nothing observed was given. --observed judges it after training, --history on "
                "past forecasts.",
            )
        return
    for name in sets:
        rows = tables["evaluation"].filter(sft=name)
        if len(rows):
            yield _follows(rows, choice.name, name)
            yield from _better(rows, choice.name, name)
    if "across_held_out" in tables:
        yield _across(tables)


def _across(tables: Tables) -> Verdict:
    """Does a predictor chosen on some SFT sets hold on another one, with the same domains?"""
    held = tables["across_held_out"]
    mean, low, high = mean_interval(held["spearman"].drop_nulls().to_numpy())
    text = "A predictor chosen on the other SFT sets holds on the one left out."
    best = tables["across_sets"].row(0, named=True)
    detail = (
        f"Best on all {best['sets']} sets is {best['predictor']}, mean ρ = {best['mean'] or 0:.2f}"
    )
    detail += f"{interval(best['low'], best['high'])}; "
    if np.isnan(mean):
        return Verdict(text, "undetermined", f"{detail}nothing could be held out.")
    detail += (
        f"held out, the choice reached ρ = {mean:.2f}{interval(low, high)} over "
        f"{held['spearman'].count()} sets."
    )
    if np.isnan(low):
        return Verdict(text, "undetermined", f"{detail} Three sets are needed for an interval.")
    p = held["p"][0]
    sure = low > 0 and p is not None and p <= LEVEL
    state: State = "holds" if sure else "does_not_hold" if high <= 0 else "undetermined"
    return Verdict(text, state, f"{detail} p = {p:.3f}." if p is not None else detail)


def _by_history(record: Record) -> Verdict:
    mean, low, high = record.expected
    runs = record.judged
    if np.isnan(mean):
        detail = "Nothing could be held out: 3 past forecasts of different outcomes are needed."
        return Verdict(
            "A predictor chosen from past forecasts holds in a new one.", "undetermined", detail
        )
    state: State = "holds" if record.validated else "does_not_hold" if high <= 0 else "undetermined"
    detail = (
        f"Held out, the choice reached ρ = {mean:.2f}{interval(low, high)} over {runs} forecasts."
    )
    if not np.isnan(record.p):
        detail += f" p = {record.p:.3f} with outcomes dealt out among domains."
    if state == "undetermined":
        detail += " More past forecasts with outcomes would decide it."
    return Verdict("A predictor chosen from past forecasts holds in a new one.", state, detail)


def _follows(rows: pl.DataFrame, name: str, sft: str) -> Verdict:
    text = f"{name} follows what was observed after SFT on {sft}."
    own = rows.filter(predictor=name)
    if own.is_empty():
        return Verdict(text, "undetermined", f"It says nothing of {sft}.")
    row = own.row(0, named=True)
    if row["pearson"] is None:
        return Verdict(text, "undetermined", f"No correlation: {row['status'].replace('_', ' ')}.")
    detail = (
        f"r = {r_of(row)} over {row['domains']} domains, ρ = {row['spearman']:.2f}, p = "
        f"{row['p']:.3f}, {row['p_adjusted']:.3f} adjusted for all predictors"
    )
    if row["without_low"] is None:
        return Verdict(text, "undetermined", f"{detail}. Too few domains to leave one out.")
    detail += f"; without one domain from {row['without_low']:.2f} to {row['without_high']:.2f}."
    if name in validated(rows):
        return Verdict(text, "holds", detail)
    if row["high"] <= 0:
        return Verdict(text, "does_not_hold", detail)
    if row["one_domain"] and row["pearson"] >= TELLING:
        detail += f" It rests on {row['rests_most_on']} alone."
    needed = units_needed(row["pearson"], 0.0)
    if needed is not None and row["domains"] < needed <= 10 * row["domains"]:
        detail += f" If r stays, {needed} domains would decide it."
    return Verdict(text, "undetermined", detail)


def _better(rows: pl.DataFrame, name: str, sft: str) -> Iterator[Verdict]:
    passed = [who for who in validated(rows) if who != name]
    if passed:
        listed = ", ".join(
            f"{who} (r = {r_of(rows.filter(predictor=who).row(0, named=True))})"
            for who in passed[:4]
        )
        yield Verdict(
            f"Another predictor follows what was observed after SFT on {sft}.",
            "holds",
            listed + ".",
        )


def _places(rows: pl.DataFrame, choice: Choice, sets: Sequence[str], top: int) -> Iterator[Verdict]:
    """Say where the predictor puts domains: a claim about it, not about what training will do."""
    of = f" under SFT on {sets[0]}" if len(sets) > 1 else ""
    known = rows.drop_nulls("rank").sort("rank", maintain_order=True)
    likely = known.filter(pl.col("top") >= LIKELY).with_columns(beyond=BEYOND)
    for row in likely.iter_rows(named=True):
        sure, beyond = row["top"] >= SURE, row["beyond"]
        state: State = "holds" if sure and beyond else "undetermined"
        detail = (
            f"Rank {row['rank']:.0f} [{row['rank_low']:.0f}, {row['rank_high']:.0f}], score "
            f"{row['score']:.3g} [{row['low']:.3g}, {row['high']:.3g}]; among the first {top} in "
            f"{row['top']:.0%} of resamples."
        )
        if not beyond:
            detail += " Its score is no more than its null, so it says nothing of this SFT set."
        elif not sure:
            detail += " More texts and draws would decide it."
        first = "first" if top == 1 else f"among the first {top}"
        text = f"{choice.name} puts {row['domain']} {first} of the domains to change{of}."
        yield Verdict(text, state, detail)


def _digits(tables: Tables, choice: Choice, sets: Sequence[str]) -> Iterator[Verdict]:
    """Does the score say more than how many digits the texts hold?"""
    if choice.name == COVARIATE:
        return
    text = f"{choice.name} says more than the share of digits in the texts."
    if "evaluation" in tables:
        row = tables["evaluation"].filter(sft=sets[0], predictor=choice.name)
        if len(row) and row["partial_digits"][0] is not None:
            r, n = float(row["partial_digits"][0]), int(row["domains"][0])
            low, high = (float(end) for end in fisher_interval(r, n, controls=1))
            state: State = "holds" if low > 0 else "does_not_hold" if high <= 0 else "undetermined"
            yield Verdict(
                text, state, f"Partial correlation with the change: {r:.2f}{interval(low, high)}."
            )
            return
    both = [
        tables["predictors"].filter(sft=sets[0], predictor=name)["score"].to_numpy()
        for name in (choice.name, COVARIATE)
    ]
    if not all(len(side) for side in both):
        return
    rho = float(spearman(both[0][:, None].astype(float), both[1][:, None].astype(float))[0])
    if abs(rho) >= ALIKE:
        yield Verdict(
            text, "undetermined", f"It orders the domains much as digits do (ρ = {rho:.2f})."
        )


def _null(tables: Tables) -> Iterator[Verdict]:
    shifted = tables.get("overlap")
    if shifted is None or shifted.is_empty():
        return
    row = shifted.row(0, named=True)
    share = row["overlap"] / max(1, row["latents"])
    state: State = "holds" if share <= 0.1 else "does_not_hold" if share >= 0.5 else "undetermined"
    yield Verdict(
        "The latents that shift are others than under the null.",
        state,
        f"{row['overlap']:.0f} of {row['latents']} are also found with {row['null']}.",
    )


def _sets(tables: Tables, choice: Choice) -> Iterator[Verdict]:
    count = tables["forecast"]["sft"].n_unique()
    if count < 2:
        return
    rows = tables["sets"].filter(predictor=choice.name).drop_nulls("rank").sort("rank")
    if rows.is_empty():
        yield Verdict(
            f"{choice.name} tells which of {count} SFT sets changes these domains most.",
            "undetermined",
            "It compares domains with each other and has no mean over them; others in the table "
            "`sets` have.",
        )
        return
    first = rows.row(0, named=True)
    state: State = "holds" if first["first"] >= SURE else "undetermined"
    yield Verdict(
        f"{choice.name} puts {first['sft']} first of {count} SFT sets to change these domains.",
        state,
        f"Mean score {first['score']:.3g} [{first['low']:.3g}, {first['high']:.3g}]; first in "
        f"{first['first']:.0%} of resamples.",
    )
