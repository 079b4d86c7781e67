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
from imprint.report import Page

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


def test_many_small_losses_and_few_large_gains_tell_nothing() -> None:
    rows = []
    for n in range(100):
        after = [0, 1, 1, 1] if n < 20 else [1] * 4 if n < 26 or n >= 60 else [0] * 4
        before = [1] * 4 if n < 20 or n >= 60 else [0] * 4
        for prompt in range(4):
            for stage, right in (("pretrained", before), ("sft", after)):
                rows.append((stage, str(n), str(prompt), float(right[prompt])))
    frame = pl.DataFrame(rows, schema=["stage", "item", "prompt", "correct"], orient="row")
    row = changes(
        frame.with_columns(unit=pl.lit("m"), benchmark=pl.lit("b"), confidence=0.5), {}
    ).row(0, named=True)
    assert (row["lost"], row["gained"]) == (20, 6)
    assert row["p"] < 0.05
    assert row["difference"] > 0
    assert row["change"] == "cannot tell"


@pytest.mark.parametrize("kept", [1, 0])
def test_one_item_or_unknown_answers(kept: int, tmp_path: Path) -> None:
    own = items().filter(pl.col("benchmark").is_in(["up"]), pl.col("item") == "0")
    rows = own if kept else own.with_columns(correct=pl.lit(None, pl.Float64))
    models = pl.DataFrame({"unit": ["m", "m"], "stage": ["pretrained", "sft"], "model": ["b", "t"]})
    chapter = rankings.run(
        Material(Ledger(tmp_path), checkpoints=models, items=rows, benchmarks=(Path("up.jsonl"),))
    )
    assert bool(chapter.sections) == bool(kept)
    assert "there is 1" in chapter.verdict
    page = Page("pair", "one item")
    page.sections += chapter.sections
    assert page.render()


def test_a_missing_replicate_is_the_first() -> None:
    frame = items().with_columns(
        replicate=pl.when(pl.col("stage") == "sft").then(pl.lit("0")).otherwise(None)
    )
    assert len(changes(frame, {})) == len(GAINED)


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
