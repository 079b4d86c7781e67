"""How sharp the outcome loss is against the length of the chain of thought."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from imprint.report import State, Verdict
from imprint.theory.config import TheoryConfig
from imprint.theory.covariance import Covariance
from imprint.theory.experiments.experiment import (
    Conclusion,
    Curves,
    Experiment,
    Line,
    Plot,
    Point,
    Unit,
)
from imprint.theory.experiments.sizes import moments_memory, seeds_of, single
from imprint.theory.outcome import scale, sharpness, step_limit
from imprint.theory.sampler import draw_moments, draw_tasks
from imprint.theory.teacher_forcing import loss_weight
from imprint.theory.verdicts import Level, below, judged

RADII = (0.3, 0.9, 1.1, 1.5)
SIGNS = {"M positive": 1, "M negative": -1}
LAW = "k²ρ^(2k−2)"
FACTOR = 10


def _size(config: TheoryConfig) -> int:
    return single("sizes", config.sizes, 5 * config.d)


def _length(config: TheoryConfig) -> int:
    return single("n", config.n, 50 * config.d)


def _units(config: TheoryConfig, _: Path) -> Sequence[Unit]:
    n, prompts = _length(config), _size(config)

    def unit(panel: str, sign: int, radius: float, steps: int) -> Unit:
        def work() -> Iterator[Point]:
            for number, seed in enumerate(seeds_of(config, n, prompts)):
                draw = np.random.default_rng(seed)
                tasks = draw_tasks(config.d, prompts, draw)
                moments = draw_moments(Covariance(np.ones(config.d)), n, prompts, draw)
                weights = -(1 - sign * radius) * np.eye(config.d)
                found = sharpness(weights, moments, tasks, steps, tolerance=1e-3, most=500)
                yield panel, _curve(radius), steps, number, found

        memory = moments_memory(config.d, prompts)
        return Unit(f"{panel.replace(' ', '-')}-{radius:g}-k{steps}", work, memory)

    return [
        unit(panel, sign, radius, steps)
        for panel, sign in SIGNS.items()
        for radius in RADII
        for steps in config.cot
    ]


def _lines(config: TheoryConfig) -> Iterator[Line]:
    for panel in SIGNS:
        for radius in RADII:
            for steps in config.cot:
                yield panel, _curve(radius), LAW, steps, scale(radius, steps)


def _conclude(config: TheoryConfig, curves: Curves) -> Conclusion:
    verdicts = [
        *(_law(panel, radius, curves) for panel in SIGNS for radius in RADII),
        *_signs(config, curves),
    ]
    held = sum(v.state == "holds" for v in verdicts if LAW in v.text)
    plus, minus = (curves.of(panel, _curve(max(RADII)))[-1] for panel in SIGNS)
    grows = minus.median / plus.median
    return Conclusion(
        f"{LAW} is an order of magnitude, kept within a factor {FACTOR} in {held} of "
        f"{len(SIGNS) * len(RADII)} settings. With the overshooting sign, which a new task starts "
        f"from, λ_max is {grows:.3g} times as large at ρ = {max(RADII):g}, k = {plus.x:g}.",
        verdicts,
        [
            f"d = {config.d}, B = {_size(config)}, n = {_length(config)}, isotropic inputs, "
            "Ṽ = −(1 ∓ ρ)I, so that M = I + ṼS is near ±ρI; W̃ = I.",
            "M is near −Γ₀⁻¹Δ when outcome supervision starts: |M| < 1 is a task partly learned, "
            "|M| > 1 a new one.",
        ],
        [
            "Largest eigenvalue of the exact Hessian by power iteration on exact products.",
            f"Published: λ_max grows like {LAW} with the spectral radius. At finite n the "
            "operator norm counts, and S fluctuates: with M negative |Ṽ| is larger and so is what "
            "it multiplies.",
            "A step of gradient descent must stay below 2/λ_max. SFT's Hessian has the factor "
            "c_k = Σ(1 − η)^(2i) instead, which stays below 1/(2η − η²) for any k.",
        ],
        [
            Plot(
                "Largest eigenvalue of the Hessian of the outcome loss against the number of steps "
                f"k. Points are medians over seeds with intervals, dashed lines the law {LAW}.",
                "Steps k",
                "λ_max of the Hessian",
                log_x=False,
            )
        ],
        {"step_limits": _limits(config, curves)},
    )


def _law(panel: str, radius: float, curves: Curves) -> Verdict:
    levels = curves.of(panel, _curve(radius))
    first = levels[0]
    start = first.median / scale(radius, int(first.x))
    spans = [(v.low / scale(radius, int(v.x)), v.high / scale(radius, int(v.x))) for v in levels]
    text = f"{panel}, ρ = {radius:g}: λ_max follows {LAW} within a factor {FACTOR}."
    inside = all(low / start >= 1 / FACTOR and high / start <= FACTOR for low, high in spans)
    outside = any(high / start < 1 / FACTOR or low / start > FACTOR for low, high in spans)
    state: State = "holds" if inside else "does_not_hold" if outside else "undetermined"
    last = levels[-1]
    law = start * scale(radius, int(last.x))
    detail = f"At k = {last.x:g}: {last} against {law:.3g} from k = {first.x:g}."
    return judged(text, state, detail, *levels)


def _signs(config: TheoryConfig, curves: Curves) -> Iterator[Verdict]:
    steps = max(config.cot)
    if steps < 2:
        return
    for radius in RADII:
        plus, minus = (_at(curves.of(panel, _curve(radius)), steps) for panel in SIGNS)
        text = f"ρ = {radius:g}, k = {steps}: negative M is sharper."
        yield below(text, plus, minus, ("M positive", "M negative"))


def _at(levels: Sequence[Level], x: float) -> Level:
    return next(level for level in levels if level.x == x)


def _limits(config: TheoryConfig, curves: Curves) -> pl.DataFrame:
    rows = []
    for steps in config.cot:
        row: dict[str, float] = {"k": steps, "sft_c_k": loss_weight(steps, config.target_rate)}
        for panel in SIGNS:
            for radius in RADII:
                level = _at(curves.of(panel, _curve(radius)), steps)
                row[f"step_limit_at_{radius * SIGNS[panel]:+g}"] = step_limit(level.median)
        rows.append(row)
    return pl.DataFrame(rows)


def _curve(radius: float) -> str:
    return f"ρ = {radius:g}"


EXPERIMENT = Experiment(
    "Curvature of outcome supervision",
    "How sharp is the loss on the last step of a chain of thought, and which steps are stable?",
    {
        "d": 8,
        "target_rate": 0.2,
        "n": (),
        "sizes": (),
        "cot": (1, 2, 3, 5, 8),
        "seeds": 6,
    },
    _units,
    _lines,
    _conclude,
)
