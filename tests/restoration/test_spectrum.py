"""The spectrum of a change, beside a shuffle of its entries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imprint.executors import Threads
from imprint.restoration.config import DiffConfig
from imprint.restoration.diff import open_inputs
from imprint.restoration.spectrum import (
    Spectrum,
    describe,
    shuffled,
    singular_values,
    spectrum_rows,
)
from weights_support import Make

Q = "model.layers.0.self_attn.q_proj.weight"
UP = "model.layers.1.mlp.up_proj.weight"
EXPERTS = "model.layers.1.mlp.experts.down_proj"


def of(matrix: np.ndarray) -> Spectrum:
    found = matrix.astype(np.float32)
    return describe(singular_values(found), found.shape)


def test_equal_values_count_all_directions() -> None:
    found = of(np.eye(40, 60))
    assert found.effective_rank == pytest.approx(40)
    assert found.stable_rank == pytest.approx(40)
    assert found.share_1 == pytest.approx(1 / 40)
    assert found.share_8 == pytest.approx(8 / 40)
    assert found.share_64 == 1
    assert found.above_noise == 0


def test_values_by_hand() -> None:
    found = of(np.diag([3.0, 1.0, 0.0]))
    assert found.effective_rank == pytest.approx(np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))
    assert found.stable_rank == pytest.approx(10 / 9)
    assert found.share_1 == pytest.approx(0.9)


def test_a_change_of_rank_three_stands_out_from_its_shuffle() -> None:
    rng = np.random.default_rng(0)
    delta = (np.linalg.qr(rng.normal(size=(200, 3)))[0] @ rng.normal(size=(3, 100))).astype(
        np.float32
    )
    found, null = of(delta), of(shuffled(delta, 0, "a"))
    assert found.effective_rank == pytest.approx(3, abs=0.1)
    assert found.share_8 == pytest.approx(1)
    assert found.above_noise
    assert found.above_noise >= 3
    assert null.effective_rank
    assert null.effective_rank > 85
    assert null.share_8
    assert null.share_8 < 0.3


def test_noise_looks_like_its_shuffle() -> None:
    delta = np.random.default_rng(1).normal(size=(150, 300)).astype(np.float32)
    found, null = of(delta), of(shuffled(delta, 0, "a"))
    assert found.above_noise == null.above_noise == 0
    assert found.effective_rank == pytest.approx(null.effective_rank, rel=0.01)
    assert found.stable_rank == pytest.approx(null.stable_rank, rel=0.1)


def test_no_change_has_no_spectrum_and_the_smallest_scale_counts_alike() -> None:
    assert of(np.zeros((30, 40))) == Spectrum(None, None, None, None, None, None)
    delta = np.random.default_rng(2).normal(size=(30, 40))
    assert of(delta * 1e-30).stable_rank == pytest.approx(of(delta).stable_rank, rel=1e-4)


def test_a_shuffle_keeps_the_entries_and_depends_on_seed_and_name() -> None:
    delta = np.arange(12, dtype=np.float32).reshape(3, 4)
    one = shuffled(delta, 0, "a")
    assert one.shape == delta.shape
    assert sorted(one.flat) == sorted(delta.flat)
    assert (one == shuffled(delta, 0, "a")).all()
    assert (one != shuffled(delta, 1, "a")).any()
    assert (one != shuffled(delta, 0, "b")).any()


def test_rows_of_checkpoints(make: Make) -> None:
    rng = np.random.default_rng(3)
    shapes = {Q: (32, 32), "model.layers.0.self_attn.q_proj.bias": (32,), EXPERTS: (2, 16, 24)}
    base = {n: ("F32", rng.normal(size=s).astype(np.float32)) for n, s in shapes.items()}
    low = rng.normal(size=(32, 1)) @ rng.normal(size=(1, 32))
    tuned = {**base, Q: ("F32", (base[Q][1] + low).astype(np.float32))}
    inputs = open_inputs(make("b", base), [make("t", tuned), make("s", base)], DiffConfig())
    rows = spectrum_rows(inputs.base, inputs.tuned, inputs.groups, 0, Threads(2))
    assert rows == spectrum_rows(inputs.base, inputs.tuned, inputs.groups, 0, Threads(1))
    keys = [(r["tuned"], r["tensor"], r["matrix"]) for r in rows]
    assert keys == [(n, t, m) for n in (0, 1) for t, m in ((Q, None), (EXPERTS, 0), (EXPERTS, 1))]
    first = rows[0]
    assert (first["layer"], first["module"], first["rows"], first["columns"]) == (0, "q", 32, 32)
    assert first["change_norm"] == pytest.approx(np.linalg.norm(low), rel=1e-5)
    assert first["effective_rank"] == pytest.approx(1, abs=0.01)
    assert first["null_effective_rank"] > 20
    assert all(r["effective_rank"] is None and r["change_norm"] == 0 for r in rows[1:])


@pytest.mark.shared
def test_a_real_change_has_more_structure_than_chance(shared: Path) -> None:
    models = shared / "models"
    inputs = open_inputs(
        models / "stories260K", [models / "stories260K-gutenberg"], DiffConfig(region="q")
    )
    rows = spectrum_rows(inputs.base, inputs.tuned, inputs.groups, 0, Threads(2))
    assert len(rows) == 5
    assert all(r["above_noise"] > r["null_above_noise"] == 0 for r in rows)
    assert all(r["stable_rank"] < r["null_stable_rank"] for r in rows)
