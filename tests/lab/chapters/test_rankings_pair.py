"""Too few models to rank: what changed is told with its interval, and the ranking is not."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from imprint.lab.chapters import rankings
from imprint.lab.chapters.chapter import Material
from imprint.lab.chapters.rankings_pair import changes
from imprint.lab.ledger import Ledger

GAINED = {"up": (40, 0), "down": (5, 30), "even": (20, 20), "still": (0, 0)}


def items(prompts: int = 1) -> pl.DataFrame:
    """A base that is right on the first half of 200 items, and what it gains and loses."""
    rows = []
    for name, (gained, lost) in GAINED.items():
        for n in range(200):
            before = n < 100
            after = n < 100 + gained and not n < lost
            for stage, right in (("pretrained", before), ("sft", after)):
                for prompt in range(prompts):
                    rows.append(
                        {
                            "unit": "m",
                            "scale": None,
                            "stage": stage,
                            "benchmark": name,
                            "item": str(n),
                            "prompt": str(prompt),
                            "correct": float(right),
                            "confidence": 0.5 + 0.2 * (stage == "sft"),
                        }
                    )
    return pl.DataFrame(rows, schema_overrides={"scale": pl.String})


def test_changes_are_counted_by_item() -> None:
    found = changes(items(), {"up": "kind"})
    by = {row["benchmark"]: row for row in found.iter_rows(named=True)}
    assert {name: (row["gained"], row["lost"]) for name, row in by.items()} == GAINED
    told = {name: row["change"] for name, row in by.items()}
    assert told == {"up": "rises", "down": "falls", "even": "cannot tell", "still": "cannot tell"}
    assert by["up"]["difference"] == pytest.approx(0.2)
    assert by["up"]["low"] < 0.2 < by["up"]["high"]
    assert by["up"]["confidence_difference"] == pytest.approx(0.2)
    assert by["still"]["p"] == 1
    assert [row["category"] for row in by.values()].count("kind") == 1


def test_prompts_of_an_item_count_once() -> None:
    assert_frame_equal(changes(items(), {}), changes(items(3), {}))


def test_a_pair_gets_a_chapter_that_ranks_nothing(tmp_path: Path) -> None:
    models = pl.DataFrame({"unit": ["m", "m"], "stage": ["pretrained", "sft"], "model": ["b", "t"]})
    material = Material(
        Ledger(tmp_path), checkpoints=models, items=items(), benchmarks=(Path("up.jsonl"),)
    )
    chapter = rankings.run(material)
    assert chapter.state == "undetermined"
    assert "there is 1" in chapter.verdict
    assert "rises on 1, falls on 1, and of 2" in chapter.verdict
    assert (chapter.decided, chapter.undecided) == (2, 2)
    assert chapter.missing
    assert chapter.sections


def test_items_without_a_base_leave_the_chapter_unwritten(tmp_path: Path) -> None:
    models = pl.DataFrame({"unit": ["m"], "stage": ["sft"], "model": ["t"]})
    tuned = items().filter(stage="sft")
    material = Material(
        Ledger(tmp_path), checkpoints=models, items=tuned, benchmarks=(Path("up.jsonl"),)
    )
    assert not rankings.run(material).sections
