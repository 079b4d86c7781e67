"""The result of a forecast: tables, verdicts and the JSON twin of the report."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import polars as pl

from imprint.findings import Finding
from imprint.forecast import history
from imprint.forecast.choice import Choice, choose
from imprint.forecast.domains import Scored, score_domains, table
from imprint.forecast.evaluation import FEWEST, Said, choose_extremes, evaluate
from imprint.forecast.inputs import Inputs
from imprint.forecast.kept import findings_frame
from imprint.forecast.predicted import Floats, Predicted
from imprint.forecast.verdicts import headline, judge
from imprint.report import Shown, Verdict
from imprint.stats import percentile_interval, top_k_probability

Json = dict[str, Any]
# whose direction the headline tells, in the order of preference
SIGNED = ("sts_signed", "gradient", "icl_gain")
OF_A_DOMAIN = ("score", "low", "high", "null", "excess", "rank", "direction")
OF_A_PREDICTOR = (
    "score", "low", "high", "null", "excess", "excess_low", "excess_high", "rank", "rank_low",
    "rank_high", "top", "signed", "direction", "family",
)  # fmt: skip


SETS = {
    "predictor": pl.String,
    "sft": pl.String,
    **dict.fromkeys(("score", "low", "high", "rank", "first"), pl.Float64),
}


@dataclass(frozen=True)
class Found:
    """What was found of one SFT set.

    Attributes:
        sft: its name.
        predicted: what every predictor says of the domain texts.
        tables: further tables about it: ``shifted``, ``overlap``, ``strongest``, ``ablation``.
    """

    sft: str
    predicted: list[Predicted]
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)


@dataclass(repr=False, frozen=True)
class ForecastResult(Shown):
    """Which domains an SFT set will change, and how far that can be believed.

    Attributes:
        tables: ``forecast`` (one row per SFT set and domain), ``predictors`` (and predictor),
            ``sets``, ``findings``; with an SAE ``fit``, ``shifted``, ``overlap``; with outcomes
            ``evaluation`` and ``influence``; ``history``, ``held_out``, ``mixture``, ``ablation``,
            ``strongest`` where they were asked for.
        headline: the verdict in a few sentences.
        verdicts: the claims, each with its state.
        findings: what was noticed.
        data: the content of ``result.json``.
        notes: settings for the method section.
    """

    pages: ClassVar[str] = "imprint.forecast.report"

    tables: dict[str, pl.DataFrame]
    headline: str
    verdicts: list[Verdict]
    findings: list[Finding]
    data: Json
    notes: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """Predictors of one SFT set with their scores, and which of them the headline is about."""

    found: Found
    scored: list[Scored]
    choice: Choice
    table: pl.DataFrame
    forecast: pl.DataFrame

    def named(self, name: str) -> Scored:
        """Find the scores of a predictor."""
        return next(one for one in self.scored if one.predicted.name == name)

    @property
    def chosen(self) -> Scored:
        """The scores of the headline's predictor."""
        return self.named(self.choice.name)


def score(inputs: Inputs, found: Sequence[Found]) -> list[Judged]:
    """Give every predictor its scores of domains, and choose the headline's.

    Raises:
        ConfigError: the predictor that was asked for is not among them.
    """
    config, groups = inputs.config, [text.group for text in inputs.texts]
    record = history.judge(inputs.past)
    judged = []
    for one in found:
        scored = score_domains(one.predicted, groups, resamples=config.resamples, seed=config.seed)
        partly = {s.predicted.name for s in scored if np.isnan(s.score).any()}
        choice = choose([s.predicted.name for s in scored], config.score, record, partly=partly)
        rows = _with_observed(table(scored, inputs.domains, inputs.top), inputs, one.sft)
        judged.append(Judged(one, scored, choice, rows, _forecast(rows, inputs, one, choice)))
    return judged


def assemble(
    inputs: Inputs,
    judged: Sequence[Judged],
    extra: dict[str, pl.DataFrame],
    findings: Sequence[Finding],
) -> ForecastResult:
    """Make tables, verdicts and JSON of what was found.

    Args:
        inputs: what was read.
        judged: every SFT set with its scores.
        extra: further tables: ``fit``, ``mixture``.
        findings: beside those of the inputs.
    """
    record = history.judge(inputs.past)
    tables = {
        "forecast": pl.concat([one.forecast for one in judged]),
        "predictors": pl.concat([one.table for one in judged]),
        "sets": _sets(judged),
    }
    noticed = [*inputs.findings, *findings]
    tables |= _evaluations(inputs, judged, noticed)
    if record is not None:
        tables |= {"history": record.table, "held_out": record.held_out}
    for name in dict.fromkeys(name for one in judged for name in one.found.tables):
        parts = [_named(one.found, name) for one in judged if name in one.found.tables]
        tables[name] = pl.concat(parts, how="diagonal")
    tables |= extra
    noticed = list(dict.fromkeys(noticed))
    tables["findings"] = findings_frame(noticed)
    sets, choice = [one.found.sft for one in judged], judged[0].choice
    words = headline(tables, choice, sets, inputs.top, record)
    verdicts = judge(tables, choice, sets, inputs.top, record)
    data = _json(inputs, judged, tables, words, record)
    notes = {"config": inputs.config, "titles": _titles(judged)}
    return ForecastResult(tables, words, verdicts, noticed, data, notes)


def _named(found: Found, name: str) -> pl.DataFrame:
    return found.tables[name].fill_nan(None).select(pl.lit(found.sft).alias("sft"), pl.all())


def _titles(judged: Sequence[Judged]) -> pl.DataFrame:
    rows = [
        {
            "predictor": p.name,
            "title": p.title,
            "family": p.family,
            "signed": p.signed,
            "note": p.note,
        }
        for p in judged[0].found.predicted
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def _with_observed(rows: pl.DataFrame, inputs: Inputs, sft: str) -> pl.DataFrame:
    changes = inputs.observed.get(sft)
    rows = rows.select(pl.lit(sft).alias("sft"), pl.all())
    if changes is None:
        blank = pl.lit(None, dtype=pl.Float64)
        return rows.with_columns(observed=blank, observed_se=blank)
    se = [None] * len(changes.domains) if changes.se is None else changes.se.tolist()
    known = pl.DataFrame(
        {"domain": changes.domains, "observed": changes.change, "observed_se": se},
        schema={"domain": pl.String, "observed": pl.Float64, "observed_se": pl.Float64},
    )
    return rows.join(known, on="domain", how="left", maintain_order="left")


def _forecast(rows: pl.DataFrame, inputs: Inputs, found: Found, choice: Choice) -> pl.DataFrame:
    """Table ``forecast``: the headline's predictor, and the direction by a signed one."""
    own = rows.filter(predictor=choice.name).drop("direction")
    by = _direction_by(found, choice)
    if by is None:
        blank = pl.lit(None, dtype=pl.String)
        own = own.with_columns(direction=blank, direction_by=blank)
    else:
        said = rows.filter(predictor=by).select("domain", "direction", direction_by="predictor")
        own = own.join(said, on="domain", how="left", maintain_order="left")
    lengths: dict[str, list[int]] = {name: [] for name in inputs.domains}
    for text, length in zip(inputs.texts, inputs.lengths, strict=True):
        lengths[text.group].append(length)
    counts = pl.DataFrame(
        {
            "domain": inputs.domains,
            "texts": [len(lengths[name]) for name in inputs.domains],
            "tokens": [sum(lengths[name]) for name in inputs.domains],
        }
    )
    return own.join(counts, on="domain", how="left", maintain_order="left")


def _direction_by(found: Found, choice: Choice) -> str | None:
    signed = [p.name for p in found.predicted if p.signed]
    if choice.name in signed:
        return choice.name
    return next((name for name in SIGNED if name in signed), signed[0] if signed else None)


def _sets(judged: Sequence[Judged]) -> pl.DataFrame:
    """Table ``sets``: SFT sets by the mean of each predictor over all domains.

    Predictors that are measured from the mean over all domains cannot tell sets apart and are not
    in it.
    """
    names = [p.name for p in judged[0].found.predicted if not p.relative]
    names = [n for n in names if all(n in [p.name for p in j.found.predicted] for j in judged)]
    return pl.concat([pl.DataFrame(schema=SETS), *(_ranked(judged, name) for name in names)])


def _ranked(judged: Sequence[Judged], name: str) -> pl.DataFrame:
    scored = [one.named(name) for one in judged]
    mean = np.array([_over_domains(s.score[None])[0] for s in scored])
    draws = np.stack([_over_domains(s.samples) for s in scored], axis=1)
    low, high = percentile_interval(draws)
    # a fall in all domains is as much of a change as a rise
    size, sizes = (np.abs(mean), np.abs(draws)) if scored[0].predicted.signed else (mean, draws)
    rank = 1.0 + (size[None] > size[:, None]).sum(axis=1)
    return pl.DataFrame(
        {
            "predictor": [name] * len(judged),
            "sft": [one.found.sft for one in judged],
            "score": mean,
            "low": low,
            "high": high,
            "rank": np.where(np.isfinite(size), rank, np.nan),
            "first": top_k_probability(sizes),
        },
        schema=SETS,
    ).fill_nan(None)


def _over_domains(scores: Floats) -> Floats:
    known = np.isfinite(scores)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, scores, 0.0).sum(axis=-1) / known.sum(axis=-1))


def _evaluations(
    inputs: Inputs, judged: Sequence[Judged], findings: list[Finding]
) -> dict[str, pl.DataFrame]:
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
    found_tables = {"evaluation": pl.concat(first), "influence": pl.concat(second)}
    if len(parts) > 1:
        found_tables |= _across(judged, inputs)
    return found_tables


def _across(judged: Sequence[Judged], inputs: Inputs) -> dict[str, pl.DataFrame]:
    """Predictors by their mean correlation over the SFT sets of this run, and the choice held out.

    Tables ``across_sets`` and ``across_held_out``, as ``history`` and ``held_out``.
    """
    record = history.judge([one for j in judged if (one := as_past(j, inputs)) is not None])
    if record is None:
        return {}
    return {
        "across_sets": record.table.rename({"forecasts": "sets"}),
        "across_held_out": record.held_out.rename({"forecast": "left_out"}).with_columns(
            p=pl.lit(None if np.isnan(record.p) else record.p, dtype=pl.Float64)
        ),
    }


def as_past(one: Judged, inputs: Inputs) -> history.Past | None:
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


def _json(
    inputs: Inputs,
    judged: Sequence[Judged],
    tables: dict[str, pl.DataFrame],
    words: str,
    record: history.Record | None,
) -> Json:
    entries = [_entry(one, tables) for one in judged]
    return {
        "job": "forecast",
        "format": 1,
        "imprint": importlib.metadata.version("imprint"),
        "headline": words,
        "model": str(inputs.base.reference),
        "sae": inputs.sources.sae,
        "shift": inputs.config.shift,
        "top": inputs.top,
        "prompts": inputs.prompter.columns,
        "seed": inputs.config.seed,
        **entries[0],
        "sets": entries,
        "fit": tables["fit"].to_dicts()[0] if "fit" in tables else None,
        "history": None if record is None else _history(record),
        "mixture": tables["mixture"].to_dicts() if "mixture" in tables else [],
        "findings": tables["findings"].select("level", "check", "detail").to_dicts(),
    }


def _history(record: history.Record) -> Json:
    mean, low, high = (None if np.isnan(v) else v for v in record.expected)
    return {
        "best": record.best,
        "validated": record.validated,
        "held_out": {"mean": mean, "low": low, "high": high, "forecasts": len(record.held_out)},
        "predictors": record.table.to_dicts(),
    }


def _entry(one: Judged, tables: dict[str, pl.DataFrame]) -> Json:
    own = {
        name: frame.filter(sft=one.found.sft).drop("sft")
        for name, frame in tables.items()
        if "sft" in frame.columns and name != "sets"
    }
    said = {
        key[0]: {
            row["predictor"]: {name: row[name] for name in OF_A_PREDICTOR}
            for row in part.iter_rows(named=True)
        }
        for key, part in one.table.partition_by("domain", maintain_order=True, as_dict=True).items()
    }
    domains = [
        {
            "domain": row["domain"],
            **{name: row[name] for name in OF_A_DOMAIN},
            "direction_by": row["direction_by"],
            "observed": row["observed"],
            "observed_se": row["observed_se"],
            "predictors": said[row["domain"]],
        }
        for row in one.forecast.iter_rows(named=True)
    ]
    return {
        "sft": one.found.sft,
        "score": one.choice.name,
        "domains": domains,
        "shifted": _shifted(own),
        "evaluation": own["evaluation"].to_dicts() if len(own.get("evaluation", ())) else None,
    }


def _shifted(own: dict[str, pl.DataFrame]) -> Json | None:
    if "shifted" not in own:
        return None
    overlap = own["overlap"].to_dicts() if "overlap" in own else []
    return {"latents": own["shifted"].to_dicts(), "overlap": overlap}
