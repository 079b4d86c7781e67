"""Thresholds against a full sort, whatever the chunks, streams and samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from imprint.errors import ConfigError
from imprint.restoration.histogram import Histogram
from imprint.restoration.scores import score
from imprint.restoration.selection import place_of, thresholds

RATIOS = [0.0, 0.01, 0.03, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0]


def streams_of(scores, chunk=1000, parts=1):
    pieces = np.array_split(scores, parts)

    def stream(number, values):
        def chunks():
            for at in range(0, len(values), chunk):
                yield number, at, values[at : at + chunk]

        return chunks

    return [stream(number, piece) for number, piece in enumerate(pieces)]


def toy():
    i = np.arange(10_000)
    base = ((i * 7919) % 1009 - 504.5) / 8192
    tuned = base + ((i * 104729) % 997 - 498) / 1048576
    return base.astype(np.float32), tuned.astype(np.float32)


def expected(scores, ratio, order):
    k = place_of(ratio, len(scores))
    if k == 0:
        return k, math.inf if order == "top" else -math.inf, 0, 0
    ordered = np.sort(scores)[:: -1 if order == "top" else 1]
    value = ordered[k - 1]
    beyond = scores > value if order == "top" else scores < value
    return k, float(value), int(beyond.sum()), int((scores == value).sum())


@settings(max_examples=30, deadline=None)
@given(
    arrays(np.float32, st.integers(1, 300), elements=st.floats(0, 1e10, width=32)),
    st.sampled_from(["top", "bottom"]),
    st.integers(1, 70),
    st.integers(1, 3),
    st.booleans(),
)
def test_thresholds_are_those_of_a_sort(scores, order, chunk, parts, sampled):
    sample = scores[::7].copy() if sampled else None
    found = thresholds(streams_of(scores, chunk, parts), RATIOS, order=order, sample=sample)
    for threshold in found:
        k, value, above, equal = expected(scores, threshold.ratio, order)
        assert (threshold.k, threshold.value) == (k, value)
        assert (threshold.above, threshold.equal) == (above, equal)
        assert threshold.take_equal == k - above


TOY = {  # ratio: threshold, index sum, share of the relative change, of the squared change
    0.01: (0.393023878, 507738, 46.6054, 1.5424),
    0.03: (0.129050136, 1503100, 59.9306, 4.4459),
    0.05: (0.0757662728, 2464130, 66.1208, 7.5427),
    0.1: (0.038215287, 4967744, 74.4499, 15.0090),
    0.2: (0.0193542205, 10003543, 82.8269, 29.9579),
    0.4: (0.00966652762, 20021748, 91.2416, 59.9624),
    0.6: (0.00617860071, 29991944, 96.1222, 87.1902),
}


def test_published_toy_vectors():
    base, tuned = toy()
    scores = score("relative", base, tuned)
    assert scores.max() == pytest.approx(7.373791878, rel=1e-7)
    assert scores.argmax() == 3149
    bins = {int(key) for key in scores.view(np.uint32) >> 16}
    counted = Histogram(dict.fromkeys(bins, 0), weighted=True)
    counted.add(scores, tuned - base)
    for threshold in thresholds(streams_of(scores, 777), list(TOY)):
        value, index_sum, share, squared = TOY[threshold.ratio]
        assert threshold.value == pytest.approx(value, rel=1e-8)
        assert threshold.equal == threshold.take_equal == 1
        chosen = np.flatnonzero(scores >= np.float32(threshold.value))
        assert len(chosen) == threshold.k
        assert chosen.sum() == index_sum
        cut = counted.cut(threshold.k)
        assert 100 * cut.total / counted.total() == pytest.approx(share, abs=5e-5)
        assert 100 * cut.weight / counted.weight.sum() == pytest.approx(squared, abs=5e-5)
    assert counted.total() == pytest.approx(318.689012540, rel=1e-7)


def test_a_good_sample_saves_the_second_pass():
    scores = np.random.default_rng(1).random(200_000).astype(np.float32)
    passes = []

    def stream():
        passes.append(1)
        yield 0, 0, scores

    thresholds([stream], [0.01, 0.2], sample=scores[::10].copy())
    assert len(passes) == 1
    thresholds([stream], [0.01, 0.2])
    assert len(passes) == 3


def test_sums_are_exact_in_any_order():
    scores = (np.random.default_rng(2).random(5000) ** 9).astype(np.float32)
    one, other = Histogram(), Histogram()
    one.add(scores)
    other.add(scores[::-1])
    assert one.total() == other.total() == math.fsum(scores.astype(np.float64))


@pytest.mark.parametrize(
    ("ratio", "k"),
    [
        (0.01, 69_793_218),
        (0.03, 209_379_655),
        (0.05, 348_966_092),
        (0.1, 697_932_185),
        (0.2, 1_395_864_371),
        (0.4, 2_791_728_742),
        (0.6, 4_187_593_113),
    ],
)
def test_counts_of_an_8b_model(ratio, k):
    assert place_of(ratio, 6_979_321_856) == k


def test_ratio_outside_is_refused():
    with pytest.raises(ConfigError, match="between 0 and 1"):
        place_of(1.2, 10)


def test_scores_are_never_nan():
    base = np.array([0, 0, 1, -3e38, -0.0], np.float32)
    tuned = np.array([0.5, 0, 1, 3e38, 0], np.float32)
    relative = score("relative", base, tuned)
    assert relative[:3].tolist() == [np.float32(0.5) / np.float32(1e-8), 0, 0]
    for scores in (relative, score("absolute", base, tuned)):
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        assert not np.signbit(scores).any()


def test_smallest_visible_relative_change_in_bfloat16():
    bits = np.arange(0x3C00, 0x3D00, dtype=np.uint32)
    base, tuned = ((b << 16).astype(np.uint32).view(np.float32) for b in (bits, bits + 1))
    assert score("relative", base, tuned).min() == pytest.approx(2**-8, rel=0.01)


@pytest.mark.parametrize("eps", [0.0, -1.0, 1e-60, math.inf, math.nan])
def test_eps_must_be_positive(eps):
    values = np.ones(3, np.float32)
    with pytest.raises(ConfigError, match="eps"):
        score("relative", values, values, eps)
