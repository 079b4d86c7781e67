from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from imprint.errors import DataError
from imprint.formats.rollouts import Reading, read_pool


def run_folder(folder: Path, job: str, **tables: pl.DataFrame) -> Path:
    (folder / "tables").mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"job": job, "settings": {}}))
    for name, frame in tables.items():
        frame.write_parquet(folder / "tables" / f"{name}.parquet")
    return folder


def rates(units: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"unit": unit, "stage": "pretrained", "benchmark": "sums", "chat_template": "none",
             "item": f"i{i}", "domain": None if i else "easy", "prompt": f"p{i}",
             "answers": [str(i), "x"], "n": 4, "c": i}
            for unit in units for i in range(3)
        ],
        schema_overrides={"domain": pl.String},
    )  # fmt: skip


def rollouts(units: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"unit": unit, "stage": "pretrained", "item": f"i{i}", "tokens": 3 + s % 2,
             "verify": "exact", "temperature": 1.0, "max_new_tokens": 8}
            for unit in units for i in range(3) for s in range(4)
        ]
    )  # fmt: skip


def test_an_evaluation_gives_its_counts(tmp_path: Path) -> None:
    folder = run_folder(
        tmp_path / "e", "evaluate", pass_rates=rates(["m"]), rollouts=rollouts(["m"])
    )
    pool, _ = read_pool([folder])
    assert pool.select("id", "domain", "n", "c", "answer", "tokens").rows() == [
        ("i0", "easy", 4, 0, "0", 3.5),
        ("i1", "sums", 4, 1, "1", 3.5),
        ("i2", "sums", 4, 2, "2", 3.5),
    ]
    assert pool.select("model", "verifier", "max_tokens").row(0) == ("m", "exact", "8")


def test_several_models_must_be_chosen(tmp_path: Path) -> None:
    both = ["m", "other"]
    folder = run_folder(tmp_path / "e", "evaluate", pass_rates=rates(both), rollouts=rollouts(both))
    with pytest.raises(DataError, match="rollouts of 2 models"):
        read_pool([folder])
    pool, _ = read_pool([folder], Reading(model="m"))
    assert pool["tokens"].to_list() == [3.5] * 3
    with pytest.raises(DataError, match="no unit 'mm'"):
        read_pool([folder], Reading(model="mm"))


def facts(**more: Any) -> pl.DataFrame:
    row = {"fact": "f", "relation": "r", "answers": ["Rome"], "question": "Where?", "split": None,
           "asking": "templates", "hits": 3, "samples": 21, "model": "m"}  # fmt: skip
    return pl.DataFrame(
        [row, {**row, "fact": "g", "question": None}, {**row, "fact": "h", **more}],
        schema_overrides={"split": pl.String},
    )


def test_a_mastery_run_gives_facts(tmp_path: Path) -> None:
    pool, findings = read_pool([run_folder(tmp_path / "m", "mastery", mastery=facts())])
    names = ("id", "domain", "prompt", "reference", "reference_verified", "n", "c")
    same = ("r", "Where?", "Rome", True, 21, 3)
    assert pool.select(names).rows() == [("f", *same), ("h", *same)]
    assert "1 facts have no question" in findings[0].detail


def test_facts_held_out_stay_out(tmp_path: Path) -> None:
    frame = facts(split="train")
    pool, findings = read_pool([run_folder(tmp_path / "m", "mastery", mastery=frame)])
    assert pool["id"].to_list() == ["h"]
    assert {f.check for f in findings} == {"no_question", "test_splits"}


def test_runs_without_rollouts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rollouts"):
        read_pool([run_folder(tmp_path / "e", "evaluate")])
    with pytest.raises(DataError, match="holds no rollouts"):
        read_pool([run_folder(tmp_path / "t", "transfer")])
    frame = facts().with_columns(samples=pl.lit(None, dtype=pl.Int64))
    likely = run_folder(tmp_path / "m", "mastery", mastery=frame)
    with pytest.raises(DataError, match="only likelihoods"):
        read_pool([likely])
