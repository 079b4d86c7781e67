"""The answer of a forecast in a few sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from imprint.forecast.choice import HELD, UNPROVEN, Choice, validated
from imprint.forecast.history import Record
from imprint.forecast.numbers import BEYOND, SURE, Tables, interval, r_of


def headline(
    tables: Tables, choice: Choice, sets: Sequence[str], top: int, record: Record | None
) -> str:
    """Say the answer in a few sentences."""
    rows = tables["forecast"].filter(sft=sets[0])
    proven = _proven(tables, sets[0], record)
    said = [_forecast(rows, sets[0], _why(choice, proven), top)]
    if len(sets) > 1:
        more = "set is" if len(sets) == 2 else f"{len(sets) - 1} SFT sets are"
        said.append(f"The other {more} in the tables.")
    return " ".join(
        [
            *said,
            *_directions(rows, proven),
            _who(tables, choice, sets, record),
        ]
    )


def _proven(tables: Tables, sft: str, record: Record | None) -> list[str]:
    """Name the predictors that outcomes of this set, or else of past ones, validate."""
    found = validated(tables["evaluation"].filter(sft=sft)) if "evaluation" in tables else []
    if record is not None and record.validated and record.best is not None:
        return [*found, record.best]
    return found


def _why(choice: Choice, proven: Sequence[str]) -> Choice:
    if choice.why != UNPROVEN or choice.name not in proven:
        return choice
    return Choice(choice.name, "validated on what was observed")


def _forecast(rows: pl.DataFrame, name: str, choice: Choice, top: int) -> str:
    known = rows.drop_nulls("rank").sort("rank", maintain_order=True)
    first = known.filter(pl.col("top") >= SURE)
    sure = first.filter(BEYOND)
    of, by = f"of {len(rows)} domains", f"By {choice.name} ({choice.why}), SFT on {name}"
    if len(first) == 0:
        return f"{by} names no domain for sure: which {top} {of} change most cannot be told."
    if len(sure) == 0:
        listed = _listed(first["domain"].to_list())
        return f"{by} may change {listed} most {of}, but no more than under the null."
    place = "first" if top == 1 else f"among the first {top}"
    words = f"{by} puts {_listed(sure['domain'].to_list())} {place} {of} to change"
    return f"{words}; the rest of the {top} cannot be told." if len(sure) < top else f"{words}."


def _directions(rows: pl.DataFrame, proven: Sequence[str]) -> Iterator[str]:
    by = rows["direction_by"].drop_nulls().unique().to_list()
    if not by:
        return
    held = HELD in rows["direction_why"].to_list()
    trust = "" if by[0] in proven else f" ({HELD if held else UNPROVEN})"
    count = rows["direction"].value_counts().rows_by_key("direction")
    falls, rises = (int(count.get(word, [(0,)])[0][0]) for word in ("fall", "rise"))
    rest = len(rows) - falls - rises
    yield f"{by[0]}{trust} foresees {falls} falls, {rises} rises and leaves {rest} open."


def _who(tables: Tables, choice: Choice, sets: Sequence[str], record: Record | None) -> str:
    """Say whom to trust, in a sentence."""
    if record is not None:
        mean, low, high = record.expected
        if record.validated:
            return (
                f"On {record.judged} past forecasts the predictor chosen from the others "
                f"reached ρ = {mean:.2f} [{low:.2f}, {high:.2f}]: trust {record.best} here."
            )
        told = "" if np.isnan(mean) else f" (held out: ρ = {mean:.2f}{interval(low, high)})"
        return f"Past forecasts validate no predictor here{told}."
    if "evaluation" not in tables:
        return (
            "No predictor is validated here: without observed changes or past forecasts, ranks are "
            "a hypothesis and not a finding."
        )
    passed = _passed(tables, sets)
    if passed:
        row = (
            tables["evaluation"].filter(sft=passed[0][0], predictor=passed[0][1]).row(0, named=True)
        )
        return (
            f"On the observed changes {row['predictor']} reaches r = {r_of(row)} over "
            f"{row['domains']} domains of {row['sft']}"
            + ("." if len(passed) == 1 else f", and {len(passed) - 1} more are validated.")
        )
    rows = tables["evaluation"].drop_nulls("pearson")
    if rows.is_empty():
        return "Observed changes cannot judge any predictor here."
    best = rows.sort("pearson", descending=True).row(0, named=True)
    of = f" on {best['sft']}" if len(sets) > 1 else ""
    words = (
        f"The observed changes validate none of {rows['predictor'].n_unique()} predictors; the "
        f"best, {best['predictor']}{of}, reaches r = {r_of(best)}"
    )
    if best["one_domain"]:
        return f"{words} and rests on {best['rests_most_on']} alone."
    return f"{words}, which the best of so many may reach by chance."


def _passed(tables: Tables, sets: Sequence[str]) -> list[tuple[str, str]]:
    frame = tables["evaluation"]
    return [(name, who) for name in sets for who in validated(frame.filter(sft=name))]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
