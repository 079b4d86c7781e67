"""Predictors against outcomes of several SFT sets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from imprint.forecast.choice import Choice, validated
from imprint.forecast.config import ForecastConfig
from imprint.forecast.domains import score_domains
from imprint.forecast.judged import Found, Judged
from imprint.forecast.observed import Observed
from imprint.forecast.outcomes import judge_outcomes
from imprint.forecast.predicted import Predicted
from imprint.stats import benjamini_hochberg

NAMES = tuple("abcdefghijkl")
GROUPS = [name for name in NAMES for _ in range(10)]


def judged(sft: str, means: np.ndarray, others: int) -> Judged:
    rng = np.random.default_rng(len(sft))
    noise = 0.01 * rng.normal(size=len(GROUPS))
    said = [Predicted("good", "Good", (np.repeat(means, 10) + noise)[None])]
    said += [Predicted(f"p{n}", "P", rng.normal(size=(1, len(GROUPS)))) for n in range(others)]
    scored = score_domains(said, GROUPS, resamples=100, seed=0)
    rows = pl.DataFrame({"domain": NAMES, "observed": means}).with_columns(sft=pl.lit(sft))
    return Judged(Found(sft, said), scored, Choice("good", ""), None, rows, rows)


def test_p_is_adjusted_over_all_predictors_of_all_sets() -> None:
    rng = np.random.default_rng(0)
    means = {name: rng.random(12) for name in ("one", "other", "third")}
    sets = [judged(name, m, 12) for name, m in means.items()]
    observed = {name: Observed(NAMES, m + 0.05 * rng.normal(size=12)) for name, m in means.items()}
    inputs: Any = SimpleNamespace(
        observed=observed, domains=list(NAMES), config=ForecastConfig(resamples=100)
    )
    whole = judge_outcomes(inputs, sets, [])["evaluation"]
    alone = [judge_outcomes(inputs, [one], [])["evaluation"] for one in sets]
    p = np.concatenate([one["p"].to_numpy() for one in alone])
    assert whole["p"].to_list() == pytest.approx(p)
    assert whole["p_adjusted"].to_list() == pytest.approx(benjamini_hochberg(p))
    # by chance some of the 36 others pass within their own set of 13, and none over all
    assert set(validated(whole)) == {"good"}
