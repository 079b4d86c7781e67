"""Shares of sources, their windows, schedules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imprint.errors import ConfigError, DataError
from imprint.lab.pretraining.mixture import Mixture, Sequences, open_tokens
from imprint.lab.pretraining.optimiser import Optimiser
from imprint.lab.pretraining.shape import Shape

SOURCES = {
    "web": np.arange(1000, 2000, dtype=np.uint16),
    "code": np.arange(3000, 3100, dtype=np.uint16),
}
MIXTURE = Mixture("m", {"web": 0.75, "code": 0.25})


def drawn(seed: int = 0, sources: dict[str, np.ndarray] | None = None) -> list[np.ndarray]:
    order = Sequences(MIXTURE, sources or SOURCES, 8, 4, 50, seed)
    return [order[step] for step in range(50)]


def test_shares_hold_to_within_a_sequence() -> None:
    found = np.concatenate(drawn())
    assert (found[:, 0] < 3000).sum() == 150
    assert (found[:, 0] >= 3000).sum() == 50


def test_windows_are_stretches_of_their_source() -> None:
    for batch in drawn():
        assert (np.diff(batch, axis=1) == 1).all()
        assert batch.shape == (4, 9)


def test_no_window_comes_twice_before_all_came_once() -> None:
    order = Sequences(Mixture("m", {"web": 1.0}), SOURCES, 8, 4, 31, 0)
    starts = np.concatenate([order[step][:, 0] for step in range(31)])
    assert len(set(starts)) == 124  # all of (1000 - 1) // 8
    assert order.passes["web"] == pytest.approx(124 * 8 / 999, abs=1e-4)


def test_order_is_decided_by_the_seed_and_not_by_the_order_of_names() -> None:
    turned = dict(reversed(SOURCES.items()))
    assert all(np.array_equal(a, b) for a, b in zip(drawn(), drawn(0, turned), strict=True))
    assert not np.array_equal(np.concatenate(drawn(0)), np.concatenate(drawn(1)))


def test_unfit_mixtures_are_refused() -> None:
    with pytest.raises(ConfigError, match="add up to"):
        Mixture("m", {"web": 0.5})
    with pytest.raises(ConfigError, match="did you mean 'web'"):
        Sequences(Mixture("m", {"wbe": 1.0}), SOURCES, 8, 4, 5, 0)
    with pytest.raises(DataError, match="too few"):
        Sequences(MIXTURE, SOURCES, 100, 4, 5, 0)


def test_tokens_are_read_strictly(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no tokens can be read"):
        open_tokens(tmp_path)
    np.save(tmp_path / "tokens.npy", np.zeros((2, 2)))
    with pytest.raises(DataError, match="not token ids"):
        open_tokens(tmp_path)


def test_schedule_rises_and_falls() -> None:
    o = Optimiser(lr=1.0, warmup=0.1, floor=0.1, steps=100)
    rates = [o.lr_at(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert sorted(rates[10:], reverse=True) == rates[10:]


def test_budget_is_one_of_steps_and_tokens() -> None:
    assert Optimiser(tokens=1000, batch=2).steps_at(100) == 5
    for wrong in ({}, {"steps": 1, "tokens": 1}, {"steps": 0}, {"steps": 1, "lr": -1.0}):
        with pytest.raises(ConfigError):
            Optimiser(**wrong)  # type: ignore[arg-type]


def test_heads_share_out_the_width() -> None:
    with pytest.raises(ConfigError, match="do not share out"):
        Shape(width=100, heads=8)
