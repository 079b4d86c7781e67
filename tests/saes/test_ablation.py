from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imprint.errors import ConfigError
from imprint.models import Loaded, load
from imprint.models.residual import activations
from imprint.saes import Hook, Sae, ablated
from imprint.saes.ablation import place_of
from imprint.saes.activations import Relu, TopK
from imprint.saes.norms import Norm
from models_support import tiny, torch
from saes_support import assert_same

IDS = [[0, 5, 9, 11, 3, 7, 20]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(tiny(tmp_path_factory.mktemp("model"), layers=3))


def an_sae(hook: Hook, *, norm: Norm = "none", k: int | None = None) -> Sae:
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Any:
        return torch.randn(shape, generator=draw)

    function = TopK(k) if k else Relu()
    return Sae(normal(16, 30), normal(30), normal(30, 16), normal(16), function, hook, norm=norm)


def logits(model: Loaded) -> Any:
    with torch.no_grad():
        return model.model(torch.tensor(IDS)).logits


@pytest.mark.parametrize("point", ["resid_post", "resid_pre", "mlp_out", "attn_out", "attn_z"])
def test_ablating_none_changes_nothing(model: Loaded, point: str) -> None:
    before = logits(model)
    with ablated(model, an_sae(Hook(1, point)), []):
        assert torch.equal(logits(model), before)


def expected(model: Loaded, sae: Sae, latents: list[int], layer: int) -> Any:
    """The same by replacing the layer's output by hand."""

    def change(_module: Any, _inputs: Any, out: Any) -> Any:
        flat = out[0]
        h = sae.encode(flat)
        kept = h.clone()
        kept[:, latents] = 0
        return (flat + sae.decode(kept, like=flat) - sae.decode(h, like=flat))[None]

    handle = model.model.model.layers[layer].register_forward_hook(change)
    try:
        return logits(model)
    finally:
        handle.remove()


@pytest.mark.parametrize("norm", ["none", "layer_norm", "constant_norm", "centre"])
@pytest.mark.parametrize("k", [None, 6])
def test_it_equals_the_formula(model: Loaded, norm: Norm, k: int | None) -> None:
    sae, latents = an_sae(Hook(1), norm=norm, k=k), [2, 29, 14]
    with ablated(model, sae, latents):
        found = logits(model)
    assert_same(found, expected(model, sae, latents, 1))
    assert not torch.allclose(found, logits(model))


def test_the_input_of_a_layer_is_the_output_of_the_one_before(model: Loaded) -> None:
    with ablated(model, an_sae(Hook(2, "resid_pre")), [1, 3]):
        found = logits(model)
    with ablated(model, an_sae(Hook(1, "resid_post")), [1, 3]):
        assert_same(found, logits(model))


@pytest.mark.parametrize("module", ["layers.1", "model.layers.1"])
def test_modules_by_name(model: Loaded, module: str) -> None:
    sae = an_sae(Hook(1, "resid_post", module))
    with ablated(model, sae, [5]):
        found = logits(model)
    assert_same(found, expected(model, sae, [5], 1))


@pytest.mark.parametrize(
    ("sae", "latents", "message"),
    [
        (an_sae(Hook(3)), [1], "model has 3 layers, 0 to 2"),
        (an_sae(Hook(None)), [1], "not known which layer"),
        (an_sae(Hook(1)), [30], "latent 30 is not among the 30"),
        (an_sae(Hook(1, "other", "h.1")), [1], "no module 'h.1'"),
        (replace(an_sae(Hook(1)), transcodes=True), [1], "transcoder"),
    ],
)
def test_what_cannot_be(model: Loaded, sae: Sae, latents: list[int], message: str) -> None:
    with pytest.raises(ConfigError, match=message), ablated(model, sae, latents):
        pass


@pytest.mark.parametrize("point", ["mlp_out", "attn_out"])
def test_outputs_are_read_after_the_norm_that_follows_them(point: str, tmp_path: Path) -> None:
    """In Gemma 2 the stream is the embedding and the normed outputs of attention and MLP."""
    import transformers

    config = transformers.Gemma2Config(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
    )
    torch.manual_seed(0)
    loaded = Loaded(transformers.Gemma2ForCausalLM(config).eval(), None, tmp_path)

    def at(name: str) -> Any:
        return activations(loaded, place_of(loaded, Hook(1, name)), IDS)[0]

    other = {"mlp_out": "attn_out", "attn_out": "mlp_out"}[point]
    added = at("resid_post") - at("resid_pre") - at(other)
    assert_same(at(point), added)
