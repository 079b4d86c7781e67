from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from imprint.errors import CheckpointError, ConfigError
from imprint.saes import Hook, open_sae
from imprint.saes.reference import SaeReference, parse_sae
from saes_support import parts, sae_lens, save, torch, weights


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/saes", SaeReference("org/saes")),
        ("org/saes@v2", SaeReference("org/saes", "v2")),
        ("org/saes:layers.5", SaeReference("org/saes", None, "layers.5")),
        ("org/saes@v2:a/b.pt", SaeReference("org/saes", "v2", "a/b.pt")),
    ],
)
def test_names(text: str, expected: SaeReference) -> None:
    assert parse_sae(text) == expected
    assert str(expected) == text


def test_a_local_path_wins(tmp_path: Path) -> None:
    folder = tmp_path / "a:b@c"
    folder.mkdir()
    assert parse_sae(str(folder)) == SaeReference(str(folder))
    assert parse_sae(f"{folder}:layers.1") == SaeReference(str(folder), None, "layers.1")


@pytest.mark.parametrize(
    "subpath", ["../other", "a/../../b", "/etc", "", "..", "a\\..\\..\\b", "c:/x", "*"]
)
def test_no_subpath_leads_out(tmp_path: Path, subpath: str) -> None:
    with pytest.raises(ConfigError, match=r"no path inside|names no folder"):
        open_sae(f"{tmp_path}:{subpath}")
    with pytest.raises(ConfigError):
        parse_sae(f"org/saes:{subpath}")


@pytest.mark.parametrize("text", ["", "a b", "/no/such/folder", "org/saes@", "a/b/c"])
def test_names_that_fit_no_form(text: str) -> None:
    with pytest.raises(ConfigError):
        open_sae(text)


def test_a_missing_subpath_says_what_is_there(tmp_path: Path) -> None:
    sae_lens(tmp_path / "one")
    with pytest.raises(CheckpointError, match=r"has no 'two'; it holds one"):
        open_sae(f"{tmp_path}:two")


def test_an_unknown_folder_lists_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds nothing") as empty:
        open_sae(tmp_path)
    assert "EleutherAI sparsify" in str(empty.value)
    (tmp_path / "weights.pt").write_bytes(b"")
    save(tmp_path, weights(parts(), "x"), "weights.pt")
    with pytest.raises(CheckpointError, match=r"weights\.pt holds x"):
        open_sae(tmp_path)


def test_weights_without_settings(tmp_path: Path) -> None:
    (sae_lens(tmp_path) / "cfg.json").unlink()
    with pytest.raises(CheckpointError, match="no SAE of a known format: it holds sae_weights"):
        open_sae(tmp_path)


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"d_in": NaN', "\udcff"])
def test_damaged_settings(tmp_path: Path, text: str) -> None:
    (sae_lens(tmp_path) / "cfg.json").write_text(text, errors="surrogateescape")
    with pytest.raises(CheckpointError, match=r"cfg\.json"):
        open_sae(tmp_path)


def test_a_folder_of_two_formats_is_ambiguous(tmp_path: Path) -> None:
    sae_lens(tmp_path)
    shutil.copy(tmp_path / "sae_weights.safetensors", tmp_path / "sae.safetensors")
    with pytest.raises(CheckpointError, match="of SAELens or of EleutherAI sparsify"):
        open_sae(tmp_path)
    assert open_sae(tmp_path / "sae_weights.safetensors").format == "SAELens"


def test_truncated_weights(tmp_path: Path) -> None:
    file = sae_lens(tmp_path) / "sae_weights.safetensors"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match="cut short"):
        open_sae(tmp_path)


def test_truncated_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "params.npz", W_enc=np.ones((2, 3), dtype=np.float32))
    whole = (tmp_path / "params.npz").read_bytes()
    (tmp_path / "params.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"params\.npz"):
        open_sae(tmp_path)


def test_objects_in_an_npz_are_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "params.npz", W_enc=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        open_sae(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(tmp_path: Path, value: float) -> None:
    held = parts()
    held["b_dec"][2] = value
    with pytest.raises(CheckpointError, match=r"tensor 'b_dec': holds 1 values that are NaN"):
        open_sae(sae_lens(tmp_path, held))


def test_a_tensor_of_another_shape(tmp_path: Path) -> None:
    held = parts()
    held["W_dec"] = held["W_dec"].T
    with pytest.raises(CheckpointError, match=r"'W_dec': has shape \[6, 20\] where \[20, 6\]"):
        open_sae(sae_lens(tmp_path, held))


def test_half_precision_is_computed_in_float32(tmp_path: Path) -> None:
    held = {name: value.to(torch.bfloat16) for name, value in parts().items()}
    sae = open_sae(sae_lens(tmp_path, held))
    assert sae.encode(held["x"]).dtype == torch.float32
    assert sae.w_enc.dtype == torch.float32


def test_layer(tmp_path: Path) -> None:
    assert open_sae(sae_lens(tmp_path), layer=1).hook.layer == 1
    with pytest.raises(ConfigError, match="--layer 2, but the SAE was made for layer 1"):
        open_sae(tmp_path, layer=2)
    about = {"sae_lens_version": "6.1.0"}
    sae = open_sae(sae_lens(tmp_path, metadata=about), layer=2)
    assert sae.hook == Hook(2, "resid_post")
    assert [finding.check for finding in sae.findings] == ["layer"]


def test_a_k_that_an_sae_has_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--sae-k 3, but the SAE says that it is relu"):
        open_sae(sae_lens(tmp_path), k=3)


def test_files_for_the_manifest(tmp_path: Path) -> None:
    names = {path.name for path in open_sae(sae_lens(tmp_path)).files}
    assert names == {"cfg.json", "sae_weights.safetensors"}


def test_a_cut_off_network_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    def gone(*_: object, **__: object) -> str:
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", gone)
    with pytest.raises(CheckpointError, match="cannot be had as a repository"):
        open_sae("org/saes")


class Hub:
    """A repository of the hub, of which a part is in the cache already."""

    def __init__(self, cache: Path, files: list[str], monkeypatch: pytest.MonkeyPatch):
        import huggingface_hub

        self.cache, self.files, self.asked = cache, files, []
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.snapshot)
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)

    def snapshot(self, _: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        self.asked += allow_patterns
        return str(self.cache)

    def list_repo_files(self, *_: object, **__: object) -> list[str]:
        return self.files


def test_a_repository_of_many_is_not_downloaded_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = ["README.md", "layer_1/width_16k/average_l0_20/params.npz", "layer0.sae.pt"]
    hub = Hub(tmp_path, files, monkeypatch)
    sae_lens(tmp_path / "layers.1")  # fetched before
    with pytest.raises(CheckpointError, match=r"2 SAEs: layer0\.sae\.pt, layer_1/width_16k/av"):
        open_sae("org/saes")
    assert not any("*" in pattern for pattern in hub.asked)
    assert open_sae("org/saes@v1:layers.1").source == "org/saes@v1:layers.1"
    assert hub.asked[-4:-2] == ["layers.1", "layers.1/*"]


def test_the_one_sae_of_a_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = Hub(tmp_path, ["deep/er/cfg.json", "deep/er/sae_weights.safetensors"], monkeypatch)
    sae_lens(tmp_path / "deep" / "er")
    assert open_sae("org/sae").format == "SAELens"
    assert "deep/er/*" in hub.asked
    sae_lens(tmp_path)
    assert len(open_sae("org/sae").files) == 2
    (tmp_path / "sae_weights.safetensors").unlink()
    hub.files = ["README.md"]
    with pytest.raises(CheckpointError, match="holds no weights"):
        open_sae("org/sae")
