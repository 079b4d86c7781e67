"""The experiment that tests the plan's advice, in a small size, and its arithmetic."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("trl", reason="trl is not installed")

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    # the experiment sets these for its own process
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    threads = torch.get_num_threads()
    yield importlib.import_module("plan_outcome")
    torch.set_num_threads(threads)


def outcome(rates: dict[str, np.ndarray], cells: list[str]) -> pl.DataFrame:
    """Outcomes of arms, each [seeds, items]."""
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "item": f"i{at}",
            "cell": cells[at],
            "level": at % 5,
            "rate": float(value),
            "greedy": float(value > 0.5),
        }
        for arm, values in rates.items()
        for seed, own in enumerate(values)
        for at, value in enumerate(own)
    ]
    return pl.DataFrame(rows)


def test_answers_of_the_world_are_right(bench) -> None:
    pool, tests = bench.pool_and_tests(20, 8, 0)
    assert not {one.prompt for one in pool} & {one.prompt for one in tests}
    for one in [*pool, *tests]:
        asked = one.prompt.strip()
        if one.domain == "add":
            assert sum(map(int, asked.split("+"))) == int(one.answer)
        elif one.domain == "modulo":
            number, by = map(int, asked.split("%"))
            assert number % by == int(one.answer)
        elif one.domain == "reverse":
            assert asked.removeprefix("r:")[::-1] == one.answer
        elif one.domain == "sort":
            assert sorted(asked.removeprefix("s:")) == list(one.answer)
        elif one.domain == "count":
            _, letter, text = asked.split(":")
            assert text.count(letter) == int(one.answer)
        else:
            assert len(one.answer) == len(asked) - 2


def test_a_difference_shared_by_all_is_shown_and_chance_is_not(bench) -> None:
    chances = np.random.default_rng(0)
    cells = [f"c{at // 5}" for at in range(60)]
    base = chances.uniform(size=(5, 60))
    better = bench.compared(
        outcome({"one": base + 0.1, "other": base}, cells), "one", "other", "rate"
    )
    assert better["difference"] == pytest.approx(0.1)
    assert (better["low"], better["high"]) == pytest.approx((0.1, 0.1))
    assert (better["ahead"], better["verdict"]) == (5, "better")
    noise = chances.normal(0, 0.2, (5, 60))
    same = outcome({"one": base + noise - noise.mean(), "other": base}, cells)
    assert bench.compared(same, "one", "other", "rate")["verdict"] == "no difference shown"


def test_tasks_of_a_cell_stand_or_fall_together(bench) -> None:
    # one cell of twelve gains much: were tasks drawn singly, the interval would exclude 0
    cells = [f"c{at // 20}" for at in range(240)]
    gain = np.where(np.arange(240) < 20, 0.5, 0.0)
    found = bench.compared(
        outcome({"one": np.tile(gain, (5, 1)), "other": np.zeros((5, 240))}, cells),
        "one",
        "other",
        "rate",
    )
    assert found["low"] == 0
    assert found["verdict"] == "no difference shown"


@pytest.mark.filterwarnings("ignore")  # of trl and what it brings along
def test_a_small_experiment_from_end_to_end(bench, tmp_path: Path) -> None:
    sizes = bench.Sizes(
        steps=150,
        width=32,
        pool=6,
        tests=2,
        samples=4,
        subset=12,
        sft_steps=2,
        sft_batch=4,
        rl_steps=2,
        rl_prompts=2,
        rl_group=4,
        seeds=2,
    )
    found = bench.experiment(tmp_path / "run", sizes)
    arms = found["arms"]
    assert arms["arm"].to_list() == ["base", *bench.ARMS]
    assert arms["seed"].to_list() == [1] + [2] * len(bench.ARMS)
    assert arms["rate"].is_between(0, 1).all()
    assert len(found["pairs"]) == 2 * len(bench.PAIRS)
    page = bench.as_page(found, sizes)
    for name in bench.NAMES.values():
        assert name in page
    # what is finished is not done again
    for path in (tmp_path / "run/outcomes").iterdir():
        path.touch()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run/outcomes").iterdir()}
    again = bench.experiment(tmp_path / "run", sizes)
    assert again["pairs"].equals(found["pairs"])
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run/outcomes").iterdir()}
