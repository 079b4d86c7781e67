"""Predictors against observed changes: the published series, and series with a known answer."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as reference

from imprint.forecast.evaluation import Said, choose_extremes, evaluate
from imprint.forecast.observed import Observed

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "forecast_published.json").read_text("utf-8")
)
PANELS = [(model, kind) for model in GOLDEN["sts"] for kind in ("act", "icl")]


def published(model: str, kind: str) -> tuple[Any, Any]:
    scores = GOLDEN["sts"][model][kind]
    change = np.array([GOLDEN["change"][model][name] for name in scores])
    said = Said(kind, signed=False, score=np.array(list(scores.values())))
    return evaluate([said], Observed(tuple(scores), change))


@pytest.mark.parametrize(("model", "kind"), PANELS)
def test_the_six_published_series(model: str, kind: str) -> None:
    expected = GOLDEN["expected"][model][kind]
    row = published(model, kind)[0].row(0, named=True)
    assert row["pearson"] == pytest.approx(expected["published"], abs=0.01)
    assert row["pearson"] == pytest.approx(expected["pearson"], abs=1e-4)
    for name in ("low", "high", "spearman", "kendall", "without_low", "without_high"):
        assert row[name] == pytest.approx(expected[name], abs=0.0051), name
    assert row["p_greater"] == pytest.approx(expected["p_greater"], abs=0.00051)
    assert row["high"] - row["low"] > 0.4
    assert row["domains"] == 8


def test_the_two_that_rest_on_one_point_are_named() -> None:
    rows = {panel: published(*panel)[0].row(0, named=True) for panel in PANELS}
    resting = {panel for panel, row in rows.items() if row["one_domain"]}
    assert resting == {("gemma2-9b", "act"), ("gemma2-9b", "icl")}
    assert {rows[panel]["rests_most_on"] for panel in resting} == {"engineering"}
    without = published("gemma2-9b", "act")[1].filter(domain="engineering")
    assert without["r_without"][0] == pytest.approx(-0.23, abs=0.005)


def test_against_scipy_and_plain_enumeration() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=6), rng.normal(size=6)
    frame, _ = evaluate([Said("a", signed=True, score=x)], Observed(tuple("abcdef"), y))
    row = frame.row(0, named=True)
    assert row["pearson"] == pytest.approx(reference.pearsonr(x, y)[0])
    assert row["spearman"] == pytest.approx(reference.spearmanr(x, y)[0])
    assert row["kendall"] == pytest.approx(reference.kendalltau(x, y)[0])
    tried = [np.corrcoef(x, y[list(way)])[0, 1] for way in itertools.permutations(range(6))]
    r = np.corrcoef(x, y)[0, 1]
    assert row["p_greater"] == pytest.approx(np.mean(np.array(tried) >= r - 1e-12))
    assert row["p"] == pytest.approx(np.mean(np.abs(tried) >= abs(r) - 1e-12))


def test_amounts_follow_the_size_and_signed_ones_the_change() -> None:
    change = np.array([-3.0, -2, -1, 1, 2, 3.5])
    domains = tuple("abcdef")
    said = [
        Said("amount", signed=False, score=np.abs(change)),
        Said("direction", signed=True, score=change),
    ]
    frame, _ = evaluate(said, Observed(domains, change))
    assert frame["pearson"].to_list() == pytest.approx([1, 1])
    assert frame["sign_accuracy"].to_list() == [None, 1.0]
    assert frame["sign_chance"].to_list() == [None, 0.5]
    assert frame["sign_p"][1] == pytest.approx(1 / 20)  # three of six rises, one way of twenty


def test_saying_the_same_of_all_foresees_no_direction() -> None:
    change = np.array([-3.0, -2, -1, -4, -5, -6, -7, 3.5])
    mostly = np.array([-1.0, -1, -1, -1, -1, -1, 1, 1])
    said = [Said("all", signed=True, score=-np.arange(1.0, 9)), Said("most", True, mostly)]
    frame, _ = evaluate(said, Observed(tuple("abcdefgh"), change))
    assert frame["sign_accuracy"].to_list() == [7 / 8, 7 / 8]
    assert frame["sign_p"][0] == 1
    table = [[1, 1], [0, 6]]  # foreseen and not, risen and fallen
    expected = reference.fisher_exact(table, alternative="greater").pvalue
    assert frame["sign_p"][1] == pytest.approx(expected)


def test_what_follows_digits_alone_is_seen() -> None:
    rng = np.random.default_rng(1)
    digits = rng.uniform(2, 6, size=30)
    change = digits + 0.3 * rng.normal(size=30)
    copy = digits + 0.3 * rng.normal(size=30)
    said = [
        Said("digit_share", signed=False, score=digits),
        Said("sts", signed=False, score=copy),
    ]
    frame, _ = evaluate(said, Observed(tuple(map(str, range(30))), np.abs(change)))
    assert frame["partial_digits"][0] is None
    assert abs(frame["partial_digits"][1]) < frame["pearson"][1] / 2


def test_the_noise_ceiling() -> None:
    rng = np.random.default_rng(2)
    true = rng.normal(size=400)
    for se in (0.05, 1.0):
        seen = true + se * rng.normal(size=400)
        observed = Observed(tuple(map(str, range(400))), seen, np.full(400, se))
        frame, _ = evaluate([Said("s", signed=True, score=true)], observed)
        reached = np.corrcoef(true, seen)[0, 1]
        assert frame["noise_ceiling"][0] == pytest.approx(reached, abs=0.05)
    noise = Observed(tuple(map(str, range(400))), rng.normal(size=400), np.full(400, 1.5))
    frame, _ = evaluate([Said("s", signed=True, score=true)], noise)
    assert frame["noise_ceiling"][0] == 0


def test_undefined_is_said_and_never_zero() -> None:
    change = np.arange(5.0)
    said = [
        Said("constant", signed=False, score=np.ones(5)),
        Said("few", signed=False, score=np.array([1, 2, 3, np.nan, np.nan])),
    ]
    frame, influence = evaluate(said, Observed(tuple("abcde"), change))
    assert frame["status"].to_list() == ["constant", "too_few"]
    assert frame["pearson"].to_list() == [None, None]
    assert frame["p_adjusted"].to_list() == [None, None]
    assert influence["r_without"].null_count() == len(influence)


def test_extremes_are_chosen_only_on_request_and_said() -> None:
    observed = Observed(tuple("abcdef"), np.array([5.0, -4, 0.1, 2, -2.5, 0.2]))
    assert choose_extremes(observed, None) == (observed, [])
    assert choose_extremes(observed, 3)[0] is observed
    kept, findings = choose_extremes(observed, 2)
    assert kept.domains == ("a", "b", "c", "f")
    assert "chosen by the very outcome" in findings[0].detail
