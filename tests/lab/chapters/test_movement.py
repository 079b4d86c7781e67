"""Chapter 3 on tiny checkpoints: what it needs, what it says, and that nothing is done twice."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

pytest.importorskip("trl", reason="trl is not installed")

from imprint.lab.chapters.chapter import Budget, Material
from imprint.lab.chapters.movement import run, stages
from imprint.lab.chapters.movement_sets import train_sets
from imprint.lab.chapters.part import Part
from imprint.lab.ledger import Ledger
from lab.chapters.small_lab import material


def test_without_checkpoints_it_says_what_is_missing(tmp_path: Path) -> None:
    chapter = run(Material(Ledger(tmp_path)))
    assert "--base, --tuned" in chapter.missing[0]
    assert chapter.state == "undetermined"


def test_a_pair_is_measured_and_nothing_is_trained(tmp_path: Path) -> None:
    found = run(material(tmp_path))
    assert not list((tmp_path / "study" / "units").glob("movement-*facts*"))
    row = found.tables["movement_stages"].row(0, named=True)
    assert row["low"] <= row["kl"] <= row["high"]
    assert row["null"] > 0
    assert set(found.tables["movement_restoration_comparisons"]["split"]) <= {"test", "retain"}
    assert "none are made" in " ".join(found.missing)
    assert found.verdict.startswith("From u s to sft")
    assert found.verdict.count(". ") == 0, "one sentence"
    assert "putting back a share" in found.judged
    assert found.sections[0].title == "3. Where did it move?"
    assert any("Restoration" in one for one in found.details)
    assert found.decided + found.undecided == len(found.agreement) + 2
    assert {a.stance for a in found.agreement} <= {"agrees", "disagrees", "cannot tell"}


def test_each_part_that_lacks_something_says_so(tmp_path: Path) -> None:
    bare = material(tmp_path, texts=None, facts=None, sft=None)
    found = run(bare)
    told = " ".join(found.missing)
    assert "--texts" in told
    assert "--sft" in told
    assert "movement_concentration" in found.tables


def test_a_model_that_did_not_move_has_not_moved(tmp_path: Path) -> None:
    same = material(tmp_path)
    base = str(tmp_path / "base")
    assert same.checkpoints is not None
    same.checkpoints = same.checkpoints.with_columns(model=pl.lit(base))
    row = run(same).tables["movement_stages"].row(0, named=True)
    assert row["kl"] == pytest.approx(0, abs=1e-9)


def test_trained_sets_are_found_again_and_give_the_same(tmp_path: Path) -> None:
    own = material(tmp_path, trains=True)
    first, again = run(own), run(own)
    sets = first.tables["movement_sets"]
    assert sets["size"].to_list() == [8, 8, 16, 16]
    assert set(sets["arm"]) == {"one epoch", "equal steps"}
    for name, frame in first.tables.items():
        assert frame.equals(again.tables[name]), name
    assert first.verdict == again.verdict
    assert {a.claim: a.stance for a in first.agreement}[
        "Drift grows with the number of SFT samples."
    ] == "cannot tell", "one training of each decides nothing"
    assert again.seconds < first.seconds


def test_facts_without_questions_train_nothing(tmp_path: Path) -> None:
    rows = tmp_path / "facts.jsonl"
    rows.write_text('{"prompts": ["the opposite of hot is"], "answer": "cold"}\n')
    found = train_sets(Material(Ledger(tmp_path), facts=rows), "base")
    assert isinstance(found, Part)
    assert "facts with a question; there are 0" in found.missing[0]


def test_pairs_are_of_the_largest_scale_first(tmp_path: Path) -> None:
    rows = [
        {"model": f"{scale}{stage}", "unit": "u", "scale": scale, "stage": stage,
         "replicate": "0", "parameters": size}
        for scale, size in (("small", 1), ("large", 2))
        for stage in ("pretrained", "rl", "sft")
    ]  # fmt: skip
    told = Material(Ledger(tmp_path), pl.DataFrame(rows), budget=Budget(models=3))
    assert [after["model"] for _, after in stages(told)] == ["largesft", "largerl", "smallsft"]
