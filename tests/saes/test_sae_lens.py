from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imprint.errors import CheckpointError
from imprint.saes import Hook, open_sae
from saes_support import LATENTS, WIDTH, assert_same, parts, sae_lens, save, torch, weights

GOLDEN = Path(__file__).parents[1] / "golden" / "sae_lens"


@pytest.mark.parametrize("name", ["topk", "topk_rescaled", "jumprelu"])
def test_golden_folders(name: str) -> None:
    from safetensors.torch import load_file

    sae, expected = open_sae(GOLDEN / name), load_file(GOLDEN / name / "expected.safetensors")
    assert_same(sae.encode(expected["x"]), expected["acts"])
    assert_same(sae.decode(expected["acts"]), expected["reconstruction"])
    assert (sae.width, sae.latents, sae.format) == (16, 64, "SAELens")
    assert sae.hook == Hook(3, "resid_post", "model.layers.3")
    assert sae.prepends_bos is False
    assert (sae.promise.model, sae.promise.context) == ("my/ckpt", 128)


def pre(held: dict[str, Any], x: Any) -> Any:
    return (x - held["b_dec"]) @ held["W_enc"] + held["b_enc"]


def test_standard(tmp_path: Path) -> None:
    held = parts()
    sae = open_sae(sae_lens(tmp_path, held))
    h = pre(held, held["x"]).clamp(min=0)
    assert_same(sae.encode(held["x"]), h)
    assert_same(sae.decode(h), h @ held["W_dec"] + held["b_dec"])
    assert sae.activation == "relu"
    assert sae.separable
    assert sae.hook == Hook(1, "resid_post")


def test_standard_without_taking_the_bias_away(tmp_path: Path) -> None:
    held = parts()
    sae = open_sae(sae_lens(tmp_path, held, apply_b_dec_to_input=False))
    assert_same(sae.encode(held["x"]), (held["x"] @ held["W_enc"] + held["b_enc"]).clamp(min=0))


def test_gated(tmp_path: Path) -> None:
    held = parts()
    extra = {name: parts(n)["b_enc"] for n, name in enumerate(("b_gate", "b_mag", "r_mag"), 1)}
    folder = sae_lens(tmp_path, held, architecture="gated")
    save(folder, {**weights(held, "W_enc", "W_dec", "b_dec"), **extra}, "sae_weights.safetensors")
    x = held["x"] - held["b_dec"]
    gate = x @ held["W_enc"] + extra["b_gate"] > 0
    magnitude = x @ (held["W_enc"] * extra["r_mag"].exp()) + extra["b_mag"]
    sae = open_sae(folder)
    assert_same(sae.encode(held["x"]), gate * magnitude.clamp(min=0))
    chosen = [3, 0, 17]
    assert_same(sae.only(chosen).encode(held["x"]), sae.encode(held["x"])[:, chosen])


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka_batchtopk"])
def test_batch_topk_is_read_as_the_jumprelu_that_it_is_stored_as(
    tmp_path: Path, architecture: str
) -> None:
    held = parts()
    folder = sae_lens(tmp_path, held, architecture="jumprelu")
    cfg = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps({**cfg, "architecture": architecture, "k": 5}))
    sae, p = open_sae(folder), pre(held, held["x"])
    assert_same(sae.encode(held["x"]), p.clamp(min=0) * (p > held["threshold"]))
    assert sae.promise.l0 == 5


def test_k_may_be_said_where_the_settings_do_not(tmp_path: Path) -> None:
    held = parts()
    folder = sae_lens(tmp_path, held, architecture="topk")
    with pytest.raises(CheckpointError, match="say how many latents fire: --sae-k K"):
        open_sae(folder)
    assert ((open_sae(folder, k=3).encode(held["x"]) != 0).sum(1) <= 3).all()
    assert open_sae(folder, k=3).activation == "topk"


def test_before_version_6(tmp_path: Path) -> None:
    held = parts()
    cfg = {
        "d_in": WIDTH,
        "d_sae": LATENTS,
        "hook_point": "blocks.4.hook_resid_pre",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 3},
        "normalize_activations": False,
        "model_name": "gpt2-small",
    }
    held["scaling_factor"] = torch.ones(LATENTS)
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "scaling_factor")
    sae = open_sae(save(tmp_path, weights(held, *names), "sae_weights.safetensors", cfg=cfg))
    p = pre(held, held["x"])
    kept = p.topk(3, dim=-1)
    expected = torch.zeros_like(p).scatter(-1, kept.indices, kept.values.clamp(min=0))
    assert_same(sae.encode(held["x"]), expected)
    assert sae.hook == Hook(4, "resid_pre")
    assert sae.prepends_bos
    assert sae.promise.l0 == 3
    assert sae.undecided  # whether GPT-2's weights were centred


def test_a_scaling_factor_that_does_something_is_refused(tmp_path: Path) -> None:
    held = parts()
    held["scaling_factor"] = torch.full((LATENTS,), 2.0)
    cfg = {"d_in": WIDTH, "d_sae": LATENTS, "hook_point": "blocks.4.hook_resid_pre"}
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "scaling_factor")
    save(tmp_path, weights(held, *names), "sae_weights.safetensors", cfg=cfg)
    with pytest.raises(CheckpointError, match="scaling_factor"):
        open_sae(tmp_path)


def test_layer_norm(tmp_path: Path) -> None:
    held = parts()
    sae = open_sae(sae_lens(tmp_path, held, normalize_activations="layer_norm"))
    x = held["x"]
    mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
    h = pre(held, (x - mean) / (std + 1e-5)).clamp(min=0)
    assert_same(sae.encode(x), h)
    assert_same(sae.decode(h, like=x), (h @ held["W_dec"] + held["b_dec"]) * std + mean)
    with pytest.raises(ValueError, match="activations"):
        sae.decode(h)


def test_constant_norm(tmp_path: Path) -> None:
    held = parts()
    sae = open_sae(sae_lens(tmp_path, held, normalize_activations="constant_norm_rescale"))
    x = held["x"]
    factor = WIDTH**0.5 / x.norm(dim=-1, keepdim=True)
    h = pre(held, x * factor).clamp(min=0)
    assert_same(sae.encode(x), h)
    assert_same(sae.reconstruct(x), (h @ held["W_dec"] + held["b_dec"]) / factor)


def test_centred_writing_weights(tmp_path: Path) -> None:
    held = parts()
    folder = sae_lens(tmp_path, held)
    cfg = json.loads((folder / "cfg.json").read_text())
    cfg["metadata"]["model_from_pretrained_kwargs"] = {"center_writing_weights": True}
    (folder / "cfg.json").write_text(json.dumps(cfg))
    x = held["x"]
    assert_same(open_sae(folder).encode(x), pre(held, x - x.mean(-1, keepdim=True)).clamp(min=0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "topk"}, r"cfg.json, k: is missing"),
        ({"architecture": "topk", "k": 21}, "is 21, of 20 latents"),
        ({"architecture": "transcoder"}, "'transcoder' is not read here"),
        ({"architecture": "temporal"}, "'temporal' is not read here"),
        ({"architecture": "matching_pursuit"}, "'matching_pursuit' is not read here"),
        ({"architecture": None}, "architecture: is missing"),
        ({"d_in": None}, "d_in: is missing"),
        ({"d_in": 7}, r"tensor 'W_enc': has shape \[6, 20\], but d_in is 7"),
        ({"d_sae": "20"}, "wrong kind"),
        ({"apply_b_dec_to_input": None}, "apply_b_dec_to_input: is missing"),
        ({"normalize_activations": "covariance_whitening"}, "covariance_whitening"),
        ({"architecture": "jumprelu", "d_sae": True}, "wrong kind"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        open_sae(sae_lens(tmp_path, **settings))


def test_a_single_head_is_refused(tmp_path: Path) -> None:
    about = {"sae_lens_version": "6.1.0", "hook_name": "blocks.0.attn.hook_q", "hook_head_index": 2}
    with pytest.raises(CheckpointError, match="one attention head"):
        open_sae(sae_lens(tmp_path, metadata=about))


@pytest.mark.parametrize("kind", ["standard", "gated", "jumprelu", "topk", "abstopk"])
@pytest.mark.parametrize("norm", ["none", "layer_norm", "constant_norm_rescale"])
def test_equals_the_library(tmp_path: Path, kind: str, norm: str) -> None:
    pytest.importorskip("sae_lens", reason="sae-lens is not installed", exc_type=ImportError)
    from sae_lens import SAE
    from sae_lens.registry import get_sae_class

    cls, config = get_sae_class(kind)
    extra: dict[str, Any] = {"k": 4} if "topk" in kind else {}
    if kind == "topk":
        extra["rescale_acts_by_decoder_norm"] = True
    theirs = cls(config(d_in=WIDTH, d_sae=LATENTS, normalize_activations=norm, **extra))
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.copy_(0.5 * torch.randn_like(weight))
    theirs.save_model(tmp_path)
    loaded, ours, x = SAE.load_from_disk(tmp_path), open_sae(tmp_path), parts()["x"]
    with torch.no_grad():
        assert_same(ours.encode(x), loaded.encode(x))
        assert_same(ours.reconstruct(x), loaded(x))


@pytest.mark.parametrize("kind", ["standard", "jumprelu"])
def test_a_scale_is_folded_as_the_library_folds_it(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("sae_lens", reason="sae-lens is not installed", exc_type=ImportError)
    from sae_lens.registry import get_sae_class

    cls, config = get_sae_class(kind)
    norm = {"normalize_activations": "expected_average_only_in"}
    theirs = cls(config(d_in=WIDTH, d_sae=LATENTS, **norm))
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.copy_(0.5 * torch.randn_like(weight))
    theirs.save_model(tmp_path)
    ours, x = open_sae(tmp_path), parts()["x"]
    assert ours.undecided
    with torch.no_grad():
        theirs.fold_activation_norm_scaling_factor(0.3)
        assert_same(ours.scaled(0.3).encode(x), theirs.encode(x))
        assert_same(ours.scaled(0.3).reconstruct(x), theirs(x))
