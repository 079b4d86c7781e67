"""Adapters that are damaged, hostile or odd; and odd but sound ones merged as peft merges them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imprint.checkpoints import open_checkpoint
from imprint.checkpoints.dtypes import STORAGE
from imprint.errors import CheckpointError
from weights_support import Make, file_bytes, llama

Q = "model.layers.0.self_attn.q_proj"
SETTINGS: dict[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "bias": "none"}
Values = dict[str, np.ndarray]


def factors(*, rank: int = 2) -> Values:
    rng = np.random.default_rng(3)
    return {
        f"{Q}.lora_A.weight": rng.normal(size=(rank, 8)).astype(np.float32),
        f"{Q}.lora_B.weight": rng.normal(size=(8, rank)).astype(np.float32),
    }


def write_adapter(folder: Path, tensors: Values, *, dtype: str = "F32", **settings: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**SETTINGS, **settings}))
    kind = STORAGE[dtype]
    named = {f"base_model.model.{n}": (dtype, v.astype(kind)) for n, v in tensors.items()}
    (folder / "adapter_model.safetensors").write_bytes(file_bytes(named))
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        *({"r": v} for v in ("2", 0, -2, 2.0, None, True)),
        *({"lora_alpha": v} for v in ("8", None, [8], 1e300, 10**400, float("nan"), True)),
        *({"rank_pattern": v} for v in (["a"], {"(": 2}, {"q": "2"}, {"q": 0}, "q")),
        *({"alpha_pattern": v} for v in (["a"], {"*q": 2}, {"q": "x"}, {"q": None}, "q")),
        *({"use_rslora": v} for v in ("false", 1)),
        {"fan_in_fan_out": "yes"},
    ],
)
def test_settings_of_odd_types_are_named(
    make: Make, tmp_path: Path, settings: dict[str, Any]
) -> None:
    adapter = write_adapter(tmp_path / "lora", factors(), **settings)
    name = next(iter(settings))
    with pytest.raises(CheckpointError, match=f"adapter_config.json: {name} is .*, not ") as caught:
        open_checkpoint(f"{make('m', llama())}+{adapter}")
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("dtype", ["I64", "F8_E4M3", "BOOL"])
def test_factors_are_floating_point_numbers(make: Make, tmp_path: Path, dtype: str) -> None:
    adapter = write_adapter(tmp_path / "lora", factors(), dtype=dtype)
    with pytest.raises(CheckpointError, match=rf"lora_A.weight': is stored as {dtype}"):
        open_checkpoint(f"{make('m', llama())}+{adapter}")


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("lora_B.weight", (8, 3), "has rank 3, but adapter_config.json says 2"),
        ("lora_B.weight", (8,), "has 1 dimensions, not two"),
        ("lora_B.weight", (), "has 0 dimensions, not two"),
        ("lora_A.weight", (2, 8, 1, 1), "has 4 dimensions, not two"),
    ],
)
def test_the_factor_that_does_not_fit_is_named(
    make: Make, tmp_path: Path, name: str, shape: tuple[int, ...], said: str
) -> None:
    adapter = write_adapter(tmp_path / "lora", {**factors(), f"{Q}.{name}": np.ones(shape)})
    with pytest.raises(CheckpointError, match=f"{name}': {said}"):
        open_checkpoint(f"{make('m', llama())}+{adapter}")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", [f"{Q}.lora_B.weight", "model.norm.weight"])
def test_values_that_are_not_finite_are_those_of_the_adapter(
    make: Make, tmp_path: Path, name: str, value: float
) -> None:
    tensors = {**factors(), "model.norm.weight": np.ones(8, np.float32)}
    tensors[name].reshape(-1)[3] = value
    adapter = write_adapter(tmp_path / "lora", tensors, modules_to_save=["norm"])
    merged = open_checkpoint(f"{make('m', llama())}+{adapter}", merge_in="stored")
    weight = f"{Q}.weight" if "lora" in name else name
    with pytest.raises(CheckpointError, match=rf"lora/.*{name}': holds {value} at flat index 3"):
        merged.raw(weight)


def test_a_product_that_overflows_is_refused(make: Make, tmp_path: Path) -> None:
    huge = {name: values * np.float32(1e30) for name, values in factors().items()}
    adapter = write_adapter(tmp_path / "lora", huge)
    with pytest.raises(CheckpointError, match=r"q_proj.weight': holds -?(inf|nan)"):
        open_checkpoint(f"{make('m', llama('F32'))}+{adapter}").raw(f"{Q}.weight")


def test_a_tensor_both_changed_and_saved(make: Make, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "lora", {**factors(), f"{Q}.weight": np.ones((8, 8))})
    with pytest.raises(CheckpointError, match="both changed by factors and saved whole"):
        open_checkpoint(f"{make('m', llama())}+{adapter}")


def test_adapters_of_adapters_and_circles_are_refused(make: Make, tmp_path: Path) -> None:
    base, one, two = make("m", llama()), tmp_path / "one", tmp_path / "two"
    write_adapter(one, factors(), base_model_name_or_path=str(base))
    write_adapter(two, factors(), base_model_name_or_path=str(one))
    with pytest.raises(CheckpointError, match=r"'.*one' is an adapter itself"):
        open_checkpoint(two)
    write_adapter(one, factors(), base_model_name_or_path=str(one))
    with pytest.raises(CheckpointError, match="is an adapter itself"):
        open_checkpoint(one)


def test_an_adapter_over_sharded_pickles_names_its_own_base(make: Make, tmp_path: Path) -> None:
    """A folder of a model that also holds an adapter is the model."""
    folder = make("m", llama(), shards=2)
    write_adapter(folder, factors(), base_model_name_or_path="nobody/nothing")
    assert not hasattr(open_checkpoint(folder), "computed")


PEFT: dict[str, dict[str, Any]] = {
    "ranks and alphas by pattern": {
        "r": 3,
        "target_modules": ["q_proj", "k_proj", "gate_proj", "down_proj"],
        "rank_pattern": {"layers.0.self_attn.q_proj": 5, "down_proj": 1},
        "alpha_pattern": {r".*\.1\..*": 3, "k_proj": 11},
    },
    "rank-stabilised by pattern": {
        "r": 4,
        "use_rslora": True,
        "target_modules": "all-linear",
        "rank_pattern": {r"up_proj|v_proj": 2},
        "alpha_pattern": {"o_proj": 0.5},
    },
    "some layers": {
        "target_modules": ["v_proj"],
        "layers_to_transform": [1],
        "layers_pattern": "layers",
    },
    "embedding and head": {"target_modules": ["embed_tokens", "lm_head"]},
    "scale zero": {"target_modules": ["q_proj"], "lora_alpha": 0},
    "modules saved whole": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "norm"]},
}


@pytest.mark.filterwarnings("ignore")  # of peft and transformers about themselves
@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("case", PEFT)
def test_equal_to_peft(tmp_path: Path, case: str, safe: bool) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=23,
        hidden_size=12,
        intermediate_size=20,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=False,
    )
    compare_with_peft(tmp_path, transformers.LlamaForCausalLM(config), PEFT[case], safe=safe)


@pytest.mark.filterwarnings("ignore")
def test_equal_to_peft_where_matrices_are_stored_transposed(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=17, n_embd=12, n_layer=2, n_head=2, n_positions=8, tie_word_embeddings=False
    )
    settings = {"target_modules": ["c_attn", "c_fc", "c_proj"], "fan_in_fan_out": True, "r": 3}
    compare_with_peft(tmp_path, transformers.GPT2LMHeadModel(config), settings, safe=True)


def compare_with_peft(tmp_path: Path, model: Any, settings: dict[str, Any], *, safe: bool) -> None:
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    torch.manual_seed(1)
    base = tmp_path / "base"
    model.save_pretrained(base)
    config = peft.LoraConfig(init_lora_weights=False, **settings)
    tuned = peft.get_peft_model(model, config)
    for name, weight in tuned.named_parameters():
        if "modules_to_save" in name:
            weight.data += torch.randn_like(weight)
    tuned.save_pretrained(tmp_path / "lora", safe_serialization=safe)
    ours = open_checkpoint(f"{base}+{tmp_path / 'lora'}")
    expected = tuned.merge_and_unload().state_dict()
    compared = [name for name in expected if name in ours.tensors]
    assert len(compared) == len(ours.tensors)
    before = open_checkpoint(base)
    moved = 0
    for name in compared:
        got = ours.float32(name)
        np.testing.assert_allclose(got, expected[name].numpy(), rtol=1e-5, atol=1e-6)
        moved += not np.array_equal(got, before.float32(name))
    assert moved == len(ours.computed) or settings.get("lora_alpha") == 0  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"use_dora": True}, "use_dora is True"),
        ({"bias": "lora_only"}, "bias is 'lora_only'"),
        ({"lora_bias": True}, "lora_bias is True"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
        ({"init_lora_weights": "olora"}, "init_lora_weights is 'olora'"),
    ],
)
def test_other_kinds_as_peft_saves_them(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=11, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, tie_word_embeddings=False, attention_bias=True,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(tmp_path / "base")
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], **settings))
    adapted.save_pretrained(tmp_path / "lora")
    with pytest.raises(CheckpointError, match=said):
        open_checkpoint(f"{tmp_path / 'base'}+{tmp_path / 'lora'}")


@pytest.mark.filterwarnings("ignore")
def test_tied_embeddings_are_refused_as_target(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=17, n_embd=12, n_layer=1, n_head=2, n_positions=8)
    )
    model.save_pretrained(tmp_path / "base")
    config = peft.LoraConfig(target_modules=["wte"], fan_in_fan_out=True)
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "lora")
    with pytest.raises(CheckpointError, match="shares between embedding and head"):
        open_checkpoint(f"{tmp_path / 'base'}+{tmp_path / 'lora'}")
