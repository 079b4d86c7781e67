from __future__ import annotations

import json
from pathlib import Path

import pytest

from imprint.errors import CheckpointError, ConfigError, DependencyError
from imprint.models import load
from models_support import CONTEXT, same, state, tiny, torch


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_comes_in_the_type_of_its_weights(tmp_path: Path, dtype: str) -> None:
    folder = tiny(tmp_path / "m", dtype=dtype)
    loaded = load(folder, device="cpu")
    assert loaded.model.dtype == getattr(torch, dtype)
    assert not loaded.model.training
    assert same(dict(loaded.model.state_dict()), state(folder))
    assert loaded.context == CONTEXT
    assert loaded.tokenizer("ab")["input_ids"] == [3, 4]


def test_the_type_can_be_chosen(tmp_path: Path) -> None:
    loaded = load(tiny(tmp_path / "m"), dtype="bf16", device="cpu")
    assert loaded.model.dtype == torch.bfloat16


def test_a_folder_without_tokenizer_gives_none(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "m")
    for file in folder.glob("token*"):
        file.unlink()
    assert load(folder, device="cpu").tokenizer is None


def test_missing_weights_are_refused_not_drawn_at_random(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(CheckpointError, match=r"weights of the model are not in.*layers\.2"):
        load(folder, device="cpu")


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "nonsense"},
        {"model_type": "nonsense", "auto_map": {"AutoModelForCausalLM": "code.Model"}},
    ],
)
def test_what_transformers_does_not_know_is_refused(tmp_path: Path, change: dict) -> None:
    folder = tiny(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    (folder / "code.py").write_text("raise SystemExit('code of the folder was run')")
    with pytest.raises(CheckpointError, match="cannot be loaded by transformers"):
        load(folder, device="cpu")


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--device 'cuda:99'"):
        load(tmp_path, device="cuda:99")
    with pytest.raises(ConfigError, match="--device 'nonsense'"):
        load(tmp_path, device="nonsense")


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(DependencyError, match="models"):
        load(tmp_path)
