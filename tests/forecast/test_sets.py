"""SFT sets beside each other, and what a mixture plan makes of a forecast."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from imprint.forecast.choice import Choice
from imprint.forecast.config import ForecastConfig
from imprint.forecast.domains import score_domains
from imprint.forecast.judged import Found, Judged
from imprint.forecast.material import Text
from imprint.forecast.predicted import Predicted
from imprint.forecast.replay import plan, replies
from imprint.forecast.sets import rank_sets
from imprint.forecast.verdicts import judge
from imprint.models.engine import Generated

GROUPS = [name for name in "abcd" for _ in range(20)]
NONE = pl.DataFrame()


def judged(name: str, *predicted: Predicted) -> Judged:
    scored = score_domains(predicted, GROUPS, resamples=200, seed=0)
    return Judged(
        Found(name, [*predicted]), scored, Choice(predicted[0].name, ""), None, NONE, NONE
    )


def values(*means: float) -> Any:
    noise = 0.01 * np.random.default_rng(0).normal(size=len(GROUPS))
    return (np.repeat(np.array(means), 20) + noise)[None]


def both(of: Any, other: Any, **how: Any) -> pl.DataFrame:
    sets = [judged(n, Predicted("p", "P", v, **how)) for n, v in (("one", of), ("two", other))]
    return rank_sets(sets)


def test_a_closeness_below_zero_ranks_the_nearest_set_first() -> None:
    near, far = values(-0.1, -0.2, -0.1, -0.2), values(-5, -4, -5, -4)
    frame = both(near, far)
    assert frame["rank"].to_list() == [1, 2]
    assert frame["first"].to_list() == [1, 0]


def test_a_signed_predictor_ranks_by_the_size() -> None:
    assert both(values(1, 1, 1, 1), values(-5, -4, -5, -4), signed=True)["rank"].to_list() == [2, 1]


def test_what_is_measured_from_the_mean_over_domains_cannot_tell_sets_apart() -> None:
    frame = both(values(1, -1, 1, -1), values(2, -2, 2, -2), relative=True)
    assert frame.is_empty()
    rows = pl.DataFrame(
        {"sft": ["one", "two"], "rank": [None] * 2, "top": [0.0] * 2, "signed": [False] * 2,
         "excess_low": [None] * 2, "excess_high": [None] * 2, "domain": ["a"] * 2}
    )  # fmt: skip
    said = pl.DataFrame(schema={"sft": pl.String, "predictor": pl.String, "score": pl.Float64})
    tables = {"forecast": rows, "predictors": said, "sets": frame}
    words = {v.text: v.state for v in judge(tables, Choice("p", ""), ["one", "two"], 1, None)}
    assert words["p tells which of 2 SFT sets changes these domains most."] == "undetermined"


def planned(predicted: Predicted) -> tuple[Any, Any, Any]:
    texts = [Text(str(n), group, f"q{n}") for n, group in enumerate(GROUPS)]
    config = ForecastConfig(budget=12)
    inputs: Any = SimpleNamespace(config=config, texts=texts, domains=[*"abcd"])
    return plan(inputs, judged("s", predicted))


def test_a_mixture_practises_what_is_foreseen_to_fall() -> None:
    frame, texts, _ = planned(Predicted("p", "P", values(3, -1, -2, 0.5), signed=True))
    assert frame["examples"].to_list() == [0, 4, 8, 0]
    assert frame["excess"].to_list() == pytest.approx([3, -1, -2, 0.5], abs=0.01)
    assert {text.group for text in texts} == {"b", "c"}
    _, _, said = planned(Predicted("p", "P", values(3, 1, 2, 0.5), signed=True))
    assert "p foresees no fall: the plan treats all alike" in {one.detail for one in said}


def test_replay_targets_that_are_cut_or_empty_are_counted() -> None:
    made = [
        Generated(0, 0, "whole", 2, "end"),
        Generated(1, 0, "and then", 3, "length"),
        Generated(2, 0, " ", 1, "end"),
    ]
    engine: Any = SimpleNamespace(generate=lambda *_, **__: made)
    prompter = SimpleNamespace(context=lambda prompt: prompt)
    inputs: Any = SimpleNamespace(config=ForecastConfig(max_new_tokens=3), prompter=prompter)
    said, found = replies(inputs, engine, [Text(str(n), "a", "q") for n in range(3)])
    assert said == ["whole", "and then", ""]
    assert [(one.check, one.count) for one in found] == [("replay_cut", 1), ("replay_silent", 1)]
