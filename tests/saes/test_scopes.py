"""Gemma Scope 1 and 2, Llama Scope and its R1, Qwen Scope: written here, read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imprint.errors import CheckpointError, ConfigError
from imprint.saes import FitMeter, Hook, open_sae
from saes_support import LATENTS, WIDTH, assert_same, parts, save, torch

PLAIN = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")


def jump(held: dict[str, Any]) -> Any:
    """JumpReLU that takes nothing from its input."""
    p = held["x"] @ held["W_enc"] + held["b_enc"]
    return p.clamp(min=0) * (p > held["threshold"])


def gemma(root: Path, path: str, held: dict[str, Any], *, lower: bool = False) -> Path:
    folder = root / path
    folder.mkdir(parents=True)
    names = {name: name.lower() if lower else name for name in PLAIN}
    np.savez(folder / "params.npz", **{names[name]: held[name].numpy() for name in PLAIN})
    return folder


@pytest.mark.parametrize("lower", [False, True])
def test_gemma_scope(tmp_path: Path, lower: bool) -> None:
    held = parts()
    path = "gemma-scope-9b-it-res/layer_31/width_131k/average_l0_22"
    sae = open_sae(gemma(tmp_path, path, held, lower=lower))
    assert_same(sae.encode(held["x"]), jump(held))
    assert_same(sae.reconstruct(held["x"]), jump(held) @ held["W_dec"] + held["b_dec"])
    assert sae.hook == Hook(31, "resid_post")
    assert (sae.promise.l0, sae.promise.model) == (22, "google/gemma-2-9b-it")
    assert sae.prepends_bos
    assert open_sae(tmp_path).hook.layer == 31  # the one SAE below


@pytest.mark.parametrize(("kind", "point"), [("mlp", "mlp_out"), ("att", "attn_z")])
def test_gemma_scope_beside_the_stream(tmp_path: Path, kind: str, point: str) -> None:
    path = f"models--google--gemma-scope-2b-pt-{kind}/snapshots/abc/layer_5/width_16k/average_l0_60"
    sae = open_sae(gemma(tmp_path, path, parts()))
    assert sae.hook == Hook(5, point)
    assert sae.promise.model == "google/gemma-2-2b"


def test_gemma_scope_out_of_its_repository(tmp_path: Path) -> None:
    sae = open_sae(gemma(tmp_path, "mine/layer_5/width_16k/average_l0_60", parts()))
    assert [finding.check for finding in sae.findings] == ["hook_point"]
    path = "gemma-scope-2b-pt-transcoders/layer_5/width_16k/average_l0_60"
    with pytest.raises(CheckpointError, match="is a transcoder"):
        open_sae(gemma(tmp_path, path, parts()))


def test_gemma_scope_of_the_embedding(tmp_path: Path) -> None:
    held = parts()
    path = "gemma-scope-2b-pt-res/embedding/width_4k/average_l0_21"
    sae = open_sae(gemma(tmp_path, path, held))
    assert sae.hook == Hook(0, "resid_pre")
    scaled = {**held, "W_enc": held["W_enc"] / WIDTH**0.5}
    assert_same(sae.encode(held["x"]), jump(scaled))
    expected = jump(scaled) @ held["W_dec"] * WIDTH**0.5 + held["b_dec"]
    assert_same(sae.reconstruct(held["x"]), expected)


def gemma_2(folder: Path, held: dict[str, Any], **more: Any) -> Path:
    tensors = {name.lower(): held[name] for name in PLAIN}
    extra = {k: v for k, v in more.items() if k != "config"}
    settings = {"config": more["config"]} if "config" in more else {}
    return save(folder, {**tensors, **extra}, "params.safetensors", **settings)


def test_gemma_scope_2(tmp_path: Path) -> None:
    held = parts()
    config = {
        "architecture": "jump_relu",
        "model_name": "gemma-v3-270m-pt",
        "hf_hook_point_in": "model.layers.12.output",
        "affine_connection": False,
    }
    sae = open_sae(gemma_2(tmp_path, held, config=config))
    assert_same(sae.encode(held["x"]), jump(held))
    assert sae.hook == Hook(12, "resid_post", "model.layers.12")
    assert sae.promise.model == "google/gemma-3-270m"


@pytest.mark.parametrize(
    ("path", "hook"),
    [
        ("resid_post_all/layer_9_width_16k_l0_small", Hook(9, "resid_post", "model.layers.9")),
        (
            "attn_out/layer_5_width_16k_l0_big",
            Hook(5, "attn_z", "model.layers.5.self_attn.o_proj", "input"),
        ),
        (
            "mlp_out/layer_5_width_16k_l0_big",
            Hook(5, "mlp_out", "model.layers.5.post_feedforward_layernorm"),
        ),
    ],
)
def test_gemma_scope_2_without_settings(tmp_path: Path, path: str, hook: Hook) -> None:
    sae = open_sae(gemma_2(tmp_path / "gemma-scope-2-1b-it" / path, parts()))
    assert sae.hook == hook
    assert sae.promise.model == "google/gemma-3-1b-it"


def test_gemma_scope_2_transcoder_with_a_skip_connection(tmp_path: Path) -> None:
    held = parts()
    skip = parts(5)["x"][:WIDTH]
    folder = tmp_path / "transcoder" / "layer_3_width_16k_l0_big_affine"
    sae = open_sae(gemma_2(folder, held, affine_skip_connection=skip))
    expected = jump(held) @ held["W_dec"] + held["b_dec"] + held["x"] @ skip
    assert_same(sae.reconstruct(held["x"]), expected)
    assert sae.transcodes


def test_gemma_scope_2_nowhere(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="do not tell layer and place"):
        open_sae(gemma_2(tmp_path, parts()))
    wrong = {"architecture": "relu", "hf_hook_point_in": "model.layers.1.output"}
    with pytest.raises(CheckpointError, match="'relu', not 'jump_relu'"):
        open_sae(gemma_2(tmp_path, parts(), config=wrong))


def linear(held: dict[str, Any]) -> dict[str, Any]:
    return {
        "encoder.weight": held["W_enc"].T,
        "encoder.bias": held["b_enc"],
        "decoder.weight": held["W_dec"].T,
        "decoder.bias": held["b_dec"],
    }


def llama(folder: Path, held: dict[str, Any], **more: Any) -> Path:
    hyper = {
        "d_model": WIDTH,
        "d_sae": LATENTS,
        "jump_relu_threshold": 0.4,
        "dataset_average_activation_norm": {"in": 3.0, "out": 3.0},
        "hook_point_in": "blocks.15.hook_resid_post",
        **more,
    }
    return save(folder, linear(held), "checkpoints/final.safetensors", hyperparams=hyper)


def test_llama_scope_on_the_authors_scale(tmp_path: Path) -> None:
    held, s = parts(), WIDTH**0.5 / 3
    x = held["x"]
    a = x @ held["W_enc"] + held["b_enc"] / s
    fires = a * held["W_dec"].norm(dim=-1) > 0.4
    sae = open_sae(llama(tmp_path, held))
    assert_same(sae.encode(x), a.clamp(min=0) * fires)
    assert_same(sae.reconstruct(x), (a.clamp(min=0) * fires) @ held["W_dec"] + held["b_dec"] / s)
    assert sae.hook == Hook(15, "resid_post")
    assert sae.promise.l0 == 50


def test_llama_scope_without_decoder_norms_is_what_sae_lens_reads(tmp_path: Path) -> None:
    held, s = parts(), WIDTH**0.5 / 3
    p = s * held["x"] @ held["W_enc"] + held["b_enc"]
    theirs = p.clamp(min=0) * (p > 0.4 * s)
    sae = open_sae(llama(tmp_path, held, sparsity_include_decoder_norm=False))
    assert_same(s * sae.encode(held["x"]), theirs)
    assert_same(sae.reconstruct(held["x"]), (theirs @ held["W_dec"] + held["b_dec"]) / s)


def test_the_two_readings_agree_for_unit_decoder_rows(tmp_path: Path) -> None:
    held = parts()
    held["W_dec"] = held["W_dec"] / held["W_dec"].norm(dim=-1, keepdim=True)
    one = open_sae(llama(tmp_path / "a", held))
    other = open_sae(llama(tmp_path / "b", held, sparsity_include_decoder_norm=False))
    assert_same(one.encode(held["x"]), other.encode(held["x"]))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"act_fn": "topk"}, "act_fn: is 'topk', not 'jumprelu'"),
        ({"norm_activation": "token-wise"}, "is 'token-wise', not 'dataset-wise'"),
        ({"apply_decoder_bias_to_pre_encoder": True}, "pre_encoder: is true"),
        ({"use_glu_encoder": True}, "use_glu_encoder: is true"),
        ({"hook_point_out": "blocks.15.hook_mlp_out"}, "it is a transcoder"),
    ],
)
def test_llama_scope_that_would_be_read_wrongly(
    tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        open_sae(llama(tmp_path, parts(), **more))


def test_llama_scope_with_its_usual_settings(tmp_path: Path) -> None:
    usual = {
        "act_fn": "jumprelu",
        "norm_activation": "dataset-wise",
        "apply_decoder_bias_to_pre_encoder": False,
        "use_glu_encoder": False,
        "hook_point_out": "blocks.15.hook_resid_post",
    }
    assert open_sae(llama(tmp_path, parts(), **usual)).hook.layer == 15


def r1(folder: Path, held: dict[str, Any], **more: Any) -> Path:
    config = {"d_model": WIDTH, "expansion_factor": 3, "hook_point_in": "blocks.15.hook_resid_post"}
    cut = {**held, "W_enc": held["W_enc"][:, :18], "W_dec": held["W_dec"][:18]}
    tensors = {**linear({**cut, "b_enc": held["b_enc"][:18]})}
    tensors["log_jumprelu_threshold"] = held["threshold"][:18].log()
    return save(folder, tensors, "sae_weights.safetensors", config={**config, **more})


def test_llama_scope_r1(tmp_path: Path) -> None:
    held, s = parts(), WIDTH**0.5 / 3
    sae = open_sae(r1(tmp_path, held, dataset_average_activation_norm={"in": 3.0}))
    p = (s * held["x"] @ held["W_enc"] + held["b_enc"])[:, :18]
    expected = p.clamp(min=0) * (p > held["threshold"][:18])
    assert_same(sae.encode(held["x"]), expected)
    assert_same(sae.reconstruct(held["x"]), (expected @ held["W_dec"][:18] + held["b_dec"]) / s)


def test_llama_scope_r1_without_a_norm_takes_it_from_the_texts(tmp_path: Path) -> None:
    held = parts()
    sae = open_sae(r1(tmp_path, held))
    assert sae.norm == "average"
    meter = FitMeter(sae)
    meter.add(held["x"])
    assert meter.fit().sae.norm == "none"


def qwen(folder: Path, held: dict[str, Any], name: str = "layer7.sae.pt") -> Path:
    tensors = {
        "W_enc": held["W_enc"].T,
        "W_dec": held["W_dec"].T,
        "b_enc": held["b_enc"],
        "b_dec": held["b_dec"],
    }
    return save(folder, tensors, name)


def test_qwen_scope_takes_k_from_the_name(tmp_path: Path) -> None:
    held = {
        "W_enc": torch.randn(WIDTH, 1024),
        "b_enc": torch.randn(1024),
        "W_dec": torch.randn(1024, WIDTH),
        "b_dec": torch.randn(WIDTH),
        "x": parts()["x"],
    }
    folder = qwen(tmp_path / "SAE-Res-Qwen3-1.7B-Base-W1K-L0_50", held)
    with pytest.raises(ConfigError, match="--sae-k 20, but the SAE says that 50 of its latents"):
        open_sae(folder, k=20)
    sae = open_sae(f"{folder}:layer7.sae.pt")
    p = held["x"] @ held["W_enc"] + held["b_enc"]
    kept = p.topk(50, dim=-1)
    expected = torch.zeros_like(p).scatter(-1, kept.indices, kept.values.clamp(min=0))
    assert_same(sae.encode(held["x"]), expected)
    assert sae.hook == Hook(7, "resid_post")
    assert (sae.promise.l0, sae.promise.model) == (50, "Qwen/Qwen3-1.7B-Base")


def test_qwen_scope_without_its_name(tmp_path: Path) -> None:
    folder = qwen(tmp_path / "some", parts())
    with pytest.raises(CheckpointError, match="neither file nor folder tells k"):
        open_sae(folder)
    assert open_sae(folder, k=3).promise.l0 == 3
    with pytest.raises(CheckpointError, match="of which 21 cannot fire"):
        open_sae(folder, k=21)
    misnamed = qwen(tmp_path / "SAE-Res-Qwen3-1.7B-Base-W32K-L0_50", parts())
    with pytest.raises(CheckpointError, match="has 20 rows, but the name says 32K"):
        open_sae(misnamed)
    qwen(folder, parts(), "layer8.sae.pt")
    with pytest.raises(CheckpointError, match="name one file of the 2"):
        open_sae(folder)
    assert open_sae(folder / "layer8.sae.pt", k=3).hook.layer == 8
