"""Sparse patches: patch and parent equal the full restore; anything else is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imprint.checkpoints import open_checkpoint, weights_hash
from imprint.errors import CheckpointError, ConfigError
from imprint.restoration.methods import Method
from imprint.restoration.patch import apply_patch, read_patch
from imprint.restoration.restore import RestoreConfig, plan, write
from weights_support import Make, llama


def patched(base: Path, tuned: Path, out: Path, by: Method = "relative") -> Path:
    config = RestoreConfig(by=by, top=(0.3,), region="all")
    write(plan(open_checkpoint(base), open_checkpoint(tuned), config), out, patch=True)
    return out


@pytest.mark.parametrize("by", ["relative", "interpolate", "dare"])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_patch_and_parent_equal_the_full_restore(
    make: Make, tmp_path: Path, dtype: str, by: Method
) -> None:
    base, tuned = make("b", llama(dtype)), make("t", llama(dtype, seed=1), shards=2)
    patch = patched(base, tuned, tmp_path / "p.safetensors", by)
    after = open_checkpoint(tuned)
    out = apply_patch(after, patch, tmp_path / "applied", command="x")
    config = RestoreConfig(by=by, top=(0.3,), region="all")
    write(plan(open_checkpoint(base), after, config), tmp_path / "whole")
    for file in (tmp_path / "whole").glob("*.safetensors"):
        assert (out / file.name).read_bytes() == file.read_bytes()


def test_a_patch_is_read_by_safetensors_and_names_its_parents(make: Make, tmp_path: Path) -> None:
    from safetensors import safe_open

    base, tuned = make("b", llama("F32")), make("t", llama("F32", seed=1))
    file = patched(base, tuned, tmp_path / "p.safetensors")
    with safe_open(file, "np") as patch:
        about = patch.metadata()
        assert about["base"] == weights_hash(open_checkpoint(base))
        assert about["tuned"] == weights_hash(open_checkpoint(tuned))
        assert (about["format"], about["version"]) == ("imprint-patch", "1")
        keys = [key for key in patch.keys() if key.endswith(".indices")]  # noqa: SIM118
        places = [patch.get_tensor(key) for key in keys]
    assert {p.dtype for p in places} == {np.dtype(np.uint32)}
    total = sum(info.elements for info in open_checkpoint(tuned).tensors.values())
    assert sum(len(p) for p in places) == int(total * 0.3)


def test_the_wrong_parent_is_refused(make: Make, tmp_path: Path) -> None:
    base, tuned = make("b", llama("F32")), make("t", llama("F32", seed=1))
    patch = patched(base, tuned, tmp_path / "p.safetensors")
    with pytest.raises(CheckpointError, match="other weights"):
        apply_patch(open_checkpoint(base), patch, tmp_path / "o", command="x")
    assert not (tmp_path / "o").exists()


def test_what_is_no_patch_is_refused(make: Make, tmp_path: Path) -> None:
    base, tuned = make("b", llama("F32")), make("t", llama("F32", seed=1))
    with pytest.raises(CheckpointError, match="no patch"):
        read_patch(base / "model.safetensors")
    patch = patched(base, tuned, tmp_path / "p.safetensors")
    with pytest.raises(ConfigError, match="exists"):
        patched(base, tuned, patch)
    raw = bytearray(patch.read_bytes())
    info = read_patch(patch).tensors["model.norm.weight.indices"]
    raw[info.start : info.start + 4] = (1 << 31).to_bytes(4, "little")
    patch.write_bytes(raw)
    with pytest.raises(CheckpointError, match="not ascending"):
        apply_patch(open_checkpoint(tuned), patch, tmp_path / "o", command="x")
    assert {p.name for p in tmp_path.iterdir()} == {"b", "t", "p.safetensors"}
