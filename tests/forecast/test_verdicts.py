"""What is said of numbers whose meaning is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from imprint.errors import ConfigError
from imprint.forecast.choice import HELD, UNPROVEN, Choice, choose, choose_direction, validated
from imprint.forecast.domains import score_domains, table
from imprint.forecast.evaluation import Said, evaluate
from imprint.forecast.headline import headline
from imprint.forecast.history import Past
from imprint.forecast.history import judge as judge_past
from imprint.forecast.observed import Observed
from imprint.forecast.predicted import Predicted
from imprint.forecast.verdicts import judge

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "forecast_published.json").read_text("utf-8")
)
MINE = Choice("mine", "as asked for")
EACH = 40


def tables_of(
    score: Any, change: Any = None, *, null: float | None = 0.0, noise: float = 0.1
) -> dict[str, pl.DataFrame]:
    """Tables of one predictor whose domain scores are nearly these."""
    names = [f"d{n}" for n in range(len(score))]
    rng = np.random.default_rng(0)
    values = np.repeat(np.asarray(score, dtype=float), EACH) + noise * rng.normal(
        size=EACH * len(score)
    )
    under = None if null is None else np.full((1, len(values)), null)
    said = Predicted("mine", "Mine", values[None], null=under)
    groups = [name for name in names for _ in range(EACH)]
    scored = score_domains([said], groups, resamples=300, seed=0)
    lead = pl.lit("set").alias("sft")
    rows = table(scored, names, 2).select(lead, pl.all())
    blank = pl.lit(None, dtype=pl.String)
    tables = {
        "forecast": rows.with_columns(direction=blank, direction_by=blank, direction_why=blank),
        "predictors": rows,
        "sets": pl.DataFrame({"predictor": ["mine"], "sft": ["set"], "rank": [1]}),
    }
    if change is not None:
        observed = Observed(tuple(names), np.asarray(change, dtype=float))
        found, _ = evaluate([Said("mine", signed=False, score=scored[0].score)], observed)
        tables["evaluation"] = found.select(lead, pl.all())
    return tables


def states(tables: dict[str, pl.DataFrame], record: Any = None) -> dict[str, str]:
    return {v.text: v.state for v in judge(tables, MINE, ["set"], 2, record)}


def test_without_outcomes_nothing_is_validated() -> None:
    tables = tables_of([5, 4, 1, 1.1, 0.9, 1.05])
    words = headline(tables, MINE, ["set"], 2, None)
    assert "puts d0 and d1 among the first 2 of 6 domains to change" in words
    assert "No predictor is validated here" in words
    said = states(tables)
    assert said["mine can be trusted here."] == "undetermined"
    assert said["mine puts d0 among the first 2 of the domains to change."] == "holds"


def test_what_cannot_be_told_apart_is_undetermined() -> None:
    tables = tables_of([1, 1.01, 0.99, 1, 1.02], noise=1.0)
    assert "names no domain for sure" in headline(tables, MINE, ["set"], 2, None)
    assert "holds" not in states(tables).values()


def test_a_place_that_the_null_gives_too_is_no_sign() -> None:
    tables = tables_of([5, 4, 1, 1.1], null=6.0)
    assert "no more than under the null" in headline(tables, MINE, ["set"], 2, None)
    assert "holds" not in states(tables).values()


def test_a_predictor_that_follows_the_outcome_is_trusted() -> None:
    size = np.linspace(1, 6, 14)
    tables = tables_of(size, -size)
    assert validated(tables["evaluation"]) == ["mine"]
    assert states(tables)["mine follows what was observed after SFT on set."] == "holds"
    words = headline(tables, Choice("mine", UNPROVEN), ["set"], 2, None)
    assert "On the observed changes mine reaches r = 1.00" in words
    assert "By mine (validated on what was observed), SFT on set" in words


def test_a_direction_by_a_predictor_that_nothing_validates_is_called_so() -> None:
    tables = tables_of(np.linspace(1, 6, 14), -np.linspace(1, 6, 14))
    named = pl.lit("way").alias("direction_by"), pl.lit("fall").alias("direction")
    tables["forecast"] = tables["forecast"].with_columns(*named)
    held = pl.lit(HELD).alias("direction_why")
    past = {**tables, "forecast": tables["forecast"].with_columns(held)}
    assert f"way ({HELD}) foresees" in headline(past, MINE, ["set"], 2, None)
    words = headline(tables, MINE, ["set"], 2, None)
    assert f"way ({UNPROVEN}) foresees 14 falls, 0 rises" in words


def test_a_predictor_that_is_missing_from_another_set_is_no_crash() -> None:
    tables = tables_of([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    tables["evaluation"] = tables["evaluation"].with_columns(predictor=pl.lit("other"))
    assert states(tables)["mine follows what was observed after SFT on set."] == "undetermined"


@pytest.mark.parametrize("kind", ["act", "icl"])
def test_the_published_gemma_series_rest_on_engineering(kind: str) -> None:
    scores = GOLDEN["sts"]["gemma2-9b"][kind]
    change = [GOLDEN["change"]["gemma2-9b"][name] for name in scores]
    observed = Observed(tuple(scores), np.array(change))
    found, _ = evaluate([Said("mine", signed=False, score=np.array([*scores.values()]))], observed)
    tables = tables_of([1, 2, 3, 4])
    tables["evaluation"] = found.select(pl.lit("set").alias("sft"), pl.all())
    verdict = judge(tables, MINE, ["set"], 2, None)[0]
    assert verdict.state == "undetermined"
    assert "It rests on engineering alone." in verdict.detail
    assert "rests on engineering alone" in headline(tables, MINE, ["set"], 2, None)


def test_the_past_speaks() -> None:
    def past(seed: int, *, good: bool) -> Past:
        rng = np.random.default_rng(seed)
        change = rng.normal(size=12)
        score = np.abs(change) if good else rng.normal(size=12)
        scores = {"mine": score + 0.01 * rng.normal(size=12)}
        return Past(str(seed), tuple("abcdefghijkl"), change, scores, frozenset())

    text = "A predictor chosen from past forecasts holds in a new one."
    tables = tables_of([5, 4, 1, 1.1])
    held = judge_past([past(n, good=True) for n in range(4)])
    assert states(tables, held)[text] == "holds"
    assert "trust mine here" in headline(tables, MINE, ["set"], 2, held)
    noise = judge_past([past(n, good=False) for n in range(4)])
    assert states(tables, noise)[text] != "holds"
    assert "validate no predictor" in headline(tables, MINE, ["set"], 2, noise)
    assert states(tables, judge_past([past(0, good=True)]))[text] == "undetermined"


def test_whose_direction_is_told() -> None:
    names, amount = ["sts_signed", "gradient", "icl_gain"], Choice("sts_act", UNPROVEN)
    assert choose_direction(names, amount, None) == Choice("gradient", UNPROVEN)
    assert choose_direction(["sts_signed"], amount, None) == Choice("sts_signed", UNPROVEN)
    assert choose_direction([], amount, None) is None
    assert choose_direction(names, Choice("icl_gain", "as asked for"), None) == Choice(
        "icl_gain", "as asked for"
    )

    def past(seed: int) -> Past:
        rng = np.random.default_rng(seed)
        change = rng.normal(size=12)
        scores = {"sts_act": np.abs(change), "gradient": rng.normal(size=12), "icl_gain": change}
        signed = frozenset({"gradient", "icl_gain"})
        return Past(str(seed), tuple("abcdefghijkl"), change, scores, signed)

    record = judge_past([past(n).directed() for n in range(4)])
    assert choose_direction(names, amount, record) == Choice("icl_gain", HELD)


def test_which_predictor_the_headline_is_about() -> None:
    names = ["digit_share", "sts_act", "rds_max"]
    assert choose(names, None, None).name == "sts_act"
    assert choose(names, "rds_max", None) == Choice("rds_max", "as asked for")
    assert choose(names, None, None, partly={"sts_act"}).name == "rds_max"
    assert choose(["digit_share"], None, None).name == "digit_share"
    with pytest.raises(ConfigError, match="did you mean 'sts_act'"):
        choose(names, "sts_akt", None)
