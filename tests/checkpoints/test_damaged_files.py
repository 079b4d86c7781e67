"""Files beside and inside a checkpoint that lie: refused by name, or harmless."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imprint.checkpoints import align, open_checkpoint, open_folder, write_checkpoint
from imprint.checkpoints.header import read_header
from imprint.errors import CheckpointError
from weights_support import Make, llama, random_tensor, raw_file

Q = "model.layers.0.self_attn.q_proj.weight"
EMBEDDING = "model.embed_tokens.weight"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}, "the type"),
        ({"dtype": {}, "shape": [1], "data_offsets": [0, 4]}, "the type"),
        ({"dtype": "F32", "shape": None, "data_offsets": [0, 4]}, "not whole numbers"),
        ({"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 0]}, "larger than any"),
        ({"dtype": "F32", "shape": [0, 2**61], "data_offsets": [0, 0]}, "larger than any"),
        ({"dtype": "F32", "shape": [0, 10**4000], "data_offsets": [0, 0]}, "larger than any"),
    ],
)
def test_entries_of_odd_types_and_sizes(tmp_path: Path, entry: Any, said: str) -> None:
    file = tmp_path / "m.safetensors"
    file.write_bytes(raw_file({"a": entry}, b"0000"))
    with pytest.raises(CheckpointError, match=said) as caught:
        read_header(file)
    assert "m.safetensors, tensor 'a'" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_half_a_character_is_no_name(tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    entry = b'{"a\\ud800": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}'
    file.write_bytes(raw_file(entry, b"0"))
    with pytest.raises(CheckpointError, match="surrogates not allowed"):
        read_header(file)


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.index.json"])
def test_a_link_to_nothing_is_told_as_such(make: Make, name: str) -> None:
    folder = make("m", llama())
    (folder / "model.safetensors").unlink()
    (folder / name).symlink_to("nowhere")
    with pytest.raises(CheckpointError, match=f"its {name} is a link to a file that is not there"):
        open_folder(folder)


def test_a_shard_may_be_a_link_as_in_the_cache_of_the_hub(make: Make, tmp_path: Path) -> None:
    folder = make("m", llama(), shards=2)
    shard = folder / "model-00001-of-00002.safetensors"
    shard.rename(tmp_path / "blob")
    shard.symlink_to(tmp_path / "blob")
    assert len(open_folder(folder).tensors) == 18


def test_a_shard_with_a_name_too_long_for_a_path(make: Make) -> None:
    folder = make("m", llama(), shards=2)
    index = folder / "model.safetensors.index.json"
    found = json.loads(index.read_text())
    found["weight_map"][Q] = "x" * 300 + ".safetensors"
    index.write_text(json.dumps(found))
    with pytest.raises(CheckpointError, match=f"is missing .it holds '{Q}'"):
        open_folder(folder)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "config.json: is missing"),
        ("{", "cannot be read"),
        ("[]", "not a JSON object"),
        ("[" * 100_000, "recursion"),
        ('{"quantization_config": {"quant_method": ""}}', "an unnamed method"),
        ('{"quantization_config": {"quant_method": 7}}', "quantised by 7"),
        *(
            (
                f'{{"quantization_config": {{"quant_method": "fp8", "weight_block_size": {v}}}}}',
                "config.json, quantization_config: weight_block_size",
            )
            for v in ('"x"', "[0, 1]", "[128]", "[1.5, 2]", "[true, 2]", "7")
        ),
    ],
)
def test_a_config_that_is_none(make: Make, config: str | None, said: str) -> None:
    folder = make("m", llama())
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_text(config)
    with pytest.raises(CheckpointError, match=said) as caught:
        open_folder(folder)
    assert "/m" in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [{"architectures": 5}, {"architectures": None}, {"tie_word_embeddings": 1}, {"text_config": 3}],
)
def test_odd_values_in_a_config_do_not_matter(make: Make, config: dict[str, Any]) -> None:
    folder = make("m", llama(head=True))
    (folder / "config.json").write_text(json.dumps(config))
    assert len(open_folder(folder).tensors) == 19


@pytest.mark.parametrize(
    "content",
    [
        {"model": {"vocab": 5}},
        {"model": {"vocab": [1, 2]}},
        {"model": {"vocab": {"a": 0, "b": [1]}}},
        {"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 3}]},
        {"model": {"vocab": {"a": 0}}, "added_tokens": [3]},
        {"added_tokens": {"a": 1}},
        {"model": {"vocab": {"a": 0, "b": 1}, "merges": [1, 2]}},
        {"model": {"vocab": {"a": 0, "b": 1}, "merges": 5}},
    ],
)
def test_an_unknown_tokenizer_is_told_and_no_reason_to_stop(make: Make, content: Any) -> None:
    base, tuned = make("b", llama()), make("t", llama())
    (tuned / "tokenizer.json").write_text(json.dumps(content))
    found = align(open_folder(base), open_folder(tuned)).findings
    assert [f.check for f in found] == ["tokenizers_unknown"]


@pytest.mark.parametrize("dtype", ["I64", "I8", "U8", "BOOL", "F8_E8M0"])
def test_integers_are_no_weights(make: Make, dtype: str) -> None:
    packed = random_tensor(np.random.default_rng(0), dtype, 8, 8)
    plain, other = make("plain", llama()), make("other", {**llama(), Q: packed})
    same = make("same", {**llama(), Q: packed})
    for base, tuned in ((plain, other), (other, plain), (other, same)):
        with pytest.raises(CheckpointError, match=f"stored as {dtype}") as caught:
            align(open_folder(base), open_folder(tuned))
        assert f"tensor '{Q}'" in str(caught.value)


def test_constants_may_be_integers(make: Make) -> None:
    router = random_tensor(np.random.default_rng(0), "I64", 8)
    name = "model.layers.0.mlp.gate.expert_of_token"
    base, tuned = (make(n, {**llama(), name: router}) for n in "bt")
    assert name in {p.name for p in align(open_folder(base), open_folder(tuned)).pairs}


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("at", [0, 7, 95])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_copied_must_be_finite(
    make: Make, tmp_path: Path, dtype: str, at: int, value: float
) -> None:
    tensors = llama(dtype)
    kind, values = tensors[EMBEDDING]
    bits = {np.inf: 0x7F80, -np.inf: 0xFF80}.get(value, 0x7F81)
    values.reshape(-1)[at] = bits if dtype == "BF16" else value
    like = open_checkpoint(make("m", {**tensors, EMBEDDING: (kind, values)}))
    with pytest.raises(CheckpointError, match=f"holds {value}.* at flat index {at} ") as caught:
        write_checkpoint(tmp_path / "out", like, lambda _: None, card="", fingerprint="x")
    assert f"tensor '{EMBEDDING}'" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_mask_may_hold_infinity_and_large_tensors_are_looked_at_whole(
    make: Make, tmp_path: Path
) -> None:
    mask = np.full((4, 4), -np.inf, np.float32)
    large = np.zeros(700_000, np.float32)
    tensors = {**llama(), "h.0.attn.bias": ("F32", mask), "large": ("F32", large)}
    like = open_checkpoint(make("m", tensors))
    out = write_checkpoint(tmp_path / "out", like, lambda _: None, card="", fingerprint="x")
    assert np.isneginf(open_checkpoint(out).raw("h.0.attn.bias")).all()
    large[-1] = np.inf
    like = open_checkpoint(make("n", tensors))
    with pytest.raises(CheckpointError, match="flat index 699999"):
        write_checkpoint(tmp_path / "other", like, lambda _: None, card="", fingerprint="x")


@pytest.mark.parametrize("value", [1e39, -1e300])
def test_a_float64_beyond_float32_is_said_to_be_so(make: Make, value: float) -> None:
    tensors = llama("F64")
    tensors[Q][1].reshape(-1)[3] = value
    found = open_folder(make("m", tensors))
    with pytest.raises(CheckpointError, match="inf in float32 at flat index 3"):
        found.refuse_not_finite(Q, found.float32(Q))


def test_truncated_anywhere(make: Make) -> None:
    file = make("m", llama("F16", layers=1)) / "model.safetensors"
    whole = file.read_bytes()
    for at in (*range(40), *range(40, len(whole), 97), len(whole) - 1):
        file.write_bytes(whole[:at])
        with pytest.raises(CheckpointError, match=r"model\.safetensors"):
            open_folder(file.parent)
