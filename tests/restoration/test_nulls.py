"""Nulls against published rows, simulation and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imprint.restoration import nulls
from imprint.restoration.nulls import gaussian_absolute, gaussian_relative, pairing

RATIOS = (0.01, 0.03, 0.05, 0.1, 0.2, 0.4, 0.6)
TABLE = {  # (sigma, eps): percent of the sum of r in the top of each ratio
    (0.010, 1e-8): (70.06, 77.98, 81.65, 86.63, 91.54, 96.17, 98.47),
    (0.015, 1e-8): (70.91, 78.60, 82.18, 87.01, 91.78, 96.28, 98.52),
    (0.020, 1e-8): (71.49, 79.03, 82.53, 87.26, 91.94, 96.35, 98.55),
    (0.030, 1e-8): (72.26, 79.59, 83.00, 87.61, 92.16, 96.45, 98.58),
    (0.015, 1e-4): (26.03, 42.80, 51.67, 64.31, 77.23, 89.65, 95.86),
    (0.015, 1e-6): (57.12, 68.43, 73.70, 80.83, 87.86, 94.51, 97.81),
    (0.015, 1e-10): (78.00, 83.82, 86.52, 90.18, 93.78, 97.19, 98.88),
    (0.015, 1e-12): (82.32, 86.99, 89.16, 92.10, 95.00, 97.74, 99.10),
}


@pytest.mark.parametrize(("sigma", "eps"), TABLE)
def test_gaussian_rows(sigma, eps):
    found = [100 * share for share in gaussian_relative(RATIOS, eps, sigma)]
    assert found == pytest.approx(TABLE[sigma, eps], abs=0.0051)


def test_gaussian_row_by_simulation():
    draw = np.random.default_rng(0)
    base, moved = np.abs(draw.normal(size=(2, 1_000_000)))
    found = np.sort(moved / (base + 0.01))[::-1]
    shares = [found[: int(q * len(found))].sum() / found.sum() for q in RATIOS]
    assert gaussian_relative(RATIOS, 0.01, 1.0) == pytest.approx(shares, abs=0.003)


def test_gaussian_ends():
    assert gaussian_relative([0.0, 1.0], 1e-8, 0.01) == [0.0, 1.0]
    assert math.isnan(gaussian_relative([0.1], 1e-8, 0.0)[0])


def test_absolute_closed_form():
    found = [100 * share for share in gaussian_absolute(RATIOS)]
    assert found == pytest.approx((3.6, 9.5, 14.7, 25.9, 44.0, 70.2, 87.2), abs=0.05)
    assert gaussian_absolute([1.0]) == [1.0]


def permutation(elements, draw, pairs):
    """Which change each weight meets."""
    met = np.empty(elements, int)
    for visit, (start, stop) in enumerate(pairs.visits):
        source, order = pairs.source(visit, draw)
        met[start:stop] = pairs.visits[source][0] + order
    return met


@pytest.mark.parametrize("elements", [0, 1, 1000, 1300, 1501, 4096])
def test_permutations_keep_every_value_once(monkeypatch, elements):
    monkeypatch.setattr(nulls, "CHUNK", 100)
    monkeypatch.setattr(nulls, "WHOLE", 1200)
    pairs = pairing(elements, 5, 0, "name")
    found = [permutation(elements, draw, pairs) for draw in range(5)]
    for met in found:
        assert np.array_equal(np.sort(met), np.arange(elements))
    assert elements < 2 or not np.array_equal(found[0], found[1])
    again = pairing(elements, 5, 0, "name")
    assert np.array_equal(found[0], permutation(elements, 0, again))
    other = pairing(elements, 5, 0, "other")
    assert elements < 2 or not np.array_equal(found[0], permutation(elements, 0, other))


def test_changes_that_are_met_early_are_read_before(monkeypatch):
    monkeypatch.setattr(nulls, "CHUNK", 10)
    monkeypatch.setattr(nulls, "WHOLE", 20)
    for seed in range(50):
        pairs = pairing(305, 3, seed, "name")
        for visit in range(len(pairs.visits)):
            for draw in range(3):
                source, _ = pairs.source(visit, draw)
                assert source in pairs.early or visit - max(pairs.offsets) <= source <= visit


def test_every_change_meets_every_weight(monkeypatch):
    monkeypatch.setattr(nulls, "CHUNK", 4)
    monkeypatch.setattr(nulls, "WHOLE", 2)
    draws = 4000
    met = np.zeros((12, 12))
    for seed in range(draws):
        met[np.arange(12), permutation(12, 0, pairing(12, 1, seed, "name"))] += 1
    expected = draws / 12
    assert np.abs(met - expected).max() < 5 * math.sqrt(expected)
