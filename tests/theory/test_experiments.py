"""The experiments: known numbers, the same numbers after a kill, and gradients."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from imprint.errors import ConfigError
from imprint.theory import theory
from imprint.theory.config import TheoryConfig
from imprint.theory.covariance import Covariance
from imprint.theory.experiments.adam import (
    Schedule,
    outcome_gradient,
    rollout_error,
    supervised_gradient,
    train,
)
from imprint.theory.experiments.catalogue import EXPERIMENTS, named
from imprint.theory.experiments.experiment import gather
from imprint.theory.experiments.sizes import seeds_of, shares_of
from imprint.theory.outcome import gradient
from imprint.theory.sampler import draw_moments, draw_tasks
from imprint.theory.study import describe, open_run, perform, prepare
from imprint.theory.test_error import test_error as exact_error

SMALL: dict[str, dict[str, Any]] = {
    "double-descent": {"d": 20, "seeds": 2},
    "context-length": {"d": 20, "seeds": 2, "interference": (0.0, 0.1)},
    "interference": {"d": 20, "seeds": 2},
    "asymptotics": {"d": 30, "seeds": 2},
    "curvature": {"d": 4, "seeds": 2, "cot": (1, 2)},
    "balance": {"d": 20, "seeds": 2, "cot": (1,)},
    "training": {"d": 5, "seeds": 1, "epochs": 2, "test_prompts": 4},
    "errata": {"d": 20, "seeds": 2},
}

SIZED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "double-descent": ({"sizes": (10,)}, {"sizes": (5000,)}),
    "curvature": ({"d": 4}, {"d": 40}),
    "training": ({"d": 20}, {"d": 100}),
    "gpt2": ({"width": 32}, {"width": 256}),
}


def run(name: str, **settings: Any) -> Any:
    return theory(name, quiet=True, **settings)


def test_every_experiment_has_a_small_version_here() -> None:
    assert set(SMALL) == set(EXPERIMENTS) - {"gpt2"}


@pytest.mark.parametrize("name", SMALL)
def test_points_of_a_smaller_run_are_those_of_a_larger(name: str) -> None:
    few, more = (run(name, **{**SMALL[name], "seeds": seeds}).tables["points"] for seeds in (1, 2))
    assert few.equals(more.filter(pl.col("seed") == 0))


@pytest.mark.parametrize("name", SMALL)
def test_another_seed_gives_other_points(name: str) -> None:
    one, other = (run(name, **SMALL[name], seed=seed).tables["points"]["value"] for seed in (0, 1))
    assert not np.allclose(one.to_numpy(), other.to_numpy())


def test_peaks_lie_where_the_prompts_just_suffice() -> None:
    found = run("double-descent", d=120, n=(240,), sizes=(55, 60, 65, 115, 120, 125), seeds=9)
    peaks = [verdict for verdict in found.verdicts if "peaks" in verdict.text]
    assert [verdict.state for verdict in peaks] == ["holds"] * 3


@pytest.mark.parametrize(
    ("r", "prompts", "expected"), [(0.01, 100, 2.92), (0.1, 300, 3.17), (0.0, 800, 0.593)]
)
def test_medians_of_the_first_figure(r: float, prompts: int, expected: float) -> None:
    found = run("double-descent", interference=(r,), n=(800,), sizes=(prompts,), seeds=3)
    assert found.tables["curves"]["median"][0] == pytest.approx(expected, rel=0.05)


def test_small_sets_beat_infinitely_many_prompts_in_some_settings_only() -> None:
    settings = {"interference": (0.01,), "sizes": (50, 100), "n": (400, 800)}
    found = run("double-descent", **settings)
    states = [v.state for v in found.verdicts if "small set" in v.text]
    assert states == ["does_not_hold", "holds"]


def test_the_protocol_decides_about_the_u_in_the_prompt_length() -> None:
    found = run("context-length", interference=(0.01,), sizes=(50, 150), n=(20, 100, 1000))
    states = {(v.text.split(":")[0]): v.state for v in found.verdicts}
    tied, held = "one n", "others at 400"
    assert states[f"r = 0.01, B = 50, {tied}"] == "holds"
    assert states[f"r = 0.01, B = 50, {held}"] == "does_not_hold"
    assert states[f"r = 0.01, B = 150, {held}"] == "does_not_hold"


def test_interference_vanishes_at_the_right_scale() -> None:
    found = run("interference", d=40, n=(80,), seeds=1)
    table = found.tables["scale"].filter(pl.col("r") == 0.2)
    assert table["error_in_the_limit"][0] == pytest.approx(table["floor"][0], rel=1e-12)
    assert table["damage"][0] == 0


def test_pieces_of_the_corrected_formula() -> None:
    found = run("asymptotics", seeds=1, sizes=(480,))
    row = found.tables["pieces"].filter(pl.col("n") == 1000).row(0, named=True)
    assert row["q"] == pytest.approx(218.77, abs=0.005)
    assert row["error_corrected"] == pytest.approx(11.777, abs=0.0005)
    assert row["error_printed"] == pytest.approx(10.50, abs=0.005)


def test_the_printed_formula_misses_where_the_corrected_does_not() -> None:
    found = run("asymptotics", n=(5000,), sizes=(240, 360))
    assert [verdict.state for verdict in found.verdicts] == ["holds", "does_not_hold"]


def test_errata_are_confirmed() -> None:
    found = run("errata", d=60)
    assert {verdict.state for verdict in found.verdicts} == {"holds"}


def test_exact_errors_before_sft_lie_within_the_drawn_ones() -> None:
    found = run("balance", d=60, seeds=9, cot=(1,))
    rows = found.tables["curves"].drop_nulls("exact")
    inside = rows.select(pl.col("exact").is_between(pl.col("low"), pl.col("high")))
    assert inside.to_series().mean() >= 0.8


def test_sharpness_at_one_step_does_not_depend_on_the_weights() -> None:
    found = run("curvature", d=4, seeds=2, cot=(1,)).tables["curves"]
    assert found["median"].max() == pytest.approx(found["median"].min(), rel=1e-3)


def drawn(d: int = 4, prompts: int = 6) -> tuple[Any, Any, Any, Any]:
    draw = np.random.default_rng(3)
    inputs = draw.standard_normal((prompts, d, 9))
    moments = inputs @ inputs.transpose(0, 2, 1) / 9
    value, key = -0.4 * np.eye(d) + 0.1 * draw.standard_normal((2, d, d))
    return value, key + np.eye(d), moments, draw.standard_normal((d, prompts))


@pytest.mark.parametrize("steps", [1, 3])
def test_outcome_gradients_by_differences(steps: int) -> None:
    value, key, moments, tasks = drawn()

    def loss(value: Any, key: Any) -> float:
        total = 0.0
        for moment, task in zip(moments, tasks.T, strict=True):
            estimate = np.zeros_like(task)
            for _ in range(steps):
                estimate = estimate + value @ moment @ (key @ estimate - task)
            total += float(np.sum((estimate - task) ** 2)) / 2
        return total / len(moments)

    found = outcome_gradient(steps)((value, key), moments, tasks)
    for which, by in enumerate(found):
        expected = np.empty_like(by)
        for at in np.ndindex(by.shape):
            ends = []
            for sign in (1, -1):
                moved = [value.copy(), key.copy()]
                moved[which][at] += sign * 1e-5
                ends.append(loss(*moved))
            expected[at] = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(by, expected, rtol=1e-5, atol=1e-7)


def test_outcome_gradient_at_the_identity_is_that_of_the_theory() -> None:
    value, _, moments, tasks = drawn()
    found, _ = outcome_gradient(3)((value, np.eye(4)), moments, tasks)
    np.testing.assert_allclose(found, gradient(value, moments, tasks, 3), rtol=1e-10)


def test_training_lowers_the_loss_and_repeats() -> None:
    value, key, moments, tasks = drawn()
    schedule = Schedule(epochs=20, batch=2, learning_rate=1e-2)
    start = value, key
    ends = [
        train(
            start, supervised_gradient(2, 0.5), moments, tasks, schedule, np.random.default_rng(1)
        )
        for _ in range(2)
    ]
    np.testing.assert_array_equal(ends[0][0], ends[1][0])
    before, after = (
        np.linalg.norm(supervised_gradient(2, 0.5)(weights, moments, tasks)[0])
        for weights in (start, ends[0])
    )
    assert after < before


def test_the_error_of_one_step_is_that_of_the_theory() -> None:
    draw, test = np.random.default_rng(2), Covariance(np.array([1.5, 1.0, 0.3]))
    weights = np.diag([-0.5, -0.7, -1.0])
    tasks, moments = draw_tasks(3, 20_000, draw), draw_moments(test, 12, 20_000, draw)
    found = rollout_error((weights, np.eye(3)), moments, tasks, 1)
    assert found == pytest.approx(exact_error(weights, test, 12), rel=0.02)


def test_full_batches_take_one_step_an_epoch() -> None:
    value, key, moments, tasks = drawn()
    calls = []

    def counting(weights: Any, moments: Any, tasks: Any) -> Any:
        calls.append(len(moments))
        return weights

    for batch in (None, 4):
        schedule = Schedule(epochs=3, batch=batch, learning_rate=1e-3)
        train((value, key), counting, moments, tasks, schedule, np.random.default_rng(1))
    assert calls == [6] * 3 + [4, 2] * 3


def test_a_run_cut_short_goes_on_with_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = prepare("double-descent", {**SMALL["double-descent"], "quiet": True})
    whole = theory("double-descent", **SMALL["double-descent"], quiet=True)
    place, calls = "imprint.theory.experiments.double_descent.sft_weights", []

    def killed(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 41:
            raise KeyboardInterrupt
        return original(*given)

    from imprint.theory.sft import sft_weights as original

    monkeypatch.setattr(place, killed)
    with pytest.raises(KeyboardInterrupt):
        perform(study, open_run(study, tmp_path))
    monkeypatch.setattr(place, original)
    run = open_run(study, tmp_path)
    found = perform(study, run)
    assert len(run.resumed) == 20
    assert found.tables["points"].equals(whole.tables["points"])
    assert found.json() == whole.json()


def test_seeds_depend_on_the_point_and_the_seed() -> None:
    config = TheoryConfig(seeds=3)
    assert seeds_of(config, 1, 2) == seeds_of(config, 1, 2)
    assert seeds_of(config, 1, 2) != seeds_of(config, 2, 1)
    assert seeds_of(TheoryConfig(seeds=5), 1, 2)[:3] == seeds_of(config, 1, 2)


def test_grids_are_multiples_of_d() -> None:
    assert shares_of(10, (0.01, 0.5, 1), 5) == (1, 5, 10)


def test_settings_that_an_experiment_does_not_read() -> None:
    with pytest.raises(ConfigError, match="does not read 'layers'"):
        prepare("curvature", {"layers": 2})
    with pytest.raises(ConfigError, match="did you mean 'seeds'"):
        prepare("curvature", {"sedes": 2})
    with pytest.raises(ConfigError, match="no experiment 'curvatur'; did you mean 'curvature'"):
        prepare("curvatur", {})


def test_what_the_user_says_wins_over_the_paper() -> None:
    assert prepare("training", {"paper_size": True}).config.d == 100
    assert prepare("training", {"paper_size": True, "d": 10}).config.d == 10


@pytest.mark.parametrize(
    "wrong",
    [
        {"d": 1},
        {"weak": 0.0001},
        {"weak": 1.5},
        {"weak_eig": 0.0},
        {"target_rate": 1.5},
        {"interference": (-1.0,)},
        {"interference": (float("nan"),)},
        {"n": (0,)},
        {"n_pre": 0},
        {"seeds": 0},
    ],
)
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        prepare("double-descent", wrong)


def test_curves_without_theory_and_theory_without_points() -> None:
    points = pl.DataFrame(
        {"panel": ["p"] * 2, "curve": ["c"] * 2, "x": [1.0] * 2, "seed": [0, 1], "value": [1.0, 3]}
    )
    curves = gather(points, [("p", "c", "exact", 2.0, 5.0)])
    assert curves.table["median"].to_list() == [2.0]
    assert curves.table["exact"].to_list() == [None]
    assert [level.median for level in curves.line("p", "c", "exact")] == [5.0]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_plans_need_no_work(name: str, tmp_path: Path) -> None:
    study = prepare(name, {})
    units = study.experiment.units(study.config, tmp_path)
    assert len({unit.name for unit in units}) == len(units)
    assert named(name).question.endswith("?")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_plans_say_how_much_memory(name: str, tmp_path: Path) -> None:
    few, many = (prepare(name, {"seeds": 1, **sized}) for sized in SIZED.get(name, ({}, {})))
    told = describe(few, tmp_path)
    assert re.search(r"about [1-9][\d,]* MiB of memory at its peak", told)
    needs = [max(u.memory for u in s.experiment.units(s.config, tmp_path)) for s in (few, many)]
    assert 0 < needs[0] <= needs[1]
    assert needs[0] < needs[1] or name not in SIZED
    assert all(unit.cost > 0 for unit in few.experiment.units(few.config, tmp_path))


@pytest.mark.parametrize(
    "setting", [{"sizes": (5, 5)}, {"interference": (0.1, 0.1)}, {"n": (9, 9)}]
)
def test_a_value_twice_would_count_its_seeds_twice(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="holds a value twice"):
        prepare("double-descent", setting)


def test_the_first_regime_is_read_without_a_click() -> None:
    result = run("double-descent", d=20, seeds=1, sizes=(5, 20))
    page, regime = result.html(), result.notes["conclusion"].regime
    assert len(regime) > 4
    assert page.index(regime[0].split(";")[0]) < page.index(f"{len(regime) - 1} more")
