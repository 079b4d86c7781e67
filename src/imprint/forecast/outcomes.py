"""Predictors against what was observed, for every SFT set whose outcome is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from imprint.findings import Finding
from imprint.forecast import history
from imprint.forecast.evaluation import FEWEST, Said, choose_extremes, evaluate
from imprint.forecast.inputs import Inputs
from imprint.forecast.judged import Judged
from imprint.stats import benjamini_hochberg


def judge_outcomes(
    inputs: Inputs, judged: Sequence[Judged], findings: list[Finding]
) -> dict[str, pl.DataFrame]:
    """Give the tables ``evaluation`` and ``influence``, of several sets those across them too.

    p is adjusted over all predictors of all sets: each of them may be called validated.
    """
    parts: list[tuple[pl.DataFrame, pl.DataFrame]] = []
    for one in judged:
        changes = inputs.observed.get(one.found.sft)
        if changes is None:
            continue
        kept = [n for n, name in enumerate(changes.domains) if name in inputs.domains]
        changes, said = choose_extremes(changes.only(kept), inputs.config.extremes)
        findings += said
        if len(changes.domains) < FEWEST:
            detail = f"{len(changes.domains)} observed changes judge nothing; {FEWEST} are needed"
            findings.append(Finding("few_observed", detail))
            continue
        at = [inputs.domains.index(name) for name in changes.domains]
        scores = [Said(s.predicted.name, s.predicted.signed, s.score[at]) for s in one.scored]
        config = inputs.config
        found = evaluate(scores, changes, resamples=config.resamples, seed=config.seed)
        lead = pl.lit(one.found.sft).alias("sft")
        parts.append((found[0].select(lead, pl.all()), found[1].select(lead, pl.all())))
    if not parts:
        return {}
    first, second = zip(*parts, strict=True)
    whole = pl.concat(first)
    p = whole["p"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    adjusted = pl.Series("p_adjusted", benjamini_hochberg(p)).fill_nan(None)
    found_tables = {"evaluation": whole.with_columns(adjusted), "influence": pl.concat(second)}
    if len(parts) > 1:
        found_tables |= _across(judged, inputs)
    return found_tables


def _across(judged: Sequence[Judged], inputs: Inputs) -> dict[str, pl.DataFrame]:
    """Predictors by their mean correlation over the SFT sets of this run, and the choice held out.

    Tables ``across_sets`` and ``across_held_out``, as ``history`` and ``held_out``.
    """
    record = history.judge([one for j in judged if (one := _as_past(j, inputs)) is not None])
    if record is None:
        return {}
    return {
        "across_sets": record.table.rename({"forecasts": "sets"}),
        "across_held_out": record.held_out.rename({"forecast": "left_out"}).with_columns(
            p=pl.lit(None if np.isnan(record.p) else record.p, dtype=pl.Float64)
        ),
    }


def _as_past(one: Judged, inputs: Inputs) -> history.Past | None:
    """Give a judged set as a past forecast, where its outcome is known."""
    rows = one.forecast.drop_nulls("observed")
    if len(rows) < FEWEST:
        return None
    at = [inputs.domains.index(name) for name in rows["domain"]]
    return history.Past(
        one.found.sft,
        tuple(rows["domain"]),
        rows["observed"].to_numpy(),
        {s.predicted.name: s.score[at] for s in one.scored},
        frozenset(s.predicted.name for s in one.scored if s.predicted.signed),
    )
