from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from imprint.checkpoints import open_checkpoint
from imprint.errors import CheckpointError, ConfigError, DependencyError
from imprint.models import load
from models_support import CONTEXT, same, state, tiny, torch, transformers


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


def lora(base: Path, folder: Path) -> Path:
    """An adapter with weights that matter."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    model = load(base, dtype="fp32", device="cpu").model
    settings = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        made = peft.get_peft_model(model, settings)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "lora_B" in name:
                weight.copy_(0.1 * torch.randn_like(weight))
    made.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_is_merged_in_float32_and_rounded_once(tmp_path: Path, dtype: str) -> None:
    base = tiny(tmp_path / "base", dtype=dtype)
    adapter = lora(base, tmp_path / "adapter")
    loaded = load(f"{base}+{adapter}", device="cpu")
    assert loaded.model.dtype == getattr(torch, dtype)
    assert loaded.reference == f"{base}+{adapter}"
    merged, moved = open_checkpoint(f"{base}+{adapter}"), 0
    for name, weight in loaded.model.state_dict().items():
        expected = torch.from_numpy(merged.float32(name).copy()).to(weight.dtype)
        np.testing.assert_allclose(
            weight.float(), expected.float(), rtol=1e-5 if dtype == "float32" else 8e-3, atol=1e-6
        )
        moved += not torch.equal(weight, state(base)[name])
    assert moved == 4


def test_a_folder_of_an_adapter_alone_is_loaded_over_its_base(tmp_path: Path) -> None:
    base = tiny(tmp_path / "base")
    adapter = lora(base, tmp_path / "adapter")
    alone, named = load(adapter, device="cpu"), load(f"{base}+{adapter}", device="cpu")
    assert same(dict(alone.model.state_dict()), dict(named.model.state_dict()))
    assert alone.tokenizer("ab")["input_ids"] == [3, 4]
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(
        json.dumps({**config, "base_model_name_or_path": None})
    )
    with pytest.raises(CheckpointError, match="does not name its base"):
        load(adapter, device="cpu")


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    adapter = lora(tiny(tmp_path / "base"), tmp_path / "adapter")
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=24, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "other")
    with pytest.raises(CheckpointError, match="cannot be merged by peft"):
        load(f"{tmp_path / 'other'}+{adapter}", device="cpu")


def test_code_of_a_checkpoint_runs_only_when_asked_for(tmp_path: Path, monkeypatch) -> None:
    kept = str(tmp_path / "modules")
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", kept)
    folder = tiny(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Model"}
    (folder / "config.json").write_text(
        json.dumps({**config, "model_type": "own", "auto_map": own})
    )
    (folder / "own.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class Own(LlamaConfig):\n    model_type = 'own'\n"
        "class Model(LlamaForCausalLM):\n    config_class = Own\n"
    )
    with pytest.raises(CheckpointError, match="--trust-remote-code"):
        load(folder, device="cpu")
    loaded = load(folder, device="cpu", trust_remote_code=True)
    assert type(loaded.model).__name__ == "Model"


def test_a_model_may_be_spread_over_devices(tmp_path: Path) -> None:
    loaded = load(tiny(tmp_path / "m"), device="auto")
    assert not loaded.model.training
    assert loaded.model(torch.tensor([[0, 3]], device=loaded.device)).logits.shape == (1, 2, 32)
