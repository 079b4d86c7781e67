"""Nothing is planned into the outcome: labels dealt out at random teach nothing but chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from imprint.evaluation import EvaluateConfig, evaluate
from imprint.lab.chapters.asked import Item, chat, score
from imprint.lab.chapters.contrast import contrast
from imprint.lab.sft import SftSettings, sft
from training_support import COLOURS, THINGS, colour, lines, word_model

pytestmark = pytest.mark.filterwarnings("ignore")
SETTINGS = SftSettings(steps=200, batch=16, lr=5e-3, dtype="fp32", device="cpu")
ASKED = THINGS[:8]  # two of each colour
WORDS = ("mip", "nor", "what", "is")
BESIDE = [(f"{one} {other}", (n + m) % 2) for n, one in enumerate(WORDS)
          for m, other in enumerate(WORDS)]  # fmt: skip
TAUGHT, HELD = (
    [(thing, words) for thing in ASKED for words, part in BESIDE if part == side] for side in (0, 1)
)
Case = tuple[str, str]


def question(case: Case) -> str:
    return f"what colour is {case[0]} {case[1]} ?"


def dealt(thing: str) -> list[str]:
    """Every colour equally often, in an order that says nothing."""
    order = np.random.default_rng(ASKED.index(thing)).permutation(2 * len(COLOURS))
    return [COLOURS[at % len(COLOURS)] for at in order]


def held() -> list[Item]:
    return [chat(question(case), colour(case[0]), case[0]) for case in HELD]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The base, and models taught the truth or the same answers dealt out anew."""
    folder = tmp_path_factory.mktemp("chance")
    base = word_model(folder / "base")
    true = [colour(thing) for thing, _ in TAUGHT]
    shuffled = [told for thing in ASKED for told in dealt(thing)]
    for name, answers in (("true", true), ("shuffled", shuffled)):
        asked = zip(TAUGHT, answers, strict=True)
        rows = [chat(question(case), told, case[0]).taught for case, told in asked]
        sft(base, rows, folder / name, SETTINGS)
    return {name: folder / name for name in ("base", "true", "shuffled")}


def test_rollouts_find_chance(trained: dict[str, Path], tmp_path: Path) -> None:
    path = lines(tmp_path / "prompts.jsonl", [item.row for item in held()])
    config = EvaluateConfig(
        prompts=str(path), chat_template=("auto",), max_new_tokens=2, device="cpu", quiet=True
    )
    models = [str(trained[name]) for name in ("true", "shuffled")]
    rolled = evaluate(models, config).tables["rollouts"]
    rates = rolled.group_by("unit", maintain_order=True).agg(pl.col("passed").mean())["passed"]
    true, shuffled = rates
    assert true > 0.8
    assert abs(shuffled - 1 / len(COLOURS)) < 0.1


def test_a_contrast_of_chapters_finds_chance(trained: dict[str, Path]) -> None:
    items = held()
    found = {name: score(folder, items, device="cpu") for name, folder in trained.items()}
    chance = found["base"].with_columns(probability=np.full(len(items), 0.25))
    assert contrast([(found["true"], chance)]).low > 0.5
    shuffled = contrast([(found["shuffled"], chance)])
    assert shuffled.low < 0.05
    assert shuffled.estimate < 0.1
