"""Chapter 5: planned sets are tried against controls, or what is missing is named."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

import trials_support as toy
from imprint.lab.chapters import data
from imprint.lab.chapters.chapter import Material


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return toy.material(tmp_path_factory.mktemp("toy"))


def test_both_stages_are_tried_and_judged(material: Material) -> None:
    chapter = data.run(material)
    assert chapter.number == 5
    assert chapter.missing == []
    assert chapter.state == "undetermined", "one training of each decides nothing"
    assert chapter.undecided == 2
    assert "points" in chapter.verdict
    assert any("preset standard" in one for one in chapter.details)
    arms = {"first", "sft hard", "sft random", "before RL", "rl band", "rl random"}
    assert set(chapter.tables["data_trials"]["arm"]) == arms
    found = chapter.tables["data_contrasts"]
    assert set(found["stage"]) == {"sft", "rl"}
    assert found["items"].min() > 0
    assert {a.stance for a in chapter.agreement} == {"cannot tell"}


def test_a_second_run_finds_everything_done(material: Material) -> None:
    first = data.run(material)
    units = {
        p.name: p.stat().st_mtime_ns for p in material.ledger.folder.joinpath("units").iterdir()
    }
    second = data.run(material)
    assert units == {
        p.name: p.stat().st_mtime_ns for p in material.ledger.folder.joinpath("units").iterdir()
    }
    for name, table in first.tables.items():
        assert table.equals(second.tables[name], null_equal=True)


def test_what_is_missing_is_named(material: Material) -> None:
    nothing = data.run(replace(material, checkpoints=None, sft=None, rl=None))
    assert "Not written" in nothing.verdict
    assert any("SFT rows" in one for one in nothing.missing)


def test_given_checkpoints_are_planned_for_and_not_trained(material: Material) -> None:
    chapter = data.run(replace(material, pretraining={}))
    assert "planned and not tried" in chapter.verdict
    assert any(one.startswith("SFT, planned and not tried") for one in chapter.details)
    assert any("leave to train" in one for one in chapter.missing)
    assert "data_trials" not in chapter.tables
    assert chapter.tables["data_rates_sft"]["n"].min() == 16
    assert isinstance(chapter.tables["data_rates_rl"], pl.DataFrame)
