"""Chapter 1 on tables with known answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from imprint.lab.chapters import rankings
from imprint.lab.chapters.chapter import Material
from imprint.lab.ledger import Ledger
from imprint.lab.relating import relate


def items(keep_order: bool) -> pl.DataFrame:
    """Eight units whose scores rise in even steps before, and rise or fall after."""
    rows: list[dict[str, Any]] = []
    for unit in range(8):
        for stage in ("pretrained", "sft"):
            rank = unit if stage == "pretrained" or keep_order else 7 - unit
            for benchmark in ("one", "two", "three"):
                rows += [_item(unit, stage, benchmark, n, n < 20 + 9 * rank) for n in range(100)]
    return pl.DataFrame(rows)


def _item(unit: int, stage: str, benchmark: str, n: int, right: bool) -> dict[str, Any]:
    return {
        "unit": f"u{unit}",
        "scale": "small",
        "stage": stage,
        "benchmark": benchmark,
        "category": "all kinds",
        "item": str(n),
        "gold": 0,
        "selected": 0 if right else 1,
        "correct": right,
        "logprobs": [-0.2, -2.0] if right else [-2.0, -0.2],
        "web_source": ("a", "b")[unit % 2],
    }


def material(folder: Path, keep_order: bool) -> Material:
    frame = items(keep_order)
    frame.write_parquet(folder / "in.parquet")
    settings = {
        "stages": ["sft"],
        "factors": [],
        "share": None,
        "categories": {},
        "resamples": 200,
        "seed": 0,
    }
    relate(settings, [folder / "in.parquet"], folder)
    models = frame.select("unit", "scale", "stage").unique(maintain_order=True)
    return Material(
        Ledger(folder),
        checkpoints=models.with_columns(model=pl.lit("m"), parameters=1),
        benchmarks=(Path("one.jsonl"),),
        transfer=folder / "transfer",
    )


@pytest.mark.parametrize(("keep", "state"), [(True, "holds"), (False, "does_not_hold")])
def test_rankings_that_stay_and_that_turn(tmp_path: Path, keep: bool, state: str) -> None:
    chapter = rankings.run(material(tmp_path, keep))
    assert chapter.state == state
    stance = next(a.stance for a in chapter.agreement if "by accuracy" in a.claim)
    assert stance == ("agrees" if keep else "disagrees")
    regret = chapter.tables["rankings_regret"].filter(pl.col("metric") == "accuracy")
    assert regret["regret_pp"][0] == pytest.approx(0.0 if keep else 63.0)
    assert chapter.decided == 3
    assert chapter.sections[0].blocks


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    chapter = rankings.run(Material(Ledger(tmp_path)))
    assert chapter.missing == ["Benchmarks are missing (--benchmarks)."]
    assert chapter.state == "undetermined"
    few = material(tmp_path, keep_order=True)
    few.checkpoints = few.checkpoints.head(2) if few.checkpoints is not None else None
    assert "several units" in rankings.run(few).missing[0]


def test_regret_averages_over_benchmarks() -> None:
    frame = pl.DataFrame(
        {
            "comparison": ["a → b"] * 3,
            "scale": ["s"] * 3,
            "metric": ["accuracy"] * 3,
            "top1_regret_pp": [0.0, 3.0, None],
            "da": [0.5, 0.7, 0.6],
        }
    )
    row = rankings.regrets(frame).row(0, named=True)
    assert row["benchmarks"] == 2
    assert row["regret_pp"] == pytest.approx(1.5)
    assert row["low"] == pytest.approx(0.0)
    assert row["high"] == pytest.approx(1.5 + 1.96 * 1.5)


def test_few_benchmarks_decide_nothing(tmp_path: Path) -> None:
    given = material(tmp_path, keep_order=True)
    assert given.transfer is not None
    path = given.transfer / "tables" / "cross_stage_category.parquet"
    pl.read_parquet(path).with_columns(n_defined=pl.lit(1)).write_parquet(path)
    chapter = rankings.run(given)
    assert chapter.state == "undetermined"
    assert "over 1 benchmark." in chapter.verdict
    stances = {a.stance for a in chapter.agreement if "persist" in a.claim}
    assert stances == {"cannot tell"}
