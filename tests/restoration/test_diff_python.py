"""Comparing and restoring from Python, by the names of the package itself."""

from __future__ import annotations

import numpy as np
import pytest

import imprint
from imprint.checkpoints import open_checkpoint, weights_hash
from weights_support import Make, llama


def test_diff_takes_settings_as_keywords(make: Make) -> None:
    base, tuned = make("base", llama("F32")), make("tuned", llama("F32", seed=1))
    found = imprint.diff(base, tuned, region="mlp", top=0.1, quiet=True)
    assert isinstance(found, imprint.DiffResult)
    assert found.data["region"] == "mlp"
    assert [row["top"] for row in found.data["concentration"]["relative"]] == [0.1]
    config = imprint.DiffConfig(region="mlp", top=(0.3, 0.5), quiet=True)
    assert imprint.diff(base, tuned, config, top=[0.1]).data == found.data
    with pytest.raises(imprint.ConfigError, match="did you mean 'region'"):
        imprint.diff(base, tuned, regoin="mlp")
    with pytest.raises(imprint.ConfigError, match="eps"):
        imprint.diff(base, tuned, eps="small")


def test_restore_and_apply(make: Make, tmp_path) -> None:
    base, tuned = make("base", llama()), make("tuned", llama(seed=1))
    whole = imprint.restore(base, tuned, tmp_path / "whole", top=1.0, region="all")
    assert weights_hash(open_checkpoint(whole[0])) == weights_hash(open_checkpoint(base))
    several = imprint.restore(base, tuned, tmp_path / "several", top=(0.1, 0.5), by="absolute")
    assert [path.name for path in several] == ["top-0.1", "top-0.5"]
    assert "by='absolute'" in (several[0] / "README.md").read_text()
    (patch,) = imprint.restore(
        base, tuned, tmp_path / "p.safetensors", top=0.1, by="absolute", patch=True
    )
    applied = imprint.apply(tuned, patch, tmp_path / "applied")
    names = open_checkpoint(applied).tensors
    for name in names:
        one, other = (open_checkpoint(path).raw(name) for path in (applied, several[0]))
        assert np.array_equal(one, other)
    with pytest.raises(imprint.ConfigError, match="holds"):
        imprint.restore(base, tuned, tuned, top=0.1)
    with pytest.raises(imprint.ConfigError, match="by"):
        imprint.restore(base, tuned, tmp_path / "x", by="magic")
