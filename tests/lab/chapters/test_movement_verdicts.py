"""Chapter 3 in words: trainings decide, few draws tell little."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

pytest.importorskip("trl", reason="trl is not installed")

from imprint.lab.chapters.movement_sets import EPOCH, LEVEL, STEPS, _repeated
from imprint.lab.chapters.movement_verdicts import _by_level, _by_size
from imprint.lab.chapters.movement_weights import _concentrated
from imprint.lab.chapters.part import Part

TEXTS = 30


def trained(seeds: int, spread: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Sets whose drift grows by .2 with size and with level; trainings differ by ``spread``."""
    random = np.random.default_rng(2)
    plans = {
        **{f"{size} {arm}": (arm, size, None) for size in (8, 64) for arm in (EPOCH, STEPS)},
        **{f"level {n}": (LEVEL, 8, n) for n in range(5)},
    }
    about, texts = [], []
    base = random.random(TEXTS)
    for name, (arm, size, level) in plans.items():
        for seed in range(seeds):
            kl = base + 0.2 * (size == 64) + 0.2 * ((level or 0) >= 3) + spread * random.normal()
            model = f"{name} {seed}"
            about.append({"model": model, "arm": arm, "size": size, "level": level, "seed": seed})
            texts += [{"model": model, "text": n, "kl": one} for n, one in enumerate(kl)]
    return pl.DataFrame(about, infer_schema_length=None), pl.DataFrame(texts)


@pytest.mark.parametrize(
    ("seeds", "spread", "size", "level"),
    [
        (1, 0.0, "cannot tell", "cannot tell"),
        (3, 0.001, "agrees", "disagrees"),
        (3, 0.5, "cannot tell", "cannot tell"),
    ],
)
def test_trainings_decide_and_not_texts_alone(
    seeds: int, spread: float, size: str, level: str
) -> None:
    found = Part()
    summary, texts = trained(seeds, spread)
    _by_size(found, summary, texts)
    _by_level(found, summary, texts)
    assert [one.stance for one in found.agreement] == [size, level]
    assert f"({'one training' if seeds == 1 else f'{seeds} trainings'} each)" in found.said


def test_each_set_is_trained_once_per_seed() -> None:
    plans = {"8 facts": ([], {"size": 8})}
    assert _repeated(plans, 1) == {"8 facts": ([], {"size": 8, "seed": 0})}
    assert [about["seed"] for _, about in _repeated(plans, 3).values()] == [0, 1, 2]


def test_few_draws_of_chance_give_a_wide_interval() -> None:
    row = {"top": 0.01, "share": 0.8, "null_permuted": 0.76, "null_permuted_sd": 0.0157}
    assert _concentrated(pl.DataFrame([row]), 0.01).stance == "cannot tell"
    assert _concentrated(pl.DataFrame([{**row, "share": 0.9}]), 0.01).stance == "agrees"
