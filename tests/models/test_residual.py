"""Activations at a place, beside the model's own hidden states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imprint.errors import CheckpointError, ConfigError
from imprint.models import Loaded, load
from imprint.models.residual import activations, blocks, refuse_nan, share, site
from models_support import tiny, torch, transformers

ROWS = [[0, 5, 6, 7, 8, 9, 10, 11, 12], [0, 9], [0, 5, 6, 7, 8, 9, 10, 11, 20, 21, 22]]
SMALL = {"vocab_size": 40, "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 1}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(tiny(tmp_path_factory.mktemp("tiny"), layers=3), device="cpu")


def built(name: str) -> Loaded:
    """A tiny random model of an architecture."""
    torch.manual_seed(0)
    plain = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    wide = {**plain, "intermediate_size": 24, "num_key_value_heads": 1, "head_dim": 8}
    configs: dict[str, dict[str, Any]] = {
        "GPT2": {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 32},
        "GPTNeoX": {**plain, "intermediate_size": 24},
        "OPT": {**plain, "ffn_dim": 24, "word_embed_proj_dim": 16},
        "Qwen2": wide,
        "Qwen3": wide,
        "Gemma2": wide,
        "Gemma3Text": wide,
        "Mistral": wide,
        "Phi": {**plain, "intermediate_size": 24},
    }
    config = getattr(transformers, f"{name}Config")(**{**SMALL, **configs[name]})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    return Loaded(model, None, Path(name))


def hidden(loaded: Loaded, ids: list[int]) -> tuple[Any, ...]:
    with torch.no_grad():
        return loaded.model(torch.tensor([ids]), output_hidden_states=True).hidden_states


@pytest.mark.parametrize(
    "name",
    ["GPT2", "GPTNeoX", "OPT", "Qwen2", "Qwen3", "Gemma2", "Gemma3Text", "Mistral", "Phi"],
)
def test_blocks_are_found_and_read_in_many_architectures(name: str) -> None:
    loaded = built(name)
    assert len(blocks(loaded)) == 3
    for layer in (0, 1):
        after = activations(loaded, site(loaded, layer=layer), ROWS)
        before = activations(loaded, site(loaded, layer=layer + 1, point="resid_pre"), ROWS)
        for ids, x, same in zip(ROWS, after, before, strict=True):
            expected = hidden(loaded, ids)[layer + 1][0]
            torch.testing.assert_close(x, expected, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(same, expected, atol=1e-5, rtol=1e-4)
    rows = [ROWS[0] + [n] for n in range(13, 17)]
    where = site(loaded, layer=2)
    begun = share(loaded, where, rows)
    assert begun is None or begun.ids == tuple(ROWS[0])
    for alone, with_it in zip(
        activations(loaded, where, rows), activations(loaded, where, rows, begun), strict=True
    ):
        torch.testing.assert_close(alone[-len(with_it) :], with_it, atol=1e-5, rtol=1e-4)


def test_the_last_block_is_read_before_the_final_norm(loaded: Loaded) -> None:
    (x,) = activations(loaded, site(loaded, layer=2), ROWS[:1])
    with torch.no_grad():
        normed = loaded.model.model.norm(x)
    torch.testing.assert_close(normed, hidden(loaded, ROWS[0])[-1][0])


def test_the_pass_stops_there(loaded: Loaded) -> None:
    """Blocks behind the place, and the head, are never called; afterwards all works as before."""
    whole = hidden(loaded, ROWS[0])[-1]
    # transformers hangs hooks of its own once hidden states are asked for
    before = sum(len(m._forward_hooks) for m in loaded.model.modules())
    called = []
    behind = [blocks(loaded)[2], loaded.model.lm_head]
    hooks = [m.register_forward_hook(lambda *_: called.append(1)) for m in behind]
    activations(loaded, site(loaded, layer=1), ROWS)
    assert called == []
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(hidden(loaded, ROWS[0])[-1], whole)
    assert sum(len(m._forward_hooks) for m in loaded.model.modules()) == before


def test_a_shared_beginning_gives_what_reading_it_each_time_gives(loaded: Loaded) -> None:
    rows = [[0, *range(5, 17), *more] for more in ([3], [20, 21, 22, 23], [9, 9])]
    where = site(loaded, layer=1)
    begun = share(loaded, where, rows)
    assert begun is not None
    assert begun.ids == tuple(rows[0][:13])
    for again in range(2):  # using it does not change it
        for whole, rest in zip(
            activations(loaded, where, rows), activations(loaded, where, rows, begun), strict=True
        ):
            torch.testing.assert_close(whole[13:], rest, atol=1e-5, rtol=1e-4, msg=str(again))
    assert len(begun.layers) == 2


def test_what_is_short_is_not_shared(loaded: Loaded) -> None:
    assert share(loaded, site(loaded, layer=1), [[0, 5, 6], [0, 5, 7]]) is None


def test_parts_of_a_block(loaded: Loaded) -> None:
    block = loaded.model.model.layers[1]
    ids = ROWS[:1]

    def at(point: str) -> Any:
        return activations(loaded, site(loaded, layer=1, point=point), ids)[0]

    with torch.no_grad():
        torch.testing.assert_close(at("resid_pre") + at("attn_out"), at("resid_mid"))
        torch.testing.assert_close(at("resid_mid") + at("mlp_out"), at("resid_post"))
        torch.testing.assert_close(block.mlp(at("mlp_in")), at("mlp_out"))
        torch.testing.assert_close(block.self_attn.o_proj(at("attn_z")), at("attn_out"))
    (embedded,) = activations(loaded, site(loaded, point="embedding"), ids)
    torch.testing.assert_close(embedded, hidden(loaded, ids[0])[0][0])
    for name in ("model.layers.1.mlp", "layers.1.mlp"):
        where = site(loaded, layer=1, point="other", module=name)
        torch.testing.assert_close(activations(loaded, where, ids)[0], at("mlp_out"))


def test_a_hook_may_put_something_in_their_place(loaded: Loaded) -> None:
    where = site(loaded, layer=2, point="resid_pre")
    with where.hooked(lambda x: torch.zeros_like(x)):
        (x,) = activations(loaded, site(loaded, layer=2), ROWS[:1])
    assert float(x.abs().max()) == 0


@pytest.mark.parametrize("layer", [3, -1, 99])
def test_a_layer_beyond_the_model_is_refused(loaded: Loaded, layer: int) -> None:
    with pytest.raises(ConfigError, match=f"--layer {layer}, but the model has 3 layers, 0 to 2"):
        site(loaded, layer=layer)


def test_places_that_do_not_exist_are_refused(loaded: Loaded) -> None:
    with pytest.raises(ConfigError, match=r"no module 'layers\.9\.nothing'"):
        site(loaded, point="other", module="layers.9.nothing")
    with pytest.raises(ConfigError, match="no place 'hook_q'"):
        site(loaded, layer=0, point="hook_q")
    with pytest.raises(ConfigError, match="which layer"):
        site(loaded)
    with pytest.raises(ConfigError, match="never reached"):
        activations(loaded, site(loaded, point="other", module="lm_head"), ROWS)


def test_nan_is_refused(loaded: Loaded) -> None:
    where = site(loaded, layer=1)
    refuse_nan(torch.zeros(2, 2), where, loaded)
    with pytest.raises(CheckpointError, match="layer 1, resid_post hold NaN"):
        refuse_nan(torch.tensor([1.0, float("nan")]), where, loaded)
