"""Texts on disk: what is read, and what is refused with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from imprint.drift.texts import Sample, drawn, read_samples
from imprint.errors import DataError

Write = Callable[..., Path]


def test_paragraphs_of_a_text_file(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("\n one\ntwo \n \n\nthree\n", encoding="utf-8")
    found = read_samples(path)
    assert [s.text for s in found] == ["one\ntwo", "three"]
    assert [s.name for s in found] == ["0", "1"]
    assert found[1].place.endswith("line 6")


def test_rows_with_domain_answer_and_spans(write: Write) -> None:
    rows = [
        {"text": "Paris is in France, Paris!", "answer": "Paris", "relation": "P17"},
        {"text": "abcdef", "spans": [[0, 2], [4, 6]], "domain": "d"},
        {"prompt": "Q: x? A:", "completion": " y", "id": 7},
    ]
    answer, spans, prompted = read_samples(write(rows))
    assert (answer.spans, answer.domain) == (((20, 25),), "P17")  # the last occurrence
    assert spans.spans == ((0, 2), (4, 6))
    assert (prompted.prompt, prompted.text, prompted.name) == ("Q: x? A:", " y", "7")


def test_parquet_and_renamed_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"body": ["one", "two"]}).write_parquet(path)
    assert [s.text for s in read_samples(path, rename={"text": "body"})] == ["one", "two"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"words": "x"}], "neither 'text' nor 'messages'"),
        ([{"text": "x"}, {"text": " "}], "line 2: has no text"),
        ([{"text": "x", "answer": "y"}], "line 1: the answer 'y' is not in the text"),
        ([{"text": "abc", "spans": [[1, 9]]}], r"the span \[1, 9\] lies outside"),
        ([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}], "line 2: the id 'a' stands in"),
        ([{"prompt": [{"role": "user"}], "completion": "x"}], "holds list where a text"),
        ([{"messages": "x"}], "line 1: holds str where messages"),
        ([{"messages": [{"role": "user"}]}], "has no role, or no text"),
        ([{"messages": [{"role": "user", "content": "x"}]}], "no turn of an assistant"),
        (
            [{"messages": [{"role": r, "content": "x"} for r in ("user", "user", "assistant")]}],
            "before the last answer are user, user",
        ),
    ],
)
def test_refused(write: Write, rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_samples(write(rows))


@pytest.mark.parametrize("name", ["t.txt", "t.jsonl"])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(DataError, match="no such file"):
        read_samples(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"empty|holds no text"):
        read_samples(path)
    path.write_bytes(b"\xff\xfe\xfa text")
    with pytest.raises(DataError, match=r"UTF-8|utf-8"):
        read_samples(path)


def test_the_limit_counts_within_domains_and_is_seeded() -> None:
    samples = [Sample(str(n), "x", domain="ab"[n % 2]) for n in range(20)]
    found = drawn(samples, 3, seed=1)
    assert [s.domain for s in found].count("a") == [s.domain for s in found].count("b") == 3
    assert found == drawn(samples, 3, seed=1) == sorted(found, key=lambda s: int(s.name))
    assert found != drawn(samples, 3, seed=2)
    assert drawn(samples, None, seed=1) == samples
