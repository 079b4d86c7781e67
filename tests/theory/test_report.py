"""Report, summary, figure and JSON of an experiment."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema
import polars as pl
import pytest

import imprint
from imprint.theory.experiments.experiment import Plot
from imprint.theory.figure import panels
from imprint.theory.result import TheoryResult, records

SMALL: dict[str, dict[str, Any]] = {
    "double-descent": {"d": 10, "seeds": 2},
    "context-length": {"d": 10, "seeds": 2},
    "interference": {"d": 10, "seeds": 2},
    "asymptotics": {"d": 12, "seeds": 2},
    "curvature": {"d": 3, "seeds": 2, "cot": (1, 2)},
    "balance": {"d": 10, "seeds": 2, "cot": (1,)},
    "training": {"d": 5, "seeds": 1, "epochs": 1, "test_prompts": 4},
    "errata": {"d": 10, "seeds": 2},
}


@pytest.fixture(scope="module", params=SMALL)
def result(request: pytest.FixtureRequest) -> TheoryResult:
    return imprint.theory(request.param, quiet=True, **SMALL[request.param])


def test_json_follows_its_schema(result: TheoryResult) -> None:
    schema = json.loads(files("imprint.theory").joinpath("theory.schema.json").read_text())
    jsonschema.validate(json.loads(result.json()), schema)


def test_the_page_says_regime_protocol_and_source(result: TheoryResult) -> None:
    page = result.html()
    for part in ("Regime", "Protocol", "Numbers", "arXiv 2603.01293", "coverage"):
        assert part in page
    assert result.headline.split(".")[0].split("²")[0][:20] in page


def test_summary_and_notebook(result: TheoryResult) -> None:
    assert result.summary().startswith("# ")
    assert result.headline in result.summary()
    assert "<table>" in result._repr_html_()


def test_every_line_of_theory_stands_beside_its_curve(result: TheoryResult) -> None:
    curves, theory = result.tables["curves"], result.tables["theory"]
    for row in theory.iter_rows(named=True):
        here = (pl.col("panel") == row["panel"]) & (pl.col("curve") == row["curve"])
        there = curves.filter(here & (pl.col("x") == row["x"]))
        if len(there):
            assert there[row["line"]][0] == row["value"]


def test_medians_lie_in_their_intervals(result: TheoryResult) -> None:
    curves = result.tables["curves"].drop_nulls("median")
    assert (curves["low"] <= curves["median"]).all()
    assert (curves["median"] <= curves["high"]).all()


def test_numbers_without_an_end_are_null_in_json() -> None:
    assert records(pl.DataFrame({"a": [1.0, float("inf"), float("nan")]})) == [
        {"a": 1.0},
        {"a": None},
        {"a": None},
    ]


def test_a_figure_drops_what_a_logarithm_cannot_show() -> None:
    table = pl.DataFrame(
        {
            "panel": ["p", "p", "q"],
            "curve": ["c"] * 3,
            "x": [0.0, 1.0, 1.0],
            "median": [1.0, 2.0, 3.0],
            "low": [1.0, 2.0, 3.0],
            "high": [1.0, 2.0, 3.0],
        }
    )
    lines = pl.DataFrame(
        {"panel": ["p"], "curve": ["c"], "line": ["exact"], "x": [1.0], "value": [5.0]}
    )
    spec = panels(table, lines, Plot("c", "x", panels=("p",))).to_dict()
    rows = next(iter(spec["datasets"].values()))
    assert sorted((row["line"], row["x"]) for row in rows) == [("exact", 1.0), ("simulated", 1.0)]
