from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imprint.errors import CheckpointError
from imprint.saes import Hook, open_sae
from saes_support import LATENTS, WIDTH, assert_same, parts, save, torch

GOLDEN = Path(__file__).parents[1] / "golden" / "sparsify"


def write(folder: Path, held: dict[str, Any], **cfg: Any) -> Path:
    tensors = {
        "encoder.weight": held["W_enc"].T,
        "encoder.bias": held["b_enc"],
        "W_dec": held["W_dec"],
        "b_dec": held["b_dec"],
    }
    return save(folder, tensors, "sae.safetensors", cfg={"d_in": WIDTH, **cfg})


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("layers.3", Hook(3, "resid_post", "layers.3")),
        ("layers.3.mlp", Hook(3, "mlp_in", "layers.3.mlp", "input")),
    ],
)
def test_golden_folders(name: str, hook: Hook) -> None:
    from safetensors.torch import load_file

    sae, expected = open_sae(GOLDEN / name), load_file(GOLDEN / name / "expected.safetensors")
    assert_same(sae.encode(expected["x"]), expected["acts"])
    assert_same(sae.decode(expected["acts"], like=expected["x"]), expected["reconstruction"])
    assert sae.hook == hook
    assert sae.transcodes is (name == "layers.3.mlp")
    assert sae.promise.l0 == 4


def test_a_folder_of_several_is_asked_which() -> None:
    with pytest.raises(CheckpointError, match=r"holds 2 SAEs: layers\.3, layers\.3\.mlp"):
        open_sae(GOLDEN)
    assert open_sae(f"{GOLDEN}:layers.3").hook.layer == 3


def test_old_settings_and_folder_names(tmp_path: Path) -> None:
    held = parts()
    folder = write(tmp_path / "layer_10", held, expansion_factor=20, k=3, normalize_decoder=True)
    with pytest.raises(CheckpointError, match=r"encoder\.weight.*\[20, 6\] where \[120, 6\]"):
        open_sae(folder)
    cfg = {"d_in": 2, "expansion_factor": 10, "num_latents": 0, "k": 3, "signed": True}
    narrow = {**held, "W_enc": held["W_enc"][:2], "W_dec": held["W_dec"][:, :2]}
    narrow["b_dec"] = held["b_dec"][:2]
    sae = open_sae(write(tmp_path / "layer_10", narrow, **cfg))
    x = held["x"][:, :2]
    p = (x - narrow["b_dec"]) @ narrow["W_enc"] + narrow["b_enc"]
    kept = p.abs().topk(3, dim=-1).indices
    assert_same(sae.encode(x), torch.zeros_like(p).scatter(-1, kept, p.gather(-1, kept)))
    assert (sae.encode(x) < 0).any()
    assert sae.hook == Hook(10, "resid_post", "layers.10")


def test_groupmax(tmp_path: Path) -> None:
    held = parts()
    folder = write(tmp_path / "h.2", held, num_latents=LATENTS, k=4, activation="groupmax")
    sae, x = open_sae(folder), held["x"]
    p = ((x - held["b_dec"]) @ held["W_enc"] + held["b_enc"]).clamp(min=0)
    expected = torch.zeros_like(p)
    for row in range(len(p)):
        for group in range(4):
            best = group * 5 + int(p[row, group * 5 : group * 5 + 5].argmax())
            expected[row, best] = p[row, best]
    assert_same(sae.encode(x), expected)
    assert not sae.separable
    assert_same(sae.only([7, 2]).encode(x), expected[:, [7, 2]])


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"num_latents": LATENTS}, "k: is missing"),
        ({"num_latents": 0, "k": 2}, "both missing or 0"),
        ({"num_latents": LATENTS, "k": 3, "activation": "groupmax"}, "split into 3 groups"),
        ({"num_latents": LATENTS, "k": 3, "activation": "relu"}, "neither topk nor groupmax"),
        ({"num_latents": LATENTS, "k": 3, "skip_connection": True}, "no tensor 'W_skip'"),
        ({"num_latents": LATENTS, "k": 0}, "is 0, of 20"),
        ({"num_latents": LATENTS, "k": 3, "d_in": 5}, r"where \[20, 5\] is expected"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, cfg: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        open_sae(write(tmp_path / "layers.0", parts(), **cfg))


@pytest.mark.parametrize("kind", ["topk", "groupmax"])
@pytest.mark.parametrize("transcode", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_equals_the_library(tmp_path: Path, kind: str, transcode: bool) -> None:
    sparsify = pytest.importorskip("sparsify", reason="eai-sparsify is not installed")
    cfg = sparsify.SparseCoderConfig(
        activation=kind, expansion_factor=4, k=6, transcode=transcode, skip_connection=transcode
    )
    torch.manual_seed(2)
    theirs = sparsify.SparseCoder(WIDTH, cfg)
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.copy_(torch.randn_like(weight))
    theirs.save_to_disk(tmp_path / "layers.1")
    assert json.loads((tmp_path / "layers.1" / "cfg.json").read_text())["num_latents"] == 0
    ours, x = open_sae(tmp_path), parts()["x"]
    with torch.no_grad():
        acts, indices, _ = theirs.encode(x)
        expected = torch.zeros(len(x), theirs.num_latents).scatter(-1, indices, acts)
        assert_same(ours.encode(x), expected)
        decoded = theirs.decode(acts, indices)
        if transcode:
            decoded = decoded + x @ theirs.W_skip.T
        assert_same(ours.reconstruct(x), decoded)
