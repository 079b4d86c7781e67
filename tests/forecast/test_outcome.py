"""The experiment that sets forecasts beside what SFT does, in a small size, and its arithmetic."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch", reason="torch is not installed")

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("forecast_outcome")


def said(scores: dict[str, np.ndarray], changes: np.ndarray, *, signed: bool) -> pl.DataFrame:
    """Table `predictors` of three sets and twelve domains; scores and changes are [3, 12]."""
    rows = [
        {
            "sft": sft,
            "predictor": name,
            "family": "own",
            "signed": signed,
            "domain": f"{skill}-{n}",
            "score": float(values[s, 3 * k + n]),
            "observed": float(changes[s, 3 * k + n]),
        }
        for s, sft in enumerate(("teach", "swap", "rewrite"))
        for name, values in scores.items()
        for k, skill in enumerate(("recall", "lookup", "larger", "step"))
        for n in range(3)
    ]
    return pl.DataFrame(rows)


def test_pooled_correlations_are_means_within_sets(outcome) -> None:
    chances = np.random.default_rng(0)
    changes = chances.normal(size=(3, 12))
    scores = {"right": 2 * changes + 5, "other": chances.normal(size=(3, 12))}
    table = outcome.pooled(said(scores, changes, signed=True))
    first, second = table.iter_rows(named=True)
    assert first["predictor"] == "right"
    assert first["r"] == pytest.approx(1)
    assert first["p"] == 1 / 10_000
    assert first["r_apart"] == pytest.approx(1)
    rs = [np.corrcoef(scores["other"][s], changes[s])[0, 1] for s in range(3)]
    assert second["r"] == pytest.approx(np.mean(rs))
    assert second["low"] < second["r"] < second["high"]
    # teach has step-2 and recall-2: domains 11 and 2
    apart = [
        np.corrcoef(np.delete(scores["other"][s], out), np.delete(changes[s], out))[0, 1]
        for s, out in enumerate([(2, 11), (3, 7), (0, 10)])
    ]
    assert second["r_apart"] == pytest.approx(np.mean(apart))


def test_amounts_are_compared_with_the_size_of_changes(outcome) -> None:
    changes = np.random.default_rng(1).normal(size=(3, 12))
    table = outcome.pooled(said({"size": np.abs(changes)}, changes, signed=False))
    assert table["r"][0] == pytest.approx(1)


def test_a_predictor_that_says_the_same_of_all_has_no_correlation(outcome) -> None:
    chances = np.random.default_rng(2)
    changes = chances.normal(size=(3, 12))
    scores = {"flat": np.ones((3, 12)), "some": chances.normal(size=(3, 12))}
    table = outcome.pooled(said(scores, changes, signed=True))
    assert table.filter(predictor="flat")["r"].to_list() == [None]
    assert "1 predictors" in outcome.verdict(table)
    assert outcome.verdict(table).startswith("None of")


def test_items_of_the_world_have_one_right_option(outcome) -> None:
    chances = np.random.default_rng(3)
    for domain in outcome.domains():
        items = domain.items(40, chances)
        assert len({one.prompt for one in items}) == 40
        for one in items:
            assert one.answer in one.options
            assert set(one.prompt.split()) & set(domain.words)


def test_wrong_sets_are_wrong_and_right_ones_right(outcome) -> None:
    world = outcome.domains()
    right = {i.prompt: i.answer for d in world for i in d.items(300, np.random.default_rng(4))}
    sets = outcome.sft_sets(world)
    assert all(one.answer == right[one.prompt] for one in sets["teach"])
    known = [one for one in sets["swap"] if one.prompt in right]
    assert known
    assert all(one.answer != right[one.prompt] for one in known)


@pytest.mark.skipif(find_spec("sparsify") is None, reason="eai-sparsify is not installed")
def test_forecast_beside_outcome_in_small(outcome, tmp_path: Path, capsys) -> None:
    """Everything runs; what it finds in so small a size is not looked at."""
    found = outcome.experiment(
        tmp_path,
        steps=120,
        width=32,
        sft_steps=25,
        lr=3e-3,
        seeds=2,
        sae_tokens=150_000,
        draws=2,
        latents=20,
        resamples=200,
    )
    assert len(found["outcome"]) == 36
    assert found["outcome"]["change"].min() < -0.05
    assert set(found["evaluation"]["sft"]) == {"teach", "swap", "rewrite"}
    names = set(found["pooled"]["predictor"])
    assert {"digit_share", "icl_gain", "similarity_layer", "gradient", "dsir"} <= names
    assert (tmp_path / "run" / "result.json").is_file()
    outcome.show(found, tmp_path)
    printed = capsys.readouterr().out
    assert "alidated here" in printed  # some are, or none is
