"""The grid: which units there are, and which change with a setting."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from imprint.lab.checkpoint import given_checkpoints
from imprint.lab.config import StudyConfig, load_config
from imprint.lab.grid import Grid, shared_out
from imprint.lab.ledger import Ledger
from imprint.lab.tokenizer import open_tokenizer, train_tokenizer
from lab.tiny_study import write_study


def grid(config: StudyConfig, folder: Path) -> Grid:
    return Grid(config, Ledger(folder), given_checkpoints(config))


def keys(found: Grid) -> dict[str, str]:
    return {work.name: work.key for work in found.works}


def test_the_default_grid(tmp_path: Path) -> None:
    found = grid(load_config(), tmp_path)
    rows = found.models
    assert rows.filter(pl.col("stage") == "pretrained").height == 18
    assert rows.filter(pl.col("stage") == "sft").height == 18
    assert rows["unit"].n_unique() == 9
    assert not (tmp_path / "units").exists()


def test_units_come_after_what_they_need(tmp_path: Path) -> None:
    found = grid(load_config(), tmp_path)
    seen: set[str] = set()
    for work in found.works:
        assert set(work.needs) <= seen
        seen.add(work.key)


def test_a_setting_changes_only_what_depends_on_it(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    before = keys(grid(load_config(write_study(folder)), tmp_path))
    steps = {"data": "sft.jsonl", "steps": 3, "batch": 4, "max_length": 32, "rows": 16}
    after = keys(grid(load_config(write_study(folder, sft=steps)), tmp_path))
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        name
        for name in before
        if name.startswith(("sft", "rl", "evaluate-xs-sft", "evaluate-xs-rl", "transfer"))
    }


def test_changed_data_changes_what_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    path = write_study(folder)
    before = keys(grid(load_config(path), tmp_path))
    with (folder / "rl.jsonl").open("a") as handle:
        handle.write('{"id": "x", "prompt": "p", "answer": "a"}\n')
    after = keys(grid(load_config(path), tmp_path))
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {n for n in before if n.startswith(("rl", "evaluate-xs-rl", "transfer"))}


def test_the_folder_changes_no_key(tmp_path: Path) -> None:
    config = load_config(write_study(tmp_path / "in"))
    assert keys(grid(config, tmp_path / "a")) == keys(grid(config, tmp_path / "b"))


def test_given_checkpoints_are_not_trained(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    path = write_study(folder, models="models.csv")
    (folder / "models.csv").write_text(
        "model,unit,stage,scale,replicate\nM,plain-80,pretrained,xs,0\nN,plain-80,sft,xs,0\n"
    )
    found = grid(load_config(path), tmp_path)
    names = set(keys(found))
    assert "pretrain-xs-plain-80-0" not in names
    assert "sft-xs-plain-80-0" not in names
    assert "pretrain-xs-plain-40-0" in names


def test_a_given_base_is_fine_tuned_and_told_by_its_content(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    path = write_study(folder, models="models.csv")
    (folder / "models.csv").write_text("model,unit,stage,scale\nbase,plain-80,pretrained,xs\n")
    found = []
    for content in ("{}", "{ }"):
        (folder / "base").mkdir(exist_ok=True)
        (folder / "base" / "config.json").write_text(content)
        found.append(keys(grid(load_config(path), tmp_path)))
    assert "pretrain-xs-plain-80-0" not in found[0]
    assert {"sft-xs-plain-80", "rl-xs-plain-80"} <= set(found[0])
    changed = {name for name in found[0] if found[0][name] != found[1][name]}
    assert {"sft-xs-plain-80", "rl-xs-plain-80"} <= changed
    assert "sft-xs-plain-40-0" not in changed


def test_a_given_tokenizer_makes_the_embedding_and_its_count(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    texts = (f"word{n}" for n in range(400))
    train_tokenizer(texts, 600, tmp_path / "tok")
    own, given = (
        grid(load_config(write_study(tmp_path / name, tokenizer=tokenizer)), tmp_path)
        for name, tokenizer in (("own", None), ("given", str(tmp_path / "tok")))
    )
    more = given.parameters["xs"] - own.parameters["xs"]
    assert more == (len(open_tokenizer(tmp_path / "tok")) - 320) * 16


def test_more_mixtures_at_the_smallest_scale(tmp_path: Path) -> None:
    found = grid(load_config(given={"steps_between": 3}), tmp_path).models
    counts = found.filter(stage="pretrained")["scale"].value_counts(sort=True)
    assert dict(counts.iter_rows()) == {"small": 27, "large": 9}


def test_a_pair_needs_nothing_trained(tmp_path: Path) -> None:
    config = load_config(given={"base": "B", "tuned": "T"})
    found = grid(config, tmp_path)
    assert found.works == []
    assert found.models["stage"].to_list() == ["pretrained", "sft"]


def test_names_of_any_letters_give_folders(tmp_path: Path) -> None:
    names = ["../../é", "<b>ü</b>", "x" * 300]
    listed = [{"name": name, "shares": {"plain": 1}} for name in names]
    config = load_config(write_study(tmp_path / "in", mixtures={"listed": listed}))
    found = grid(config, tmp_path)
    assert found.models["unit"].unique(maintain_order=True).to_list() == names
    assert {work.path.parent for work in found.works} == {tmp_path / "units"}
    assert max(len(work.path.name) for work in found.works) < 200


def test_sharing_out() -> None:
    assert shared_out(list(range(5)), 2) == [[0, 1, 2], [3, 4]]
    assert shared_out([1], 2) == [[1]]
    assert shared_out([], 2) == []
