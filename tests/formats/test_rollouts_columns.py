"""Columns of rollouts: types are made, and what does not fit is refused with its row."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from imprint.errors import DataError
from imprint.formats.rollouts import Reading, read_pool
from imprint.formats.rollouts_references import with_references


def written(folder: Path, **columns: Any) -> Path:
    """Write two prompts with further columns: one value for both, or a list of two."""
    path = folder / "rollouts.jsonl"
    rows = []
    for at, name in enumerate(("a", "b")):
        row = {"id": name, "prompt": f"question {name}", "correct": [True, False]}
        rows.append(row | {key: values[at] for key, values in columns.items()})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize("values", [("true", "False"), ("1", " 0 "), (1, 0), (True, False)])
def test_truth_is_read_however_it_is_written(tmp_path: Path, values: tuple[Any, Any]) -> None:
    pool, _ = read_pool([written(tmp_path, reference_verified=values)])
    assert pool["reference_verified"].to_list() == [True, False]


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("reference_verified", ("true", "yes"), "line 2: reference_verified 'yes'"),
        ("reference_verified", (1, 2), "line 2: reference_verified 2"),
        ("reference_verified", ([True], [True]), "reference_verified holds List"),
        ("ref_tokens", ("3", "abc"), "line 2: ref_tokens 'abc'"),
        ("ref_tokens", (3, -5), "line 2: ref_tokens -5"),
        ("ref_tokens", (3.0, 3.5), "line 2: ref_tokens 3.5"),
        ("tokens", (1.0, float("nan")), "line 2: tokens nan"),
        ("domain", (["a"], ["b"]), "domain holds List"),
        ("id", ([1], [2]), "id holds List"),
        ("model", ({"name": "a"}, {"name": "b"}), "model holds Struct"),
        ("prompt", ([{"role": "user", "content": None}],) * 2, "role and content"),
        ("prompt", ([{"role": "user", "content": [{"text": "a"}]}],) * 2, "role and content"),
        (
            "prompt",
            ([{"role": "user", "content": "a"}], [{"role": "user", "content": None}]),
            "line 2: a message has no content",
        ),
        ("model", ("m", "n"), "rollouts of several models: m, n"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, column: str, values: tuple[Any, Any], told: str
) -> None:
    with pytest.raises(DataError, match=re.escape(told)):
        read_pool([written(tmp_path, **{column: values})])


def test_one_model_of_a_table_is_chosen(tmp_path: Path) -> None:
    path = written(tmp_path, model=("m", "n"))
    pool, _ = read_pool([path], Reading(model="n"))
    assert pool["id"].to_list() == ["b"]
    with pytest.raises(DataError, match="no model 'o'"):
        read_pool([path], Reading(model="o"))


def test_files_of_different_models_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one = written(tmp_path, model=("m", "m"))
    other = written(tmp_path / "other", model=("n", "n"), id=("c", "d"))
    _, findings = read_pool([one, other])
    assert "several_models" in [finding.check for finding in findings]


def test_more_rollouts_than_any_log_holds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "counts.jsonl"
    path.write_text('{"id": "a", "prompt": "q", "c": 1, "n": 1000000000000000000}\n')
    with pytest.raises(DataError, match="more than 1,000,000 rollouts"):
        read_pool([path])


def test_references_that_are_neither_right_nor_wrong_are_refused(tmp_path: Path) -> None:
    pool, _ = read_pool([written(tmp_path)])
    table = tmp_path / "references.csv"
    table.write_text("id,reference,reference_verified\na,x,true\nb,y,maybe\n")
    with pytest.raises(DataError, match="line 3: reference_verified 'maybe'"):
        with_references(pool, table)
    table.write_text("id,reference,reference_verified\na,x,1\nb,y,0\n")
    joined, _ = with_references(pool, table)
    assert joined["reference_verified"].to_list() == [True, False]
    assert joined.schema["reference_verified"] == pl.Boolean
