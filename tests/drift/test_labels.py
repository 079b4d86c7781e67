"""Tuned models named and labelled by a models table."""

from __future__ import annotations

import importlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest

from imprint.cli import run
from imprint.drift import DriftResult, drift
from imprint.drift.labels import label_names
from imprint.errors import ConfigError, DataError
from models_support import tiny
from tests_support import HOSTILE

FAST: dict[str, Any] = {"resamples": 100, "quiet": True}
SIZES = (60, 240, 1920)


@pytest.fixture(scope="module")
def family(pair: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tuned models beside a table that names them and their base."""
    folder = tmp_path_factory.mktemp("family")
    rows = [f"{pair.base},story,pretrained,,0.5"]
    for number, size in enumerate(SIZES):
        tiny(folder / f"n{size}", near=pair.base, seed=number)
        rows.append(f"n{size},story,sft,{size},0.5")
    table = folder / "models.csv"
    table.write_text("\n".join(["model,unit,stage,size,share", *rows]) + "\n")
    return table


@pytest.fixture(scope="module")
def found(pair: Any, family: Path) -> DriftResult:
    return drift(pair.base, models=family, texts=pair.texts, **FAST)


def test_labels_travel(found: DriftResult) -> None:
    names = ["story sft (n60)", "story sft (n240)", "story sft (n1920)"]
    assert [entry["tuned"] for entry in found.data["all_tuned"]] == names
    expected = {"unit": "story", "stage": "sft", "size": 1920, "share": 0.5}
    assert found.data["labels"] == expected
    summary = found.tables["summary"]
    assert summary.columns[:6] == ["tuned", "step", "unit", "stage", "size", "share"]
    assert summary["size"].unique().sort().to_list() == list(SIZES)
    schema = files("imprint.drift").joinpath("drift.schema.json").read_text()
    jsonschema.validate(found.data, json.loads(schema))


def test_drift_is_drawn_against_every_column_of_numbers(found: DriftResult, tmp_path: Path) -> None:
    found.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Against size" in page
    assert "Mean divergence by size." in page
    assert "Against share" not in page  # one value alone
    assert "Along training" not in page
    claims = [verdict.text for verdict in found.verdicts]
    assert "Drift grew from size 60 to size 1,920." in claims


def test_several_models_of_one_size_are_points(pair: Any, family: Path, tmp_path: Path) -> None:
    table = tmp_path / "twice.csv"
    rows = [f"{family.parent / f'n{size}'},{size},sft,{min(size, 240)}" for size in SIZES]
    table.write_text("\n".join(["model,unit,stage,size", *rows]) + "\n")
    result = drift(pair.base, models=table, texts=pair.texts, out=tmp_path / "run", **FAST)
    assert "Against size" in (tmp_path / "run" / "report.html").read_text()
    assert not any("size" in verdict.text for verdict in result.verdicts)
    assert result.data["all_tuned"][0]["tuned"] == "60 sft"


def test_some_models_of_the_table(pair: Any, family: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(family.parent)
    result = drift(pair.base, ["n240"], models=family, texts=pair.texts, **FAST)
    assert [entry["labels"]["size"] for entry in result.data["all_tuned"]] == [240]


def test_scores_are_joined_by_labels(pair: Any, family: Path, tmp_path: Path) -> None:
    scores = pl.DataFrame(
        {
            "unit": ["story"] * 4,
            "stage": ["pretrained", "sft", "sft", "sft"],
            "size": [None, *SIZES],
            "benchmark": ["quiz"] * 4,
            "accuracy": [0.5, 0.6, 0.7, 0.4],
        }
    )
    scores.write_parquet(tmp_path / "scores.parquet")
    result = drift(
        pair.base, models=family, texts=pair.texts, scores=tmp_path / "scores.parquet", **FAST
    )
    changes = result.tables["accuracy"]["accuracy_change"].to_list()
    assert changes == pytest.approx([0.1, 0.2, -0.1])


def test_scores_are_read_before_any_model_runs(
    pair: Any, family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = importlib.import_module("imprint.drift.drift")
    monkeypatch.setattr(job, "perform", lambda *_: pytest.fail("a model ran"))
    given: dict[str, Any] = {"models": family, "texts": pair.texts}
    with pytest.raises(DataError, match="no such file"):
        drift(pair.base, **given, scores=tmp_path / "absent.parquet", **FAST)
    other = pl.DataFrame({"unit": ["u"], "stage": ["pretrained"], "benchmark": ["b"]})
    other.with_columns(accuracy=0.5).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(DataError, match="no score of the tuned models"):
        drift(pair.base, **given, scores=tmp_path / "other.parquet", **FAST)


@pytest.mark.parametrize("hostile", [HOSTILE[0], HOSTILE[1], HOSTILE[-1]])
def test_hostile_labels_are_escaped(pair: Any, family: Path, tmp_path: Path, hostile: str) -> None:
    table = tmp_path / "models.yaml"
    rows = [
        {"model": str(family.parent / f"n{size}"), "unit": hostile, "stage": "sft", hostile: size}
        for size in SIZES
    ]
    table.write_text(json.dumps({"models": rows}))
    drift(pair.base, models=table, texts=pair.texts, out=tmp_path / "run", **FAST)
    assert hostile not in (tmp_path / "run" / "report.html").read_text()


def test_names_that_are_alike_are_told_apart() -> None:
    labels = [{"unit": "a", "stage": "sft", "step": 1}, {"unit": "a", "stage": "sft", "step": 2}]
    assert label_names(labels, ["x", "y"]) == ["a sft 1", "a sft 2"]
    assert label_names([labels[0]] * 2, ["x", "y"]) == ["a sft 1 (x)", "a sft 1 (y)"]


@pytest.mark.parametrize(
    ("text", "error", "problem"),
    [
        ("", DataError, "empty"),
        ("model,unit,stage,median\nn,a,sft,3\n", DataError, "'median' is what drift's own"),
        ("model,unit\nn,a\n", DataError, "'stage' is missing"),
        ("model,unit,stage\nBASE,a,pretrained\n", ConfigError, "no model but the base"),
    ],
)
def test_tables_that_cannot_be_used(
    pair: Any, tmp_path: Path, text: str, error: type[Exception], problem: str
) -> None:
    table = tmp_path / "models.csv"
    table.write_text(text.replace("BASE", str(pair.base)))
    with pytest.raises(error, match=problem):
        drift(pair.base, models=table, texts=pair.texts, **FAST)


def test_the_command_says_which_models(
    pair: Any, family: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ["drift", str(pair.base), "--models", str(family), "--texts", str(pair.texts)]
    assert run([*command, "--dry-run", "--out", str(tmp_path / "run")]) == 0
    assert "story sft (n1920)" in capsys.readouterr().out
    assert run([*command[:2], "nowhere", *command[2:], "--out", str(tmp_path / "run")]) == 2
    assert "does not name 'nowhere'" in capsys.readouterr().err
