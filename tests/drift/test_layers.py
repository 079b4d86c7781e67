"""Linear CKA and the choice of positions."""

from __future__ import annotations

import numpy as np
import pytest

from imprint.drift.layers import choose, linear_cka
from imprint.drift.means import difference, means
from imprint.drift.pieces import Piece


def feature_space(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one - one.mean(0), other - other.mean(0)
    cross = np.linalg.norm(other.T @ one) ** 2
    return float(cross / np.linalg.norm(one.T @ one) / np.linalg.norm(other.T @ other))


def test_cka_is_that_of_feature_space_and_sees_no_rotation() -> None:
    draw = np.random.default_rng(0)
    one, other = draw.normal(size=(40, 7)) + 3, draw.normal(size=(40, 5))
    assert linear_cka(one, other) == pytest.approx(feature_space(one, other))
    turned, _ = np.linalg.qr(draw.normal(size=(7, 7)))
    assert linear_cka(one, 2 * one @ turned + 1) == pytest.approx(1)
    assert np.isnan(linear_cka(one, np.ones((40, 3))))


def test_positions_come_from_many_texts() -> None:
    pieces = [Piece(n, (0,) * 41, (0,) * 41, tuple(range(40)), (), (), ()) for n in range(30)]
    chosen = choose(pieces, 64, seed=1)
    assert len(chosen.targets) == 64
    assert len(set(chosen.samples)) == 16
    assert choose(pieces, 64, seed=1) == chosen
    assert choose(pieces, 10_000, seed=1).samples.count(3) == 40
    assert choose([], 10, seed=0).pieces == ()


def test_means_know_that_tokens_of_a_text_go_together() -> None:
    import polars as pl

    draw = np.random.default_rng(0)
    effect = np.repeat(draw.normal(size=50), 100)
    frame = pl.DataFrame({"sample": np.repeat(np.arange(50), 100), "x": effect})
    row = means(frame, ["x"], resamples=2000).row(0, named=True)
    assert row["mean"] == pytest.approx(effect.mean())
    assert row["se"] == pytest.approx(effect.std() / 50**0.5, rel=0.1)  # not /√5000
    assert row["low"] < row["mean"] < row["high"]
    gap, low, high = difference(frame, frame.with_columns(pl.col("x") - 1), "x", resamples=200)
    assert gap == pytest.approx(1)
    assert low == pytest.approx(1)
    assert high == pytest.approx(1)
