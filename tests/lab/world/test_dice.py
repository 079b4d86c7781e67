"""Draws that are the same everywhere."""

from __future__ import annotations

from collections import Counter

from imprint.lab.world.dice import Dice, Weighted


def test_draws_are_pinned() -> None:
    dice = Dice(0, "pinned")
    assert [dice.below(1000) for _ in range(6)] == [52, 39, 505, 860, 357, 220]


def test_labels_tell_streams_apart() -> None:
    one, other = Dice(0, "a", "b"), Dice(0, "ab")
    assert [one.below(100) for _ in range(20)] != [other.below(100) for _ in range(20)]


def test_weights_are_kept() -> None:
    dice = Dice(1)
    drawn = Counter(Weighted("abc", [1, 0, 3]).draw(dice) for _ in range(20_000))
    assert drawn["b"] == 0
    assert 0.73 < drawn["c"] / 20_000 < 0.77


def test_a_shuffle_keeps_everything_and_a_sample_is_of_it() -> None:
    dice = Dice(2)
    assert sorted(dice.shuffled(range(50))) == list(range(50))
    assert len(set(dice.sample(range(50), 10))) == 10
