"""Names of many model families, and regions over them."""

from __future__ import annotations

from pathlib import Path

import pytest

from imprint.checkpoints import open_checkpoint
from imprint.checkpoints.regions import AUTHORS, is_buffer, module_type, place, region, select
from imprint.errors import ConfigError
from weights_support import GOLDEN, llama

NAMES = {
    "model.embed_tokens.weight": (None, "embedding"),
    "lm_head.weight": (None, "head"),
    "model.norm.weight": (None, "norm"),
    "model.layers.11.self_attn.q_proj.weight": (11, "q"),
    "model.layers.1.self_attn.k_proj.bias": (1, "k"),
    "model.layers.1.self_attn.q_norm.weight": (1, "norm"),
    "model.layers.1.self_attn.qkv_proj.weight": (1, "qkv"),
    "model.layers.1.mlp.gate_proj.weight": (1, "gate"),
    "model.layers.1.mlp.gate_up_proj.weight": (1, "gate_up"),
    "model.layers.1.mlp.gate.weight": (1, "router"),
    "model.layers.1.mlp.experts.7.down_proj.weight": (1, "down"),
    "model.layers.1.mlp.experts.gate_up_proj": (1, "gate_up"),
    "model.layers.1.mlp.shared_expert.up_proj.weight": (1, "up"),
    "model.layers.1.block_sparse_moe.experts.2.w1.weight": (1, "gate"),
    "model.layers.1.block_sparse_moe.experts.2.w2.weight": (1, "down"),
    "model.layers.1.block_sparse_moe.experts.2.w3.weight": (1, "up"),
    "model.layers.1.block_sparse_moe.gate.weight": (1, "router"),
    "model.layers.1.self_attn.kv_a_proj_with_mqa.weight": (1, "kv"),
    "model.layers.1.self_attn.q_b_proj.weight": (1, "q"),
    "model.layers.1.pre_feedforward_layernorm.weight": (1, "norm"),
    "model.language_model.layers.2.mlp.up_proj.weight": (2, "up"),
    "model.visual.blocks.2.mlp.up_proj.weight": (None, "other"),
    "transformer.wte.weight": (None, "embedding"),
    "wpe.weight": (None, "embedding"),
    "transformer.h.3.attn.c_attn.weight": (3, "qkv"),
    "transformer.h.3.attn.c_proj.weight": (3, "o"),
    "h.3.mlp.c_fc.weight": (3, "up"),
    "h.3.mlp.c_proj.weight": (3, "down"),
    "h.3.ln_1.weight": (3, "norm"),
    "transformer.ln_f.bias": (None, "norm"),
    "gpt_neox.embed_in.weight": (None, "embedding"),
    "embed_out.weight": (None, "head"),
    "gpt_neox.layers.4.attention.query_key_value.weight": (4, "qkv"),
    "gpt_neox.layers.4.attention.dense.weight": (4, "o"),
    "gpt_neox.layers.4.mlp.dense_h_to_4h.weight": (4, "up"),
    "gpt_neox.layers.4.mlp.dense_4h_to_h.weight": (4, "down"),
    "gpt_neox.layers.4.attention.rotary_emb.inv_freq": (None, "other"),
    "model.decoder.layers.0.fc1.weight": (0, "up"),
    "model.decoder.layers.0.self_attn.out_proj.weight": (0, "o"),
}


@pytest.mark.parametrize("name", NAMES)
def test_layer_and_module(name: str) -> None:
    found = place(name)
    assert (found.layer, found.module) == NAMES[name]


@pytest.mark.parametrize("text", ["transformer", "embedding", "attention", "mlp", "all"])
def test_regions_of_a_llama_are_those_of_the_authors(text: str) -> None:
    names = list(llama(head=True))
    assert select(text, names) == select(text, names, compat="paramrestore")


def test_where_ours_are_better() -> None:
    ours, theirs = region("transformer"), region("transformer", compat="paramrestore")
    assert ours("transformer.h.0.mlp.c_fc.weight")
    assert not theirs("transformer.h.0.mlp.c_fc.weight")
    assert theirs("model.layers.0.self_attn.q_proj.bias")
    assert not ours("model.layers.0.self_attn.q_proj.bias")
    assert AUTHORS["attention"]("model.layers.0.self_attn.q_norm.weight")
    assert not region("attention")("model.layers.0.self_attn.q_norm.weight")


def test_layers_modules_and_expressions() -> None:
    names = list(llama(layers=4))
    assert {place(n).layer for n in select("layers 0-1,3", names)} == {0, 1, 3}
    assert {place(n).layer for n in select("layer 2", names)} == {2}
    assert {module_type(n) for n in select("down", names)} == {"down"}
    assert len(select(r"\.[qk]_proj", names)) == 8
    assert len(select(r"layers\.(0|3)\..*up", names)) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("layers 3-1", "no range of layers"),
        ("layers 1-x", "no range of layers"),
        ("(", "no regular expression"),
        ("atention", "did you mean 'attention'"),
        ("layers 99", "no tensor lies in"),
    ],
)
def test_regions_that_are_none(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        select(text, list(llama()))


def test_the_authors_regions_refuse_other_names() -> None:
    with pytest.raises(ConfigError, match="no tensor lies in"):
        select("transformer", ["transformer.h.0.mlp.c_fc.weight"], compat="paramrestore")
    with pytest.raises(ConfigError, match="no region 'q' of the authors"):
        select("q", list(llama()), compat="paramrestore")


def test_buffers() -> None:
    assert is_buffer("transformer.h.0.attn.bias")
    assert is_buffer("gpt_neox.layers.0.attention.masked_bias")
    assert not is_buffer("transformer.h.0.attn.c_attn.bias")
    assert not is_buffer("gpt_neox.layers.0.attention.dense.bias")


def test_shares_of_an_eight_billion_llama() -> None:
    """The module shares of LLaMA-3-8B's transformer region follow from its shapes."""
    sizes = {"q": 4096 * 4096, "k": 4096 * 1024, "v": 4096 * 1024, "o": 4096 * 4096}
    sizes |= dict.fromkeys(("gate", "up", "down"), 4096 * 14336)
    counted = {module_type(n): 0 for n in select("transformer", llama(layers=32))}
    for name in select("transformer", llama(layers=32)):
        counted[module_type(name)] += sizes[module_type(name)]
    total = sum(counted.values())
    assert total == 6_979_321_856
    shares = {module: round(100 * n / total, 2) for module, n in counted.items()}
    assert shares == {
        **dict.fromkeys(("q", "o"), 7.69),
        **dict.fromkeys(("k", "v"), 1.92),
        **dict.fromkeys(("gate", "up", "down"), 26.92),
    }


def test_golden_counts() -> None:
    found = open_checkpoint(GOLDEN / "hf_tiny_tie0")
    region_size = sum(found.tensors[n].elements for n in select("transformer", found.tensors))
    assert region_size == 2 * (4 * 32 * 32 + 3 * 32 * 48)


@pytest.mark.shared
def test_the_authors_count_on_a_real_pair(shared: Path) -> None:
    """Their statistics of the restored share list every tensor of the region with its size."""
    file = shared.parent / "golden" / "paramrestore" / "fp32-top20" / "restore_stats.tsv"
    if not file.is_file():
        pytest.skip("the outputs of the authors' code are not beside the repository")
    rows = [line.split("\t") for line in file.read_text().splitlines()[1:]]
    found = open_checkpoint(shared / "models" / "stories260K")
    ours = select("transformer", found.tensors)
    restored = {name: int(numel) for name, _, restored, numel, _ in rows if int(restored)}
    assert set(restored) <= set(ours)
    total = sum(found.tensors[name].elements for name in ours)
    taken = sum(int(restored) for _, _, restored, _, _ in rows)
    assert taken == int(total * 20 / 100)


def test_a_number_too_long_is_no_layer() -> None:
    assert place(f"model.layers.{'9' * 5000}.mlp.up_proj.weight").layer is None
