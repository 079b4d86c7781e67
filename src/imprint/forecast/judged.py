"""Scores of one SFT set, and which predictors the headline is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from imprint.forecast import history
from imprint.forecast.choice import Choice, choose, choose_direction
from imprint.forecast.domains import Scored, score_domains, table
from imprint.forecast.inputs import Inputs
from imprint.forecast.predicted import Predicted


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


@dataclass(frozen=True)
class Judged:
    """Predictors of one SFT set with their scores.

    Attributes:
        found: what was found of the set.
        scored: all predictors.
        choice: the one that the headline is about.
        direction: the one whose direction is told; ``None`` where none is signed.
        table, forecast: the set's part of these tables.
    """

    found: Found
    scored: list[Scored]
    choice: Choice
    direction: Choice | None
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
    directed = history.judge([past.directed() for past in inputs.past])
    judged = []
    for one in found:
        scored = score_domains(one.predicted, groups, resamples=config.resamples, seed=config.seed)
        partly = {s.predicted.name for s in scored if np.isnan(s.score).any()}
        choice = choose([s.predicted.name for s in scored], config.score, record, partly=partly)
        signed = [s.predicted.name for s in scored if s.predicted.signed]
        direction = choose_direction(signed, choice, directed)
        rows = _with_observed(table(scored, inputs.domains, inputs.top), inputs, one.sft)
        forecast = _forecast(rows, inputs, choice, direction)
        judged.append(Judged(one, scored, choice, direction, rows, forecast))
    return judged


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


def _forecast(
    rows: pl.DataFrame, inputs: Inputs, choice: Choice, direction: Choice | None
) -> pl.DataFrame:
    """Table ``forecast``: the headline's predictor, and the direction by a signed one."""
    own = rows.filter(predictor=choice.name).drop("direction")
    if direction is None:
        blank = pl.lit(None, dtype=pl.String)
        own = own.with_columns(direction=blank, direction_by=blank, direction_why=blank)
    else:
        said = rows.filter(predictor=direction.name).select(
            "domain", "direction", direction_by="predictor", direction_why=pl.lit(direction.why)
        )
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
