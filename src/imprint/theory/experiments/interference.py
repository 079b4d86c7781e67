"""What the scale of SFT data on known directions does: interference is a wrong scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from imprint.report import Verdict
from imprint.theory.asymptotics import limits
from imprint.theory.config import TheoryConfig
from imprint.theory.data_selection import interference_damage
from imprint.theory.experiments.double_descent import ENDLESS, references, simulated
from imprint.theory.experiments.experiment import (
    Conclusion,
    Curves,
    Experiment,
    Line,
    Plot,
    Point,
    Unit,
)
from imprint.theory.experiments.regime import regime
from imprint.theory.experiments.sizes import columns_memory, listed, seeds_of, setting_of, shares_of
from imprint.theory.setting import Setting
from imprint.theory.sft import sft_limit
from imprint.theory.verdicts import Level, below

SIZES = (0.25, 1.25, 5)
LENGTHS = (2,)
CURVE = "B infinite"
EXACT = 1e-9  # two exact values are equal up to this relative difference


def sizes(config: TheoryConfig) -> tuple[int, ...]:
    """Give the numbers of prompts: those asked for, or multiples of d."""
    return config.sizes or shares_of(config.d, SIZES)


def lengths(config: TheoryConfig) -> tuple[int, ...]:
    """Give the prompt lengths: those asked for, or 2d."""
    return config.n or shares_of(config.d, LENGTHS)


def scales(config: TheoryConfig) -> tuple[float, ...]:
    """Give the variances on known directions, with η·1, where the scale is right, among them."""
    return tuple(sorted({*config.interference, config.target_rate}))


def _units(config: TheoryConfig, _: Path) -> Sequence[Unit]:
    def unit(r: float, n: int, prompts: int) -> Unit:
        def work() -> Iterator[Point]:
            setting = setting_of(config, r, n)
            for number, seed in enumerate(seeds_of(config, r, n, prompts)):
                value = simulated(setting, prompts, seed)
                yield _panel(n), _curve(prompts), r, number, value

        return Unit(f"r{r:g}-n{n}-B{prompts}", work, columns_memory(config.d, prompts))

    return [
        unit(r, n, prompts)
        for n in lengths(config)
        for prompts in sizes(config)
        for r in scales(config)
    ]


def _lines(config: TheoryConfig) -> Iterator[Line]:
    for n in lengths(config):
        for r in scales(config):
            setting = setting_of(config, r, n)
            known = references(setting)
            yield _panel(n), CURVE, "exact", r, known[ENDLESS]
            yield _panel(n), "floor", "exact", r, known["floor"]
            if r:
                first_order = limits(setting).at_infinity
                yield _panel(n), CURVE, "first order (B.2)", r, first_order


def _conclude(config: TheoryConfig, curves: Curves) -> Conclusion:
    settings = [setting_of(config, r, n) for n in lengths(config) for r in scales(config)]
    verdicts = [v for n in lengths(config) for v in _judge(config, n, curves)]
    table = pl.DataFrame([_row(setting) for setting in settings], infer_schema_length=None)
    return Conclusion(
        _headline(config, curves),
        verdicts,
        [regime(setting) for setting in settings],
        [
            "SFT runs to its end in closed form with W̃ = I. Where the three prompt lengths are one "
            "n, the optimum at r = η equals the least error any linear map can reach.",
            "Published: smaller variance interferes more, without bound (B.2). That belongs to a "
            "first-order surrogate; the exact weight on a known direction stays below ηn/trA as "
            "r → 0, so the exact curve turns flat where the first-order one grows as 1/r².",
            f"B = {listed(sizes(config))}; points at r = 0 are not drawn on the logarithmic axis "
            "and stand in the table.",
        ],
        [
            Plot(
                "Error per dimension against the variance r of the SFT data on directions that "
                "pretraining knows. Points are medians over seeds with intervals; dashed lines are "
                "theory.",
                "Variance r on known directions",
            )
        ],
        {"scale": table},
    )


def _headline(config: TheoryConfig, curves: Curves) -> str:
    n, prompts = lengths(config)[-1], sizes(config)[-1]
    known = references(setting_of(config, config.target_rate, n))
    at = {level.x: level.median for level in curves.of(_panel(n), _curve(prompts))}
    said = (
        f"At r = η = {config.target_rate:g} and n = {n} infinitely many prompts end at "
        f"{known[ENDLESS]:.4g}, where the least possible error is {known['floor']:.4g}"
    )
    worst = max(at, key=lambda r: at[r])
    if worst == config.target_rate:
        return f"{said}."
    ratio = at[worst] / at[config.target_rate]
    return (
        f"{said}; at r = {worst:g} the error of B = {prompts} is {ratio:.3g} times that at r = η. "
        "Interference is a mismatch of scale, not the presence of other data."
    )


def _judge(config: TheoryConfig, n: int, curves: Curves) -> Iterator[Verdict]:
    right = setting_of(config, config.target_rate, n)
    known = references(right)
    gap = known[ENDLESS] / known["floor"] - 1
    yield Verdict(
        f"n = {n}: at r = η infinitely many prompts reach the floor.",
        "holds" if abs(gap) < EXACT else "does_not_hold",
        f"{known[ENDLESS]:.6g} against {known['floor']:.6g}.",
    )
    least = min((r for r in scales(config) if r), default=config.target_rate)
    if least == config.target_rate:
        return
    for prompts in sizes(config):
        at = {level.x: level for level in curves.of(_panel(n), _curve(prompts))}
        text = f"n = {n}, B = {prompts}: r = {least:g} does more harm than r = η."
        yield below(text, at[config.target_rate], at[least], ("r = η", f"r = {least:g}"))
    setting = setting_of(config, least, n)
    exact, first = references(setting)[ENDLESS], limits(setting).at_infinity
    text = f"n = {n}, r = {least:g}: the exact limit is less than half the first-order one."
    yield below(
        text, Level.exact(2 * exact), Level.exact(first), ("twice the exact limit", "first order")
    )


def _row(setting: Setting) -> dict[str, float | None]:
    r, rate = setting.interference, setting.target_rate
    known = references(setting)
    return {
        "n": setting.n_sft,
        "r": r,
        "r_over_eta": r / rate,
        "weight_in_the_limit": float(sft_limit(setting)[-1]),
        "weight_at_first_order": -rate / r if r else None,
        "damage": float(interference_damage(setting)[-1]) if r else None,
        "error_in_the_limit": known[ENDLESS],
        "error_at_first_order": limits(setting).at_infinity if r else None,
        "floor": known["floor"],
    }


def _panel(n: int) -> str:
    return f"n = {n}"


def _curve(prompts: int) -> str:
    return f"B = {prompts}"


EXPERIMENT = Experiment(
    "Interference in SFT",
    "What do SFT data do on directions that pretraining already knows?",
    {
        "d": 400,
        "weak": 0.5,
        "weak_eig": 0.1,
        "target_rate": 0.2,
        "interference": (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 1.0),
        "n": (),
        "n_pre": None,
        "n_sft": None,
        "n_test": None,
        "sizes": (),
        "seeds": 6,
    },
    _units,
    _lines,
    _conclude,
)
