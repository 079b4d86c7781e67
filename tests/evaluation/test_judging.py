"""Verdicts beside chance: error rates, direction, what would decide."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from imprint.evaluation.judging import calibration, judged
from imprint.evaluation.lm_eval_files import sanitised


def scores(*rights: int, items: int = 100, chance: float | None = 0.25) -> pl.DataFrame:
    rows = [
        {"unit": f"u{n}", "stage": "sft", "benchmark": "b", "metric": "acc", "items": items,
         "accuracy": right / items, "chance": chance, "confidence": 0.5, "confidence_se": 0.01}
        for n, right in enumerate(rights)
    ]  # fmt: skip
    return pl.DataFrame(rows)


def test_states_follow_the_corrected_test() -> None:
    frame, verdicts = judged(pl.DataFrame(), scores(25, 60, 5, 33))
    assert frame["state"].to_list() == ["undetermined", "holds", "does_not_hold", "undetermined"]
    assert frame["p"].to_list() == pytest.approx(
        [binomtest(right, 100, 0.25).pvalue for right in (25, 60, 5, 33)]
    )
    assert "items would tell" in verdicts[3].detail
    assert "items would tell" not in verdicts[0].detail  # no difference, no number of items
    assert frame["confidence_low"][0] == pytest.approx(0.5 - 1.959964 * 0.01)


def test_guessing_is_seldom_called_knowledge() -> None:
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(100):
        frame, _ = judged(pl.DataFrame(), scores(*rng.binomial(100, 0.25, 6).tolist()))
        false += bool((frame["state"] != "undetermined").any())
    assert false <= 12


def test_without_chance_there_is_no_verdict() -> None:
    frame, verdicts = judged(pl.DataFrame(), scores(25, chance=None))
    assert verdicts == []
    assert frame["q"].to_list() == [None]
    assert frame["state"].to_list() == ["undetermined"]


def test_calibration_error_is_told_from_its_null() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.3, 1.0, 2000)
    sure = np.clip(confidence + 0.2, 0, 1)
    right = (rng.random(2000) < confidence).astype(float)
    names = [pl.lit("u").alias("unit"), pl.lit("b").alias("benchmark")]
    for given, good in ((confidence, True), (sure, False)):
        items = pl.DataFrame({"confidence": given, "correct": right}).with_columns(names)
        (row,) = calibration(items, 0).to_dicts()
        assert (row["p"] > 0.05) == good
        assert (row["ece"] < row["null_high"]) == good


def test_items_without_options_have_no_calibration() -> None:
    items = pl.DataFrame(
        {"unit": ["u"], "benchmark": ["b"], "confidence": [None], "correct": [1.0]},
        schema_overrides={"confidence": pl.Float64},
    )
    assert calibration(items, 0).is_empty()


@pytest.mark.parametrize(
    ("model", "folder"),
    [("org/name", "org__name"), ("..", "model"), ("../x", "..__x"), ("a:b|c", "a__b__c")],
)
def test_folders_are_named_as_lm_eval_names_them(model: str, folder: str) -> None:
    assert sanitised(model) == folder
