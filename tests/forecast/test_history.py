"""What past forecasts say of predictors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from imprint.errors import DataError
from imprint.forecast.history import Past, judge, read_history


def past(name: str, seed: int, good: float) -> Past:
    rng = np.random.default_rng(seed)
    change = rng.normal(size=12)
    size = np.abs(change)
    scores = {
        "good": size + good * rng.normal(size=12),
        "noise": rng.normal(size=12),
        "direction": change,
    }
    return Past(name, tuple("abcdefghijkl"), change, scores, frozenset({"direction"}))


def test_the_one_that_held_is_trusted() -> None:
    found = judge([past(str(n), n, 0.05) for n in range(5)])
    assert found is not None
    assert found.best == "direction"
    assert found.held_out["chosen"].to_list() == ["direction"] * 5
    assert found.expected[0] == pytest.approx(1)
    assert found.validated
    assert found.table["predictor"].to_list()[-1] == "noise"
    row = found.table.row(1, named=True)
    assert row["predictor"] == "good"
    assert row["low"] <= row["mean"] <= row["high"] <= 1


def test_one_that_was_seldom_there_is_not_the_best() -> None:
    runs = [past(str(n), n, 0.05) for n in range(4)]
    runs[0].scores["lucky"] = runs[0].change.copy()
    runs[0] = Past(
        "0", runs[0].domains, runs[0].change, runs[0].scores, frozenset({"lucky", "direction"})
    )
    found = judge(runs)
    assert found is not None
    assert found.best == "direction"
    assert found.table["predictor"].to_list()[-1] == "lucky"
    assert set(found.held_out["chosen"]) == {"direction"}


def test_the_same_outcome_again_is_no_further_evidence() -> None:
    found = judge([past(name, 0, 0.05) for name in "abcd"])
    assert found is not None
    assert found.held_out["chosen"].null_count() == 4
    assert not found.validated
    assert found.table["low"].null_count() == len(found.table)
    twice = judge([past(f"{n}{again}", n, 0.05) for n in range(3) for again in "ab"])
    once = judge([past(str(n), n, 0.05) for n in range(3)])
    assert twice is not None
    assert once is not None
    assert twice.expected == pytest.approx(once.expected)


def test_noise_is_not_validated() -> None:
    runs = []
    for n in range(6):
        rng = np.random.default_rng(n)
        scores = {f"p{k}": rng.normal(size=10) for k in range(20)}
        runs.append(Past(str(n), tuple("abcdefghij"), rng.normal(size=10), scores, frozenset()))
    found = judge(runs)
    assert found is not None
    assert not found.validated
    # the best of many looks good on all, and the held-out mean does not
    assert float(found.table["mean"][0]) > found.expected[0]


def test_a_choice_among_many_is_seldom_validated_by_chance() -> None:
    """An interval over what is left out in turn would pass two to three times as often."""
    rng, passed, narrow = np.random.default_rng(1), 0, 0
    for _ in range(40):
        runs = [
            Past(
                str(n),
                tuple("abcdefgh"),
                rng.normal(size=8),
                {f"p{k}": rng.normal(size=8) for k in range(20)},
                frozenset(),
            )
            for n in range(6)
        ]
        found = judge(runs)
        assert found is not None
        passed += found.validated
        narrow += found.expected[1] > 0
    assert passed <= min(narrow, 4)


def test_too_few_forecasts_decide_nothing() -> None:
    assert judge([]) is None
    one = judge([past("0", 0, 0.1)])
    assert one is not None
    assert np.isnan(one.expected[0])
    two = judge([past("0", 0, 0.1), past("1", 1, 0.1)])
    assert two is not None
    assert not two.validated


def test_folders_that_are_no_history(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no result.json"):
        read_history([tmp_path])
    (tmp_path / "result.json").write_text(json.dumps({"job": "drift"}))
    with pytest.raises(DataError, match=r"no result of imprint forecast"):
        read_history([tmp_path])
    (tmp_path / "result.json").write_text(
        json.dumps({"job": "forecast", "sets": [{"sft": "s", "domains": [{"observed": None}]}]})
    )
    with pytest.raises(DataError, match=r"given no outcomes"):
        read_history([tmp_path])
