from __future__ import annotations

import pytest

from imprint.saes import Covariance, Hook, Sae, parse_hook, pca, random_dictionary, raw
from imprint.saes.activations import Activation, JumpRelu, Relu, TopK
from saes_support import LATENTS, WIDTH, assert_same, parts, torch


def made(function: Activation) -> Sae:
    held = parts()
    return Sae(held["W_enc"], held["b_enc"], held["W_dec"], held["b_dec"], function)


@pytest.mark.parametrize("function", [Relu(), JumpRelu(torch.full((LATENTS,), 0.5)), TopK(3)])
def test_chosen_latents_are_those_of_the_whole(function: Activation) -> None:
    sae, x = made(function), parts(3)["x"]
    chosen = [19, 2, 2, 7]
    only = sae.only(chosen)
    assert_same(only.encode(x), sae.encode(x)[:, chosen])
    assert (only.w_enc is not None) is sae.separable
    assert_same(sae.directions(chosen), sae.w_dec[chosen])


def test_another_type_keeps_biases_exact() -> None:
    sae = made(Relu()).to("cpu", torch.bfloat16)
    assert sae.w_enc.dtype == torch.bfloat16
    assert sae.b_enc.dtype == torch.float32
    x = parts(1)["x"]
    assert sae.encode(x).dtype == torch.float32
    assert torch.allclose(sae.encode(x), made(Relu()).encode(x), atol=0.2)
    assert sae.reconstruct(x).dtype == torch.float32


def test_scaled_reads_what_was_scaled() -> None:
    sae, x = made(Relu()), parts(1)["x"]
    assert_same(sae.scaled(0.25).encode(x), sae.encode(0.25 * x))
    assert_same(sae.scaled(0.25).reconstruct(x), sae.reconstruct(0.25 * x) / 0.25)


def test_raw_dimensions_are_themselves() -> None:
    x = parts()["x"]
    assert_same(raw(WIDTH).encode(x), x)
    assert_same(raw(WIDTH).reconstruct(x), x)


def test_principal_components() -> None:
    import numpy as np

    x = torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(1)) @ parts()["W_enc"][:, :6]
    seen = Covariance(WIDTH)
    seen.add(x[:20])
    seen.add(x[20:])
    sae = pca(seen, 3)
    assert_same(sae.encode(x), pca(x, 3).encode(x))
    _, s, vt = np.linalg.svd((x - x.mean(0)).double().numpy(), full_matrices=False)
    h = sae.encode(x).double().numpy()
    assert np.abs(h) == pytest.approx(np.abs((x - x.mean(0)).numpy() @ vt[:3].T), abs=1e-4)
    assert (h**2).sum(0) == pytest.approx(s[:3] ** 2, rel=1e-4)


def test_random_directions() -> None:
    sae = random_dictionary(WIDTH, 40, seed=3)
    again, other = random_dictionary(WIDTH, 40, seed=3), random_dictionary(WIDTH, 40, seed=4)
    assert torch.equal(sae.w_enc, again.w_enc)
    assert not torch.equal(sae.w_enc, other.w_enc)
    assert (sae.width, sae.latents, sae.separable) == (WIDTH, 40, True)
    x = parts()["x"]
    sparse = random_dictionary(WIDTH, 40, seed=3, k=5, mean=x.mean(0))
    assert ((sparse.encode(x) != 0).sum(-1) <= 5).all()
    assert_same(sparse.b_dec, x.mean(0))


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("blocks.0.hook_resid_pre", Hook(0, "resid_pre")),
        ("blocks.2.hook_mlp_out", Hook(2, "mlp_out")),
        ("blocks.2.attn.hook_z", Hook(2, "attn_z")),
        ("hook_embed", Hook(None, "embedding")),
        ("embed_tokens", Hook(None, "embedding", "embed_tokens")),
        ("layers.10", Hook(10, "resid_post", "layers.10")),
        ("layer_10", Hook(10, "resid_post", "layers.10")),
        ("h.3", Hook(3, "resid_post", "h.3")),
        ("layers.10.mlp", Hook(10, "mlp_out", "layers.10.mlp")),
        ("model.layers.3.output", Hook(3, "resid_post", "model.layers.3")),
        ("transformer.h.3.attn", Hook(3, "attn_out", "transformer.h.3.attn")),
        ("gpt_neox.layers.3.attention", Hook(3, "attn_out", "gpt_neox.layers.3.attention")),
        ("model.layers.3.input", Hook(3, "resid_pre", "model.layers.3", "input")),
        ("layers.1.strange", Hook(1, "other", "layers.1.strange")),
        ("", Hook(None, "other")),
    ],
)
def test_hooks(name: str, hook: Hook) -> None:
    assert parse_hook(name) == hook
