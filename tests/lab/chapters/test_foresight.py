"""Chapter 4: how predictors are judged over SFT sets, and the chapter on tiny checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

pytest.importorskip("trl", reason="trl is not installed")
pytest.importorskip("sparsify", reason="eai-sparsify is not installed")

from imprint.lab.chapters.chapter import Material
from imprint.lab.chapters.foresight import run
from imprint.lab.chapters.foresight_scores import pooled
from imprint.lab.chapters.foresight_verdicts import _fall, holding
from imprint.lab.ledger import Ledger
from lab.chapters.small_lab import DOMAINS, material

NAMES = [f"d{n}" for n in range(12)]


def outcomes(sets: int = 3, seed: int = 0) -> pl.DataFrame:
    chances = np.random.default_rng(seed)
    return pl.DataFrame(
        [
            {"sft": f"s{k}", "domain": name, "logprob": chances.normal(), "accuracy": 0.0}
            for k in range(sets)
            for name in NAMES
        ]
    )


def said(seen: pl.DataFrame) -> dict[str, pl.DataFrame]:
    chances = np.random.default_rng(1)
    told = {
        "knows": (True, seen["logprob"] + 0.1 * chances.normal(size=len(seen))),
        "size": (False, seen["logprob"].abs()),
        "wrong": (True, -seen["logprob"]),
        "noise": (True, pl.Series(chances.normal(size=len(seen)))),
    }
    rows = [
        seen.select("sft", "domain", predictor=pl.lit(name), score=score)
        for name, (_, score) in told.items()
    ]
    titles = [
        {"predictor": name, "title": name, "family": "sts", "signed": signed}
        for name, (signed, _) in told.items()
    ]
    return {"predictors": pl.concat(rows), "titles": pl.DataFrame(titles)}


def test_mean_correlation_over_sets_is_that_of_scipy() -> None:
    seen = outcomes()
    told = said(seen)
    found = pooled(seen, told, 200, 0).table.filter(measure="logprob", predictor="knows")
    each = [
        spearmanr(
            told["predictors"].filter(predictor="knows", sft=name)["score"],
            seen.filter(sft=name)["logprob"],
        ).statistic
        for name in ("s0", "s1", "s2")
    ]
    assert found["rho"][0] == pytest.approx(np.mean(each))
    assert found["worst"][0] == pytest.approx(min(each))


def test_what_knows_holds_and_noise_does_not() -> None:
    seen = outcomes()
    by = pooled(seen, said(seen), 200, 0)
    rows = {r["predictor"]: r for r in by.table.filter(measure="logprob").to_dicts()}
    assert rows["size"]["rho"] == pytest.approx(1)
    assert rows["wrong"]["rho"] == pytest.approx(-1)
    assert rows["noise"]["low"] < 0 < rows["noise"]["high"]
    assert rows["noise"]["p"] > 0.05
    assert set(holding(by.table)["predictor"]) == {"size", "knows"}
    gap = by.gap("logprob", "knows", "wrong")
    assert gap is not None
    assert gap[1] > 0


def test_a_base_that_answers_nothing_cannot_fall() -> None:
    rows = [{"domain": name, "accuracy": 0.2, "base_accuracy": 0.0} for name in NAMES]
    assert _fall(pl.DataFrame(rows)).stance == "cannot tell"
    able = pl.DataFrame(
        [{**row, "base_accuracy": 0.5, "accuracy": 0.1 + 0.01 * n} for n, row in enumerate(rows)]
    )
    assert _fall(able).stance == "disagrees"


def test_outcomes_that_never_vary_are_undefined() -> None:
    seen = outcomes()
    rows = pooled(seen, said(seen), 100, 0).table.filter(measure="accuracy")
    assert rows["rho"].null_count() == len(rows)


def test_chance_is_found_as_often_as_chance_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imprint.lab.chapters.foresight_scores.ORDERS", 199)
    ps = []
    for seed in range(20):
        seen = outcomes(2, seed)
        told = {name: frame.filter(predictor="noise") for name, frame in said(seen).items()}
        table = pooled(seen, told, 100, seed).table
        ps.append(table.filter(measure="logprob", predictor="noise")["p"][0])
    assert sum(p <= 0.05 for p in ps) <= 4


def test_without_domains_it_says_what_is_missing(tmp_path: Path) -> None:
    told = " ".join(run(Material(Ledger(tmp_path))).missing)
    assert "--domains" in told
    assert "--base, --tuned" in told


def test_sets_are_trained_forecast_and_judged(tmp_path: Path) -> None:
    own = material(tmp_path, trains=True)
    first = run(own)
    assert first.missing == []
    seen = first.tables["foresight_observed"]
    assert seen["domain"].unique(maintain_order=True).to_list() == DOMAINS
    assert seen["sft"].unique().sort().to_list() == ["early", "late"]
    table = first.tables["foresight_predictors"].filter(measure="logprob")
    assert {"sts", "dictionary", "lexical", "gradient", "history"} <= set(table["family"])
    again = run(own)
    assert again.verdict == first.verdict
    assert again.tables["foresight_predictors"].equals(first.tables["foresight_predictors"])


def test_a_pair_is_judged_on_its_own_set(tmp_path: Path) -> None:
    found = run(material(tmp_path))
    assert found.tables["foresight_observed"]["sft"].unique().to_list() == ["sft"]
    assert "--sae" in " ".join(found.missing)
    assert "foresight_sae" not in found.tables
