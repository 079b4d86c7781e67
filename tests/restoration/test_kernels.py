"""The compiled loops against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from imprint.restoration import kernels
from imprint.restoration.histogram import Histogram
from imprint.restoration.scores import score

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40).flatmap(lambda n: arrays(np.float32, (2, n), elements=FINITE)))
def test_scores_are_those_of_numpy(pair):
    base, tuned = pair
    relative, absolute = np.empty_like(base), np.empty_like(base)
    same, near = kernels.score_changes(
        base, tuned, np.float32(1e-8), np.float32(1e-5), relative, absolute
    )
    assert np.array_equal(relative, score("relative", base, tuned))
    assert np.array_equal(absolute, score("absolute", base, tuned))
    assert same == (base.view(np.uint32) == tuned.view(np.uint32)).sum()
    assert near == (absolute <= np.float32(1e-5)).sum()


def test_counts_and_weights():
    draw = np.random.default_rng(0)
    scores = np.exp(draw.normal(size=10_000)).astype(np.float32)
    changes = draw.normal(size=10_000).astype(np.float32)
    coarse = scores.view(np.uint32) >> 16
    windows = {int(coarse[0]): 1000, int(coarse[1]): 0}
    found = Histogram(windows, weighted=True)
    for start in range(0, 10_000, 3000):
        found.add(scores[start : start + 3000], changes[start : start + 3000])
    assert np.array_equal(found.count, np.bincount(coarse, minlength=1 << 15))
    squares = np.bincount(coarse, changes.astype(np.float64) ** 2, minlength=1 << 15)
    assert found.weight == pytest.approx(squares)
    for at, first in windows.items():
        lows = (scores.view(np.uint32) & 0xFFFF)[coarse == at]
        inside = found.fine.inside(at)
        assert np.array_equal(inside.counts, np.bincount(lows, minlength=1 << 16)[first:])


def test_more_scores_than_packed_counts_hold():
    scores = np.full((1 << 22) + 5, 1.5, np.float32)
    found = Histogram()
    found.add(scores)
    found.add(scores[:7])
    assert found.elements == len(scores) + 7
    assert found.total() == 1.5 * found.elements


def test_a_negative_key_writes_nowhere_else():
    found = Histogram()
    found.add(np.array([-1.0, -0.0], np.float32))
    assert found.elements == 2


def test_permuted_scores():
    draw = np.random.default_rng(1)
    moved, size = np.abs(draw.normal(size=(2, 5000))).astype(np.float32)
    order = draw.permutation(5000).astype(np.int32)
    one, other = Histogram(), Histogram()
    one.add_permuted(moved, order, np.float32(1) / size)
    other.add(moved[order] * (np.float32(1) / size))
    assert np.array_equal(one.count, other.count)
    assert one.total() == other.total()


@pytest.mark.parametrize("changes", [None, np.ones(2, np.float32)])
def test_weights_must_come_along(changes):
    with pytest.raises(ValueError, match="changes"):
        Histogram(weighted=changes is None).add(np.ones(3, np.float32), changes)
