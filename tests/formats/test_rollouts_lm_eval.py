from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imprint.errors import DataError
from imprint.formats.rollouts import Reading, read_pool

Row = dict[str, Any]


def sample(doc: int, drawn: list[str], kept: Any, **more: Any) -> Row:
    """Make a row as lm-eval 0.4.13 writes it for generated answers."""
    return {
        "doc_id": doc,
        "doc": {"question": f"q{doc}"},
        "target": "18",
        "arguments": {"gen_args_0": {"arg_0": f"Q: q{doc}\nA:", "arg_1": {"until": ["\n"]}}},
        "resps": [drawn],
        "filtered_resps": [kept],
        "filter": "none",
        "metrics": ["exact_match"],
        "doc_hash": f"hash{doc}",
        "prompt_hash": "p",
        "target_hash": "t",
        "exact_match": 0.0,
        **more,
    }


def write(folder: Path, rows: list[Row], task: str = "gsm8k") -> Path:
    path = folder / f"samples_{task}_2026-01-01T00-00-00.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_kept_samples_are_compared_with_the_target(tmp_path: Path) -> None:
    rows = [sample(0, ["18", " 5", "18 "], ["18", " 5", "18 "]), sample(1, ["1"] * 3, ["1"] * 3)]
    pool, findings = read_pool([write(tmp_path, rows)])
    assert pool.select("id", "domain", "n", "c", "answer").rows() == [
        ("hash0", "gsm8k", 3, 2, "18"),
        ("hash1", "gsm8k", 3, 0, "18"),
    ]
    assert pool["prompt"][0] == "Q: q0\nA:"
    assert pool["verifier"][0] == "equal to lm-eval's target"
    assert [f.check for f in findings] == ["compared_here"]


def test_one_kept_sample_is_the_documents_accuracy(tmp_path: Path) -> None:
    rows = [sample(0, ["so 18", "x"], "18", exact_match=1.0)]
    pool, findings = read_pool([write(tmp_path, rows)])
    assert pool.select("n", "c").rows() == [(1, 1)]
    assert "dropped 1 samples" in findings[0].detail


def test_metrics_per_sample_are_taken(tmp_path: Path) -> None:
    row = sample(0, ["a", "b"], ["a", "b"], acc=[1, 0], metrics=["acc"])
    del row["exact_match"]
    pool, _ = read_pool([write(tmp_path, [row])])
    assert pool.select("n", "c", "verifier").rows() == [(2, 1, "lm-eval acc")]


def test_several_filters_must_be_chosen(tmp_path: Path) -> None:
    rows = [sample(0, ["18"], "18", exact_match=1.0), sample(0, ["18"], "", filter="strict")]
    path = write(tmp_path, rows)
    with pytest.raises(DataError, match="several filters: none, strict"):
        read_pool([path])
    pool, _ = read_pool([path], Reading(filter="strict"))
    assert pool["c"].to_list() == [0]
    with pytest.raises(DataError, match="did you mean 'strict'"):
        read_pool([path], Reading(filter="strickt"))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (sample(0, ["a"], "a", exact_match=0.4), "neither 0 nor 1"),
        ({**sample(0, ["a"], "a"), "resps": [["a"], ["b"]]}, "a multiple choice"),
        ({k: v for k, v in sample(0, ["a"], "a").items() if k != "exact_match"}, "no accuracy"),
        ({k: v for k, v in sample(0, ["a"], "a").items() if k != "arguments"}, "'arguments'"),
    ],
)
def test_rows_that_say_no_accuracy_are_refused(tmp_path: Path, row: Row, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as refused:
        read_pool([write(tmp_path, [row])])
    assert "line 1" in (refused.value.where or "")


def test_shares_become_passes_where_said(tmp_path: Path) -> None:
    path = write(tmp_path, [sample(0, ["a"], "a", exact_match=0.4)])
    pool, _ = read_pool([path], Reading(pass_at=0.4))
    assert pool["c"].to_list() == [1]
