"""Formats of torch's own files: dictionary_learning, Goodfire, qresearch; and files with code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from imprint.errors import CheckpointError
from imprint.saes import Hook, open_sae
from saes_support import LATENTS, WIDTH, assert_same, parts, save, torch


def write(folder: Path, kind: str, tensors: dict[str, Any], **trainer: Any) -> Path:
    about = {
        "dict_class": kind,
        "activation_dim": WIDTH,
        "dict_size": LATENTS,
        "layer": 5,
        "lm_name": "org/model",
        **trainer,
    }
    config = {"trainer": about, "buffer": {"ctx_len": 64}}
    return save(folder, tensors, "ae.pt", config=config)


def layers(held: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "encoder.weight": held["W_enc"].T,
        "encoder.bias": held["b_enc"],
        "decoder.weight": held["W_dec"].T,
        **more,
    }


def pre(held: dict[str, Any]) -> Any:
    return (held["x"] - held["b_dec"]) @ held["W_enc"] + held["b_enc"]


def test_auto_encoder_has_unit_decoder_rows(tmp_path: Path) -> None:
    held = parts()
    sae = open_sae(write(tmp_path, "AutoEncoder", layers(held, bias=held["b_dec"])))
    norms = held["W_dec"].norm(dim=-1)
    assert_same(sae.encode(held["x"]), pre(held).clamp(min=0) * norms)
    assert_same(sae.w_dec.norm(dim=-1), torch.ones(LATENTS))
    expected = pre(held).clamp(min=0) @ held["W_dec"] + held["b_dec"]
    assert_same(sae.reconstruct(held["x"]), expected)
    assert sae.hook == Hook(5, "resid_post")
    assert (sae.promise.model, sae.promise.context) == ("org/model", 64)


def test_auto_encoder_new_takes_nothing_away(tmp_path: Path) -> None:
    held = parts()
    tensors = layers(held, **{"decoder.bias": held["b_dec"]})
    sae = open_sae(write(tmp_path, "AutoEncoderNew", tensors, submodule_name="mlp_layer_5"))
    assert_same(sae.encode(held["x"]), (held["x"] @ held["W_enc"] + held["b_enc"]).clamp(min=0))
    assert sae.hook == Hook(5, "mlp_out")
    before = write(tmp_path / "b", "AutoEncoderNew", tensors, submodule_name="resid_pre_layer_5")
    assert open_sae(before).hook == Hook(5, "resid_pre")


def test_top_k_by_token(tmp_path: Path) -> None:
    held = parts()
    tensors = layers(held, b_dec=held["b_dec"], k=torch.tensor(4), threshold=torch.tensor(-1.0))
    sae = open_sae(write(tmp_path, "AutoEncoderTopK", tensors, k=4))
    p = pre(held)
    kept = p.topk(4, dim=-1)
    expected = torch.zeros_like(p).scatter(-1, kept.indices, kept.values.clamp(min=0))
    assert_same(sae.encode(held["x"]), expected)
    assert sae.promise.l0 == 4
    with pytest.raises(CheckpointError, match="is 5, but 4 of 20 in the file"):
        open_sae(write(tmp_path, "AutoEncoderTopK", tensors, k=5))


@pytest.mark.parametrize("kind", ["BatchTopKSAE", "MatryoshkaBatchTopKSAE"])
def test_top_k_over_a_batch_is_a_threshold(tmp_path: Path, kind: str) -> None:
    held = parts()
    more = {"b_dec": held["b_dec"], "k": torch.tensor(4), "threshold": torch.tensor(0.7)}
    tensors = layers(held, **more)
    if kind.startswith("Matryoshka"):
        tensors = {name: held[name] for name in ("W_enc", "W_dec", "b_enc")} | more
        tensors["group_sizes"] = torch.tensor([5, 15])
    sae, p = open_sae(write(tmp_path, kind, tensors, k=4)), pre(held)
    assert_same(sae.encode(held["x"]), p.clamp(min=0) * (p > 0.7))
    assert_same(sae.only([4, 1]).encode(held["x"]), sae.encode(held["x"])[:, [4, 1]])
    tensors["threshold"] = torch.tensor(-1.0)
    with pytest.raises(CheckpointError, match="never calibrated"):
        open_sae(write(tmp_path, kind, tensors, k=4))


def test_jump_relu(tmp_path: Path) -> None:
    held = parts()
    names = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
    sae = open_sae(write(tmp_path, "JumpReluAutoEncoder", {name: held[name] for name in names}))
    p = held["x"] @ held["W_enc"] + held["b_enc"]
    assert_same(sae.encode(held["x"]), p.clamp(min=0) * (p > held["threshold"]))


def test_gated(tmp_path: Path) -> None:
    held = parts()
    extra = {
        name: parts(n)["b_enc"] for n, name in enumerate(("gate_bias", "mag_bias", "r_mag"), 1)
    }
    tensors = {**layers(held, decoder_bias=held["b_dec"]), **extra}
    del tensors["encoder.bias"]
    sae = open_sae(write(tmp_path, "GatedAutoEncoder", tensors))
    p = (held["x"] - held["b_dec"]) @ held["W_enc"]
    magnitude = (p * extra["r_mag"].exp() + extra["mag_bias"]).clamp(min=0)
    assert_same(sae.encode(held["x"]), magnitude * (p + extra["gate_bias"] > 0))


def test_an_unknown_class_and_an_unknown_tensor(tmp_path: Path) -> None:
    held = parts()
    with pytest.raises(CheckpointError, match="did you mean 'AutoEncoder"):
        open_sae(write(tmp_path, "AutoEncodr", layers(held, bias=held["b_dec"])))
    tensors = layers(held, bias=held["b_dec"], surprise=torch.ones(2))
    with pytest.raises(CheckpointError, match=r"tensor 'surprise': is not known in this format"):
        open_sae(write(tmp_path, "AutoEncoder", tensors))


def test_goodfire(tmp_path: Path) -> None:
    held = parts()
    tensors = {
        "encoder_linear.weight": held["W_enc"].T,
        "encoder_linear.bias": held["b_enc"],
        "decoder_linear.weight": held["W_dec"].T,
        "decoder_linear.bias": held["b_dec"],
    }
    save(tmp_path, tensors, "Llama-3.1-8B-Instruct-SAE-l19.pth")
    sae = open_sae(tmp_path)
    h = (held["x"] @ held["W_enc"] + held["b_enc"]).clamp(min=0)
    assert_same(sae.encode(held["x"]), h)
    assert sae.hook == Hook(19, "resid_post")
    assert sae.promise.model == "meta-llama/Llama-3.1-8B-Instruct"


def test_qresearch(tmp_path: Path) -> None:
    held = parts()
    save(
        tmp_path,
        layers(held, **{"decoder.bias": held["b_dec"]}),
        "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt",
    )
    sae = open_sae(tmp_path)
    assert_same(sae.encode(held["x"]), (held["x"] @ held["W_enc"] + held["b_enc"]).clamp(min=0))
    assert (sae.format, sae.hook.layer) == ("qresearch", 19)


class Evil:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("with_torch", [True, False])
def test_no_code_of_a_file_runs(tmp_path: Path, with_torch: bool) -> None:
    marker, file = tmp_path / "ran", tmp_path / "layer0.sae.pt"
    if with_torch:
        torch.save({"W_enc": Evil(marker)}, file)
    else:
        file.write_bytes(pickle.dumps({"W_enc": Evil(marker)}))
    with pytest.raises(CheckpointError, match="could run code"):
        open_sae(tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04 broken"])
def test_files_that_are_no_weights(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "layer0.sae.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"layer0\.sae\.pt"):
        open_sae(tmp_path)


def test_other_things_in_a_pickle(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "layer0.sae.pt")
    with pytest.raises(CheckpointError, match="not a dictionary of tensors"):
        open_sae(tmp_path)
    torch.save({"W_enc": "text"}, tmp_path / "layer0.sae.pt")
    with pytest.raises(CheckpointError, match="is a str, not a tensor"):
        open_sae(tmp_path)
