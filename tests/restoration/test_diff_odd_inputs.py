"""Comparisons of checkpoints that no trainer writes, and run folders where none may be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from imprint.errors import CheckpointError, ConfigError
from imprint.restoration.config import DiffConfig
from imprint.restoration.diff import diff
from weights_support import file_bytes, llama

QUIET = DiffConfig(quiet=True)
NAME = "model.layers.0.self_attn.q_proj.weight"


def save(folder: Path, tensors) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(file_bytes(tensors))
    (folder / "config.json").write_text("{}")
    return folder


def with_weights(folder: Path, values: np.ndarray) -> Path:
    return save(folder, {NAME: ("F32", values.astype(np.float32))})


def test_a_name_too_long_for_a_path(tmp_path):
    base = with_weights(tmp_path / "base", np.ones((4, 4)))
    with pytest.raises(CheckpointError):
        diff(base, "a" * 300, QUIET)


def test_a_region_without_values(tmp_path):
    pair = [with_weights(tmp_path / side, np.ones((0, 8))) for side in ("base", "tuned")]
    with pytest.raises(ConfigError, match="hold no values"):
        diff(*pair, QUIET)


def test_a_change_beyond_float32_gives_no_norm(tmp_path):
    values = np.ones((8, 8))
    values[0, 0] = 3e38
    base = with_weights(tmp_path / "base", values)
    tuned = with_weights(tmp_path / "tuned", -values)
    result = diff(base, tuned, QUIET, out=tmp_path / "run")
    assert result.data["change_norm"] is None
    assert json.loads((tmp_path / "run/result.json").read_text())["change_norm"] is None


@pytest.mark.parametrize("inside", ["base", "tuned", "tuned/run"])
def test_a_run_folder_inside_an_input_is_refused(tmp_path, inside):
    tensors = llama("F32", layers=1)
    base, tuned = (save(tmp_path / side, tensors) for side in ("base", "tuned"))
    with pytest.raises(ConfigError, match="lies in"):
        diff(base, tuned, QUIET, out=tmp_path / inside)
    assert sorted(p.name for p in tuned.iterdir()) == ["config.json", "model.safetensors"]
