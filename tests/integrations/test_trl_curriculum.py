"""The curriculum: its estimates, its draws, and the order TRL expects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imprint.errors import CheckpointError, ConfigError, DataError
from imprint.integrations.trl import Band, Curriculum


def pool(rates: list[float], n: int = 32, **settings: float) -> Curriculum:
    return Curriculum(len(rates), Band(**settings), rates=rates, rollouts=[n] * len(rates))


def test_the_estimate_is_the_posterior_mean() -> None:
    one = Curriculum(3, Band(drift=0))
    one.record([0, 0, 0, 2], [True, True, False, False])
    # nothing was measured before: the pool's mean is 1/2 and counts for two rollouts
    np.testing.assert_allclose(one.rates(), [3 / 5, 1 / 2, 1 / 3])
    assert one.seen.tolist() == [3, 0, 1]


def test_a_rate_measured_before_counts_for_no_more_than_trust() -> None:
    passed, failed = pool([0.25, 0.25], n=1000, trust=8).posterior()
    mean = 501 / 2002  # of the pool, which counts for two
    np.testing.assert_allclose(passed, 2 + 2 * mean)
    np.testing.assert_allclose(failed, 6 + 2 * (1 - mean))
    np.testing.assert_allclose(pool([0.25], n=4).weight, 4)


def test_old_rollouts_count_less_and_the_mean_stays() -> None:
    one = Curriculum(4, Band(half_life=2, drift=0))
    one.record([0] * 8, [True] * 8)
    for _ in range(4):
        one.draw(1)
    passed, failed = one.posterior()
    np.testing.assert_allclose((passed[0], failed[0]), (4 * 0.9, 4 * 0.1))
    one.record([0], [False])
    passed, failed = one.posterior()
    np.testing.assert_allclose((passed[0], failed[0]), (3.6, 1.4))


def test_the_spread_of_measured_rates_says_what_the_pool_counts_for() -> None:
    chances = np.random.default_rng(0)
    for a, b in ((0.5, 1.0), (2.0, 4.0)):
        true = chances.beta(a, b, 4000)
        rates = chances.binomial(16, true) / 16
        assert pool(rates.tolist(), n=16).prior == pytest.approx(a + b, rel=0.15)
    assert pool([0.5] * 50, n=16).prior == 10  # no spread beyond chance
    assert pool([0.0, 1.0] * 50, n=16).prior == 0.3


def test_progress_follows_what_all_gain_together() -> None:
    chances = np.random.default_rng(1)
    level = chances.normal(0, 1, 200)
    one = Curriculum(200, rates=1 / (1 + np.exp(-level)), rollouts=[64] * 200)
    for step in range(60):
        chosen = one.draw(16)
        rate = 1 / (1 + np.exp(-(level[chosen] + 0.03 * step)))
        one.record(np.repeat(chosen, 8), chances.random(128) < np.repeat(rate, 8))
    assert one.progress == pytest.approx(0.03 * 60, abs=0.5)
    unseen = one.seen == 0
    true = 1 / (1 + np.exp(-(level + 0.03 * 60)))
    if unseen.any():
        assert abs(one.rates()[unseen] - true[unseen]).mean() < 0.12


def zero_signal(order: str, seed: int) -> float:
    """Share of groups of eight that are all alike, late in a run in which all prompts gain."""
    chances = np.random.default_rng(seed)
    level = chances.normal(-2, 4, 600)
    measured = chances.binomial(16, 1 / (1 + np.exp(-level))) / 16
    one = Curriculum(600, rates=measured, rollouts=[16] * 600, seed=seed)
    band = np.flatnonzero((measured >= 0.2) & (measured <= 0.8))
    alike = []
    for step in range(160):
        fixed = {"any": np.arange(600), "band": band}
        if order in fixed:
            chosen = chances.choice(fixed[order], 16, replace=False)
        else:
            chosen = np.array(one.draw(16))
        right = chances.binomial(8, 1 / (1 + np.exp(-(level[chosen] + 0.025 * step))))
        alike.append(np.mean((right == 0) | (right == 8)))
        one.record(np.repeat(chosen, 8), np.concatenate([np.arange(8) < k for k in right]))
    return float(np.mean(alike[-40:]))


def test_groups_keep_their_signal_as_the_policy_moves() -> None:
    late = {name: zero_signal(name, 0) for name in ("any", "band", "curriculum")}
    assert late["curriculum"] < 0.5 * late["any"]
    assert late["curriculum"] < 0.5 * late["band"]


def test_draws_stay_in_the_band_and_explore_the_rest_in_turn() -> None:
    rates = [0.0] * 40 + [0.5] * 20 + [1.0] * 40
    one = pool(rates, n=64, trust=64, explore=0.2)
    inside = np.array([sum(40 <= at < 60 for at in one.draw(10)) for _ in range(50)])
    # what explores may fall inside too
    assert inside.mean() > 7.5
    # two of ten slots walk through all prompts, unseen ones first
    assert (one.drawn >= 0).all()


def test_without_exploring_hardly_anything_outside_is_drawn() -> None:
    one = pool([0.0] * 40 + [0.5] * 20 + [1.0] * 40, n=64, trust=64, explore=0)
    drawn = np.concatenate([one.draw(5) for _ in range(40)])
    assert ((drawn >= 40) & (drawn < 60)).mean() > 0.99


def test_the_band_follows_the_policy() -> None:
    one = pool([0.5] * 10 + [0.0] * 10, trust=8, explore=0)
    for _ in range(30):
        chosen = one.draw(5)
        # what was in the middle is learnt, what was out of reach comes within it
        one.record(np.repeat(chosen, 8), [at < 10 or k % 2 == 0 for at in chosen for k in range(8)])
    late = np.concatenate([one.draw(5) for _ in range(10)])
    assert (late >= 10).mean() > 0.9


def test_a_draw_depends_on_seed_number_and_rollouts_alone() -> None:
    def run(seed: int) -> list[list[int]]:
        one = Curriculum(50, seed=seed)
        found = []
        for _ in range(5):
            found.append(one.draw(6))
            one.record(found[-1], [at % 2 == 0 for at in found[-1]])
        return found

    assert run(0) == run(0) != run(1)
    assert all(len(set(batch)) == 6 for batch in run(0))


def test_the_state_comes_back_exactly(tmp_path: Path) -> None:
    one = pool([0.1, 0.5, 0.9, 0.4])
    one.record(one.draw(2), [True, False])
    one.save(tmp_path / "state.npz", "these")
    other = Curriculum(4)
    other.load(tmp_path / "state.npz", "these")
    assert [other.draw(2) for _ in range(5)] == [one.draw(2) for _ in range(5)]
    np.testing.assert_array_equal(other.rates(), one.rates())
    assert other.epoch == one.epoch


def test_a_foreign_missing_or_damaged_state_is_refused(tmp_path: Path) -> None:
    one, path = pool([0.1, 0.5]), tmp_path / "state.npz"
    with pytest.raises(CheckpointError, match="has no curriculum"):
        one.load(path, "these")
    one.save(path, "these")
    with pytest.raises(CheckpointError, match="other prompts"):
        one.load(path, "those")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        one.load(path, "these")


@pytest.mark.parametrize(
    ("rates", "n", "said"),
    [
        ([0.5, 1.2], [8, 8], "row 2: pass_rate is 1.2"),
        ([0.5, 0.2], [8, 0], "row 2: pass_rate stands without rollouts"),
        ([0.5, 0.2], None, "row 1: pass_rate stands without rollouts"),
    ],
)
def test_bad_rates_are_refused(rates: list[float], n: list[float] | None, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Curriculum(2, rates=rates, rollouts=n)


def test_unknown_rates_are_unseen_prompts() -> None:
    one = Curriculum(2, rates=[float("nan"), 0.5], rollouts=[float("nan"), 8])
    np.testing.assert_allclose(one.rates(), [0.5, 0.5])
    assert one.weights()[1] > one.weights()[0]


@pytest.mark.parametrize(
    "bad", [{"low": 0.9}, {"high": 1.5}, {"explore": 2}, {"half_life": 0}, {"drift": -1}]
)
def test_settings_without_sense_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Band(**bad)


def test_too_few_prompts_are_said() -> None:
    with pytest.raises(DataError, match="takes 5 different prompts, and there are 2"):
        Curriculum(2).draw(5)
