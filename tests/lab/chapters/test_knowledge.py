"""Chapter 2: tables with known answers, and a whole chapter on a tiny model."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from imprint.lab.chapters import knowledge, knowledge_levels, knowledge_sft
from imprint.lab.chapters.chapter import Material
from imprint.lab.ledger import Ledger


def mastery() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "scale": ["s"] * 10,
            "fact": [f"f{n}" for n in range(10)],
            "level": [0] * 5 + [1, 2, 3, 4, 4],
            "score": [0.0] * 5 + [0.1, 0.4, 0.6, 0.9, 1.0],
            "frequency": [float(n) for n in range(10)],
        }
    )


def test_levels_are_counted() -> None:
    shares = knowledge_levels.level_shares(mastery())
    assert shares["share"].to_list() == [0.5, 0.1, 0.1, 0.1, 0.2]
    assert (shares["low"] < shares["share"]).all()
    assert (shares["high"] > shares["share"]).all()


def test_scores_by_frequency() -> None:
    fifths = knowledge_levels.by_frequency(mastery())
    assert fifths["facts"].to_list() == [2] * 5
    assert fifths["score"].to_list() == pytest.approx([0, 0, 0.05, 0.5, 0.95])
    assert fifths["frequency"].to_list() == pytest.approx([0.5, 2.5, 4.5, 6.5, 8.5])


def answers() -> pl.DataFrame:
    rows = [
        (level, fact, split, at, right)
        for level, good in (("0", 1), ("2", 3))
        for fact, split, at, right in (
            ("a", "test", 0, good > 0),
            ("b", "test", 0, good > 1),
            ("c", "test", 4, good > 2),
            ("d", "ood", 4, good > 2),
        )
    ]
    names = ["level_trained", "fact", "split", "level", "substring"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    return frame.with_columns(asked=60, trained=60)


def test_frequencies_are_read_where_there_are_any(tmp_path: Path) -> None:
    rows, relation = tmp_path / "facts.jsonl", tmp_path / "relation.json"
    rows.write_text('{"fact": "a-1", "frequency": 3}\n')
    relation.write_text('{"name": "antonym", "samples": []}')
    found = knowledge_levels._frequencies(rows)
    assert found is not None
    assert found.rows() == [("a-1", 3.0)]
    assert knowledge_levels._frequencies(relation) is None


def test_macro_accuracy_is_the_mean_over_levels() -> None:
    found = knowledge_sft.accuracies(answers()).filter(pl.col("split") == "test")
    assert found["accuracy"].to_list() == pytest.approx([1 / 3, 1.0])
    assert found["macro"].to_list() == pytest.approx([0.25, 1.0])


def test_sets_are_compared_by_fact() -> None:
    gap = knowledge_sft.compared(
        answers(), pl.col("level_trained") == "2", pl.col("level_trained") == "0"
    )
    assert gap.n == 4
    assert gap.mean == pytest.approx(0.75)
    assert gap.low < 0.75 < gap.high


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    chapter = knowledge.run(Material(Ledger(tmp_path)))
    assert chapter.missing == ["Facts are missing (--facts).", "A base checkpoint is missing."]
