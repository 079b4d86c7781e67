"""The mixture plan."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprint.forecast.material import Text
from imprint.forecast.mixture import allocate, choose, shares, training_file


def test_examples_follow_the_excess() -> None:
    share = shares(np.array([3.0, 1.0, -2.0, np.nan]))
    assert share == pytest.approx([0.75, 0.25, 0, 0])
    assert allocate(share, 8, most=[100] * 4) == [6, 2, 0, 0]
    assert shares(np.array([9.0, 1.0]), temperature=2) == pytest.approx([0.75, 0.25])
    assert shares(np.array([-1.0, -2.0])) == pytest.approx([0.5, 0.5])


def test_the_split_that_the_published_scores_imply() -> None:
    # 220 items for engineering and law, by the in-context and by the activation score
    assert allocate(shares(np.array([9.433, 5.486])), 220, most=[999, 999]) == [139, 81]
    assert allocate(shares(np.array([5.110, 3.213])), 220, most=[999, 999]) == [135, 85]


def test_floor_cap_and_what_a_domain_has() -> None:
    share = np.array([0.8, 0.1, 0.1])
    assert allocate(share, 100, cap=50, most=[999] * 3) == [50, 25, 25]
    assert allocate(share, 100, floor=20, most=[999] * 3) == [60, 20, 20]
    assert allocate(share, 100, most=[10, 999, 5]) == [10, 85, 5]
    assert allocate(share, 100, most=[10, 10, 10]) == [10, 10, 10]


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=12),
    st.integers(1, 500),
    st.integers(0, 5),
    st.integers(5, 100),
)
def test_the_budget_is_met_where_limits_allow(
    scores: list[float], budget: int, floor: int, cap: int
) -> None:
    share = shares(np.array(scores))
    most = [60] * len(scores)
    found = allocate(share, budget, floor=floor, cap=cap, most=most)
    high = min(cap, 60)
    assert all(floor <= n <= high for n in found)
    reachable = sum(high if s > 1e-12 else floor for s in share)
    least = floor * len(scores)
    if not any(0 < s < 1e-9 for s in share):
        assert abs(sum(found) - min(max(budget, least), max(reachable, least))) <= 1


def test_texts_are_drawn_and_written_with_their_origin() -> None:
    texts = [Text(str(n), "ab"[n % 2], f"q{n}") for n in range(20)]
    chosen = choose(texts, {"a": 3, "b": 0}, seed=1)
    assert [text.group for text in chosen] == ["a"] * 3
    sft = [Text("0", "s", "what", "that")]
    rows = [json.loads(line) for line in training_file(sft, [(chosen[0], "ümlaut")]).splitlines()]
    assert rows[0] == {"prompt": "what", "completion": "that", "domain": "s", "origin": "sft"}
    assert (rows[1]["completion"], rows[1]["origin"]) == ("ümlaut", "base model")
