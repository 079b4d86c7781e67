from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from imprint.errors import DataError
from imprint.formats.rollouts import ABOUT, POOL, Reading, read_pool
from tests_support import HOSTILE

Row = dict[str, Any]


def write(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def counts(path: Path, **reading: Any) -> list[tuple[str, int, int]]:
    pool, _ = read_pool([path], Reading(**reading))
    return pool.select("id", "n", "c").rows()


def test_our_lines_are_counted(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "prompt": "1+1", "correct": [True, False, True], "domain": "add"},
        {"id": "b", "prompt": "2+2", "correct": [False], "domain": "add"},
    ]
    pool, findings = read_pool([write(tmp_path / "own.jsonl", rows)])
    assert pool.columns[: len(POOL)] == list(POOL)
    assert pool.select("id", "n", "c").rows() == [("a", 3, 2), ("b", 1, 0)]
    assert pool["domain"].to_list() == ["add", "add"]
    assert findings == []


def test_hostile_texts_pass_through(tmp_path: Path) -> None:
    rows = [{"id": t, "prompt": t, "domain": t, "correct": [1, 0]} for t in HOSTILE]
    pool, _ = read_pool([write(tmp_path / "own.jsonl", rows)])
    assert pool["id"].to_list() == list(HOSTILE)
    assert pool["prompt"].to_list() == list(HOSTILE)


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl.gz"])
def test_other_files_say_the_same(tmp_path: Path, kind: str) -> None:
    rows = [{"id": "a", "prompt": "p", "c": 3, "n": 8}, {"id": "b", "prompt": "q", "c": 0, "n": 8}]
    path = tmp_path / f"pool.{kind}"
    if kind == "parquet":
        pl.DataFrame(rows).write_parquet(path)
    elif kind == "csv":
        pl.DataFrame(rows).write_csv(path)
    else:
        path.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode()))
    assert counts(path) == [("a", 8, 3), ("b", 8, 0)]


def test_a_csv_may_hold_lists_as_text(tmp_path: Path) -> None:
    path = tmp_path / "pool.csv"
    path.write_text('id,prompt,correct\na,p,"[true, False, 1]"\nb,q,"[0, 0]"\n')
    assert counts(path) == [("a", 3, 2), ("b", 2, 0)]


def test_one_row_per_rollout_is_counted_together(tmp_path: Path) -> None:
    rows = [
        {"id": i, "prompt": f"p{i}", "reward": r, "tokens": t}
        for i, r, t in [(1, 1.0, 4), (2, 0.0, 6), (1, 0.0, 8), (2, 0.0, 6)]
    ]
    path = write(tmp_path / "log.jsonl", rows)
    assert counts(path) == [("1", 2, 1), ("2", 2, 0)]
    pool, findings = read_pool([path])
    assert pool["tokens"].to_list() == [6.0, 6.0]
    assert "'reward' of" in findings[0].detail


def test_conversations_are_counted_together_too(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q"}]
    rows = [{"id": "a", "prompt": turns, "correct": value} for value in (1, 0, 1)]
    assert counts(write(tmp_path / "log.jsonl", rows)) == [("a", 3, 2)]


def test_open_r1_columns(tmp_path: Path) -> None:
    path = tmp_path / "scored.parquet"
    pl.DataFrame(
        {
            "problem": ["p", "q"],
            "solution": ["because", "so"],
            "answer": ["1", "2"],
            "pass_rate_generations": [["a", "b"], ["c", "d"]],
            "pass_rate_rewards": [[1.0, 0.0], [0.0, 0.0]],
        }
    ).write_parquet(path)
    pool, findings = read_pool([path])
    assert pool.select("id", "n", "c", "answer", "reference").rows() == [
        ("row-1", 2, 1, "1", "because"),
        ("row-2", 2, 0, "2", "so"),
    ]
    assert {f.check for f in findings} == {"alias", "no_id"}


def test_pass_rates_need_their_number(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "p", "pass_rate": 0.375}]
    path = write(tmp_path / "r.jsonl", rows)
    with pytest.raises(DataError, match="without the number of rollouts"):
        read_pool([path])
    assert counts(path, samples=8) == [("a", 8, 3)]
    rounded = write(tmp_path / "s.jsonl", [{"id": "a", "prompt": "p", "pass_rate": 0.33, "n": 3}])
    assert counts(rounded) == [("a", 3, 1)]


def test_messages_split_into_prompt_and_reference(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    pool, _ = read_pool(
        [write(tmp_path / "m.jsonl", [{"id": "x", "messages": turns, "correct": [1]}])]
    )
    assert pool["prompt"].to_list() == [[turns[0]]]
    assert pool["reference"].to_list() == ["a"]


def test_columns_are_mapped(tmp_path: Path) -> None:
    rows = [{"key": "a", "text": "p", "ok": [0, 1], "skill": "s"}]
    path = write(tmp_path / "o.jsonl", rows)
    rename = {"id": "key", "prompt": "text", "correct": "ok", "domain": "skill"}
    pool, _ = read_pool([path], Reading(rename))
    assert pool.select("id", "prompt", "n", "c", "domain").rows() == [("a", "p", 2, 1, "s")]
    with pytest.raises(DataError, match=r"no column 'okk'.*did you mean 'ok'"):
        read_pool([path], Reading({**rename, "correct": "okk"}))
    with pytest.raises(DataError, match="did you mean 'correct'"):
        read_pool([path], Reading({"corect": "ok"}))


def test_missing_verdicts_are_not_counted(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "p", "correct": [True, None, False]},
            {"id": "b", "prompt": "q", "correct": None}]  # fmt: skip
    path = write(tmp_path / "o.jsonl", rows)
    assert counts(path) == [("a", 2, 1), ("b", 0, 0)]
    _, findings = read_pool([path])
    assert "1 rollouts have no verdict" in findings[0].detail


def test_how_rollouts_were_drawn_rides_along(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "p", "correct": [1], "model": "m", "temperature": 0.7}]
    pool, _ = read_pool([write(tmp_path / "o.jsonl", rows)])
    assert [c for c in pool.columns if c in ABOUT] == ["model", "temperature"]
    assert pool["temperature"].to_list() == ["0.7"]


@pytest.mark.parametrize(
    ("rows", "problem", "place"),
    [
        ([{"id": "a", "prompt": "p", "correct": [1, 0.5]}], "neither 0 nor 1", "line 1"),
        ([{"id": "a", "prompt": "p", "correct": [1.0]}, {"id": "b", "prompt": "q",
          "correct": [-1.0]}], "neither 0 nor 1", "line 2"),
        ([{"id": "a", "prompt": "p", "correct": ["yes"]}], "no rewards", ""),
        ([{"id": "a", "prompt": "p", "pass_rate": 1.2, "n": 8}], "not a share", "line 1"),
        ([{"id": "a", "prompt": "p", "pass_rate": 37.5, "n": 8}], "in percent", "line 1"),
        ([{"id": "a", "prompt": "p", "pass_rate": 0.4, "n": 8}], "no count of n", "line 1"),
        ([{"id": "a", "prompt": "p", "c": 9, "n": 8}], "more passes than", "line 1"),
        ([{"id": "a", "prompt": "p", "c": -1, "n": 8}], "negative", "line 1"),
        ([{"id": "a", "prompt": "p", "c": 1.5, "n": 8}], "not a whole number", "line 1"),
        ([{"id": "a", "prompt": "p", "ref_nll": -3.0}], "no negative log-l", "line 1"),
        ([{"id": "a", "prompt": "p"}], "nothing tells how hard", ""),
        ([{"id": "a", "correct": [1]}], "no column of prompts", ""),
        ([{"id": "a", "prompt": " ", "correct": [1]}], "has no prompt", "line 1"),
        ([{"id": "a", "prompt": 5, "correct": [1]}], "neither texts nor", ""),
        ([{"id": "a", "prompt": "p", "correct": [1]}, {"id": "a", "prompt": "q",
          "correct": [1]}], "'a' stands 2 times", ""),
        ([{"id": "a", "prompt": "p", "correct": 1}, {"id": "a", "prompt": "q", "correct": 0}],
         "differ in their prompt", ""),
        ([{"id": "a", "prompt": "p", "correct": [1]}, {"id": "b", "correct": [1],
          "prompt": [{"role": "user", "content": "q"}]}], "of other rows are texts", "line 2"),
    ],
)  # fmt: skip
def test_bad_rows_are_refused_with_their_place(
    tmp_path: Path, rows: list[Row], problem: str, place: str
) -> None:
    with pytest.raises(DataError) as refused:
        read_pool([write(tmp_path / "bad.jsonl", rows)])
    assert problem in str(refused.value)
    assert place in (refused.value.where or "")


def test_shaped_rewards_have_a_way_out(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", [{"id": "a", "prompt": "p", "correct": [1.2, 0.2, 1.0]}])
    with pytest.raises(DataError) as refused:
        read_pool([path])
    assert "--pass-at" in (refused.value.remedy or "")
    assert counts(path, pass_at=1.0) == [("a", 3, 2)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"\n\n", "no rows"),
        (b'{"id": "a", "prompt": "\xff", "correct": [1]}\n', "utf-8"),
        (b'{"id": "a", "prompt": "p", "correct": [1]}\n{"id": "b", \n', "not JSON"),
        (b"[1, 2]\n", "expected an object"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=problem) as refused:
        read_pool([path])
    assert str(path) in str(refused.value)


def test_absent_and_foreign_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_pool([tmp_path / "absent.jsonl"])
    with pytest.raises(DataError, match="no run of imprint"):
        read_pool([tmp_path])
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="'txt' is not read"):
        read_pool([tmp_path / "notes.txt"])
    with pytest.raises(DataError, match="no rollouts given"):
        read_pool([])
