"""Rounding to 16 bits makes noise look concentrated; a verdict must not fall for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from imprint.checkpoints.dtypes import Float32, from_float32, to_float32
from imprint.restoration.config import RATIOS
from imprint.restoration.diff import diff
from imprint.restoration.diff_verdict import judge
from imprint.restoration.rounding import Noise, rounded_absolute
from weights_support import Make

NAME = "model.layers.0.mlp.up_proj.weight"
BY_HAND = [0.0364, 0.0945, 0.1465, 0.2585, 0.4399, 0.7018, 0.8715]  # exp(-z²/2)


def rounded(values: Float32, kind: str) -> Float32:
    return to_float32(from_float32(values, kind), kind)


def weights(kind: str, size: int = 600_000) -> Float32:
    draw = np.random.default_rng(0)
    return rounded((draw.normal(size=size) * 0.015).astype(np.float32), kind)


def pair(make: Make, kind: str, d: float, law: str, stored: str = "") -> tuple[Path, Path]:
    draw, base = np.random.default_rng(1), weights(kind)
    unit = draw.normal(size=base.size)
    if law == "heavy":
        unit = draw.standard_t(3, size=base.size) / np.sqrt(3)
    tuned = rounded(base + (d * unit).astype(np.float32), kind)
    stored = stored or kind
    return (
        make("base", {NAME: (stored, from_float32(base.reshape(1000, -1), stored))}),
        make("tuned", {NAME: (stored, from_float32(tuned.reshape(1000, -1), stored))}),
    )


@pytest.mark.parametrize("d", [1e-6, 1e-5, 3e-5, 1e-4, 4e-4])
@pytest.mark.parametrize("kind", ["BF16", "F16"])
def test_noise_never_holds(make: Make, kind: str, d: float) -> None:
    found = diff(*pair(make, kind, d, "normal"), quiet=True)
    assert [v.state for v in found.verdicts] == ["does_not_hold", "does_not_hold"]
    rows = found.data["concentration"]["absolute"]
    for row in rows:
        assert row["excess"] == pytest.approx(row["share"] - row["null_gaussian"])
        if d > 1e-6:
            assert row["share"] == pytest.approx(row["null_rounded"], abs=0.012)
        assert row["share"] < max(row["null_rounded"], row["null_gaussian"]) + 0.02
    if (kind, d) == ("BF16", 1e-4):
        assert rows[-1]["share"] == pytest.approx(0.933, abs=0.002)
        assert rows[-1]["null_gaussian"] == pytest.approx(0.872, abs=0.001)
        assert found.data["unchanged_fraction"] == pytest.approx(0.253, abs=0.003)
    assert all(row["null_rounded"] is None for row in found.data["concentration"]["relative"])
    assert "rounded as the weights are stored" in found.headline
    assert "less than chance" not in found.headline


@pytest.mark.parametrize("d", [1e-5, 1e-4, 4e-4])
@pytest.mark.parametrize("kind", ["BF16", "F16"])
def test_heavy_tails_hold(make: Make, kind: str, d: float) -> None:
    found = diff(*pair(make, kind, d, "heavy"), quiet=True)
    assert found.verdicts[1].state == "holds"


def test_weights_of_32_bits_have_no_such_null_unless_they_fit_16(make: Make) -> None:
    found = diff(*pair(make, "F32", 1e-4, "normal"), quiet=True)
    assert found.tables["concentration"]["null_rounded"].null_count() == 2 * len(RATIOS)
    assert found.verdicts[1].state == "does_not_hold"
    assert "rounded" not in found.headline


def test_a_checkpoint_that_was_widened_still_counts_as_rounded(make: Make) -> None:
    found = diff(*pair(make, "BF16", 1e-4, "normal", stored="F32"), quiet=True)
    assert found.verdicts[1].state == "does_not_hold"
    assert found.data["concentration"]["absolute"][-1]["null_rounded"] > 0.92


def test_where_steps_are_small_the_null_is_that_of_normal_noise() -> None:
    base = weights("F16")
    noise = base + np.float32(0.01) * np.random.default_rng(3).normal(size=base.size)
    tuned = rounded(noise.astype(np.float32), "F16")
    found = rounded_absolute({"F16": (base, tuned)}, RATIOS, 0.01, 0)
    assert found == pytest.approx(BY_HAND, abs=0.003)


def test_the_scale_is_found_from_the_norm_after_rounding() -> None:
    base = weights("BF16", 50_000)
    draw = np.random.default_rng(2).standard_normal(base.size, np.float32)
    noise = Noise([("BF16", base, draw)])
    for scale in (1e-6, 1e-5, 1e-3):
        rms = float(np.sqrt(np.mean(noise.changes(scale) ** 2)))
        assert noise.scale(rms) == pytest.approx(scale, rel=0.05)


def test_nothing_changed_and_nothing_read() -> None:
    base = weights("BF16", 100)
    assert rounded_absolute({"BF16": (base, base)}, RATIOS, 0.0, 0) is None
    assert rounded_absolute({}, RATIOS, 1.0, 0) is None


def curves(share: float, **nulls: float | None) -> pl.DataFrame:
    row = {"tuned": "t", "by": "absolute", "top": 0.2, "count": 9, "share": share}
    nulls = {"null_permuted": None, "null_permuted_sd": None, "null_rounded": None, **nulls}
    return pl.DataFrame([{**row, "excess": 0.1, **nulls}])


def test_verdicts_by_hand() -> None:
    def state(*args: float, float8: bool = False, **nulls: float | None) -> str:
        return judge(curves(*args, **nulls), "t", float8=float8)[1].state

    assert state(0.5, null_gaussian=0.44) == "holds"
    assert state(0.5, null_gaussian=0.44, null_rounded=0.49) == "does_not_hold"
    assert state(0.5, null_gaussian=0.44, null_rounded=0.43) == "holds"
    assert state(0.45, null_gaussian=0.44) == "does_not_hold"
    assert state(0.5, null_gaussian=0.44, float8=True) == "undetermined"
    assert state(0.45, null_gaussian=0.44, float8=True) == "does_not_hold"
