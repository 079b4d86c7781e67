"""Whether pretraining is balanced enough: both indicators, and what they foretell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from imprint.report import Verdict
from imprint.theory.balance import indicators
from imprint.theory.config import TheoryConfig
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
from imprint.theory.experiments.sizes import (
    columns_memory,
    moments_memory,
    seeds_of,
    setting_of,
    shares_of,
)
from imprint.theory.outcome import sharpness
from imprint.theory.pretraining import pretrained
from imprint.theory.sampler import draw_columns, draw_moments, draw_tasks
from imprint.theory.setting import Setting
from imprint.theory.verdicts import Level, below, grows

LENGTHS = (0.05, 0.125, 0.25, 0.5, 1, 1.5, 2, 2.5, 3, 12.5)
WEAK = (0.01, 0.03, 0.1, 0.2, 0.5, 1.0)
BY_N, BY_WEAK = "indicators against n", "indicators against the weak variance"
ERROR, SHARP = "error before SFT", "sharpness when outcome supervision starts"
TASKS = 2000  # test prompts of one realisation
SMALL = 20  # dimensions at most where Hessians are taken


def lengths(config: TheoryConfig) -> tuple[int, ...]:
    """Give the prompt lengths: those asked for, or multiples of d."""
    return config.n or shares_of(config.d, LENGTHS)


def _units(config: TheoryConfig, _: Path) -> Sequence[Unit]:
    return [
        *(_error_unit(config, n) for n in lengths(config)),
        *(_sharpness_unit(config, weak_eig) for weak_eig in WEAK),
    ]


def _error_unit(config: TheoryConfig, n: int) -> Unit:
    """Errors of the pretrained model on drawn test prompts, weak and known directions apart."""

    def work() -> Iterator[Point]:
        setting = setting_of(config, 0, n)
        weights = pretrained(setting)[:, None]
        for number, seed in enumerate(seeds_of(config, "error", n)):
            draw = np.random.default_rng(seed)
            tasks = draw_tasks(setting.d, TASKS, draw)
            columns = draw_columns(tasks, setting.test, setting.n_test, draw)
            errors = np.mean((tasks + weights * columns) ** 2, axis=1)
            yield ERROR, "weak", n, number, float(errors[: setting.weak].mean())
            yield ERROR, "known", n, number, float(errors[setting.weak :].mean())

    return Unit(f"error-n{n}", work, columns_memory(config.d, TASKS))


def _sharpness_unit(config: TheoryConfig, weak_eig: float) -> Unit:
    """Largest curvature of the outcome loss at the pretrained weights, on data of the shift."""

    def work() -> Iterator[Point]:
        setting = _small(config, weak_eig)
        for number, seed in enumerate(seeds_of(config, "sharpness")):
            draw = np.random.default_rng(seed)
            tasks = draw_tasks(setting.d, 5 * setting.d, draw)
            moments = draw_moments(setting.shift, setting.n_sft, 5 * setting.d, draw)
            weights = np.diag(pretrained(setting))
            for steps in config.cot:
                found = sharpness(weights, moments, tasks, steps, tolerance=1e-3, most=500)
                yield SHARP, f"k = {steps}", weak_eig, number, found

    small = _small(config, weak_eig)
    return Unit(f"sharpness-{weak_eig:g}", work, moments_memory(small.d, 5 * small.d))


def _small(config: TheoryConfig, weak_eig: float) -> Setting:
    small = replace(config, d=min(config.d, SMALL), weak_eig=weak_eig)
    return setting_of(small, 0, 10 * small.d)


def _lines(config: TheoryConfig) -> Iterator[Line]:
    for n in lengths(config):
        setting = setting_of(config, 0, n)
        found = indicators(setting)
        yield BY_N, "χ", "exact", n, float(found.chi[0])
        yield BY_N, "ν", "exact", n, float(found.nu[0])
        yield BY_N, "threshold", "exact", n, 1.0
        yield ERROR, "weak", "exact", n, float(found.start_error[: setting.weak].mean())
        yield ERROR, "known", "exact", n, float(found.start_error[setting.weak :].mean())
    for weak_eig in WEAK:
        found = indicators(_at(config, weak_eig))
        yield BY_WEAK, "χ", "exact", weak_eig, float(found.chi[0])
        yield BY_WEAK, "ν", "exact", weak_eig, float(found.nu[0])
        yield BY_WEAK, "threshold", "exact", weak_eig, 1.0


def _at(config: TheoryConfig, weak_eig: float) -> Setting:
    n = lengths(config)[len(lengths(config)) // 2]
    return setting_of(replace(config, weak_eig=weak_eig), 0, n)


def _conclude(config: TheoryConfig, curves: Curves) -> Conclusion:
    verdicts = [*_errors(config, curves), *_agreement(config), *_sharpness(config, curves)]
    small = _small(config, WEAK[0])
    return Conclusion(
        _headline(config, curves),
        verdicts,
        [regime(setting_of(config, 0, n)) for n in lengths(config)],
        [
            "χ = (Γ₀⁻¹Δ) is the published ratio, ν = |1 − Σ/Γ₀| the operator that training really "
            "starts from. They agree only where n is large against trΣ₀/Σ₀ of the direction.",
            f"Errors: {TASKS:,} test prompts per seed beside the exact value. Sharpness: largest "
            f"eigenvalue of the exact Hessian at the pretrained weights, d = {small.d}, "
            f"B = {5 * small.d}, n = {small.n_sft}, data with covariance Δ.",
            "Published as an argument of two lines, not as a theorem.",
        ],
        [
            Plot(
                "Both indicators of the weak directions. From 1 on the shift is a new task.",
                "Prompt length n",
                "Indicator",
                (BY_N,),
            ),
            Plot(
                "The same against the variance that pretraining gives the weak directions, at "
                f"n = {_at(config, 1).n_pre}.",
                "Weak variance in pretraining",
                "Indicator",
                (BY_WEAK,),
            ),
            Plot(
                "Error of the pretrained model on weak and on known directions. Points are medians "
                "over seeds with intervals, dashed lines exact.",
                "Prompt length n",
                panels=(ERROR,),
            ),
            Plot(
                "Largest curvature of the outcome loss at the pretrained weights. Left: hardly "
                "covered in pretraining.",
                "Weak variance in pretraining",
                "λ_max of the Hessian",
                (SHARP,),
            ),
        ],
        {"indicators": _table(config)},
    )


def _headline(config: TheoryConfig, curves: Curves) -> str:
    """Say from which prompt length on the weak directions are new, by either indicator."""
    said = []
    for name in ("χ", "ν"):
        new = [level.x for level in curves.line(BY_N, name, "exact") if level.median > 1]
        said.append(f"{name} exceeds 1 from n = {new[0]:g} on" if new else f"{name} stays below 1")
    last = curves.of(ERROR, "weak")[-1]
    return (
        f"On the directions that pretraining covers weakly {', '.join(said)}; the error there "
        f"before SFT is {last} per dimension at n = {last.x:g}, where answering nothing has 1."
    )


def _errors(config: TheoryConfig, curves: Curves) -> Iterator[Verdict]:
    """Tell for every indicator whether it and the error point the same way."""
    levels = curves.of(ERROR, "weak")
    for n, level in zip(lengths(config), levels, strict=True):
        nu = float(indicators(setting_of(config, 0, n)).nu[0])
        if nu > 1:
            text = f"n = {n}: with ν = {nu:.3g} the weak directions are worse than no answer."
            yield below(text, Level.exact(1.0), level, ("no answer", "weak directions"))


def _agreement(config: TheoryConfig) -> Iterator[Verdict]:
    for n in (lengths(config)[0], lengths(config)[-1]):
        found = indicators(setting_of(config, 0, n))
        chi, nu = float(found.chi[0]), float(found.nu[0])
        same = abs(chi - nu) <= 0.1 * max(chi, nu)
        yield Verdict(
            f"n = {n}: χ and ν agree within 10 %.",
            "holds" if same else "does_not_hold",
            f"χ = {chi:.3g}, ν = {nu:.3g}.",
        )


def _sharpness(config: TheoryConfig, curves: Curves) -> Iterator[Verdict]:
    for steps in config.cot:
        levels = curves.of(SHARP, f"k = {steps}")
        text = f"k = {steps}: weak coverage makes outcome supervision start sharper."
        yield grows(text, levels[::-1], "weak variance")


def _table(config: TheoryConfig) -> pl.DataFrame:
    rows = []
    for n in lengths(config):
        setting = setting_of(config, 0, n)
        found = indicators(setting)
        weak = found.start_error[: setting.weak].sum()
        rows.append(
            {
                "n": n,
                "chi": float(found.chi[0]),
                "nu": float(found.nu[0]),
                "spectral_radius": found.spec_radius,
                "start_radius": found.start_radius,
                "latent": bool(found.latent[0]),
                "error_before_sft": float(found.start_error.mean()),
                "weak_share_of_error": float(weak / found.start_error.sum()),
            }
        )
    return pl.DataFrame(rows)


EXPERIMENT = Experiment(
    "Balanced pretraining",
    "Which directions did pretraining leave too weak for post-training?",
    {
        "d": 400,
        "weak": 0.5,
        "weak_eig": 0.1,
        "n": (),
        "n_pre": None,
        "n_test": None,
        "cot": (2, 3),
        "seeds": 6,
    },
    _units,
    _lines,
    _conclude,
)
