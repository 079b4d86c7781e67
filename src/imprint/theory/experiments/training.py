"""Linear self-attention trained by Adam, under the protocols that figure 4 leaves open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from imprint.report import Verdict
from imprint.theory.balance import balance
from imprint.theory.config import TheoryConfig
from imprint.theory.experiments.adam import (
    Schedule,
    outcome_gradient,
    rollout_error,
    supervised_gradient,
    train,
)
from imprint.theory.experiments.experiment import (
    Conclusion,
    Curves,
    Experiment,
    Line,
    Plot,
    Point,
    Unit,
)
from imprint.theory.experiments.sizes import listed, moments_memory, seeds_of, setting_of, shares_of
from imprint.theory.pretraining import pretrained
from imprint.theory.sampler import draw_moments, draw_tasks
from imprint.theory.setting import Setting
from imprint.theory.test_error import test_error
from imprint.theory.verdicts import falls_then_rises, flat, grows

Stage = Literal["SFT", "OS"]
STAGES: tuple[Stage, ...] = ("SFT", "OS")
SIZES = (0.1, 0.2, 0.5, 1, 2, 4)
LENGTHS = (0.2, 0.5, 1, 2, 4)
COTS = (1, 2, 4)
BATCHES = {"full batch": False, "minibatches": True}
DATA = {"A = Δ": False, "A = Σ₀ + Δ": True}
TEST_STEPS = (1, 3)
TIED = "n of all"
SWEEPS = {
    "B": ("the number of prompts", "Prompts B"),
    "n": ("the prompt length of post-training", "Prompt length n"),
    TIED: ("the prompt length of pretraining, post-training and test", "Prompt length n"),
    "k": ("the steps in training", "Steps k"),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One trained model up to its seed.

    Attributes:
        sweep: what varies: ``B``, ``n`` of post-training, ``n of all`` three, or ``k``.
        x: its value.
        stage, data, batches: what is trained on what, and how.
        prompts, n, steps: B, the prompt length of post-training, and k.
    """

    sweep: str
    x: float
    stage: Stage
    data: str
    batches: str
    prompts: int
    n: int
    steps: int

    @property
    def curve(self) -> str:
        """Its name among the curves of a panel."""
        return f"{self.stage}, {self.data}"

    def panel(self, test_steps: int) -> str:
        """Name the panel of its error after so many steps at test time."""
        return f"{self.batches}, test k = {test_steps}, against {self.sweep}"

    @property
    def name(self) -> str:
        """Name its unit in the ledger."""
        data = "both" if DATA[self.data] else "shift"
        how = "mini" if BATCHES[self.batches] else "full"
        return f"{self.stage}-{data}-{how}-{self.sweep.replace(' ', '-')}-{self.x:g}"


def sizes(config: TheoryConfig) -> tuple[int, ...]:
    """Give the numbers of prompts: those asked for, or multiples of d."""
    return config.sizes or shares_of(config.d, SIZES)


def lengths(config: TheoryConfig) -> tuple[int, ...]:
    """Give the prompt lengths of post-training: those asked for, or multiples of d."""
    return config.n or shares_of(config.d, LENGTHS)


def cases(config: TheoryConfig) -> list[Case]:
    """List every model that is trained: sweeps over B, n and k, the others at the middle."""
    prompts, n, steps = config.d, 2 * config.d, config.cot[0]
    swept_steps = sorted({*config.cot} if len(config.cot) > 1 else {*COTS, steps})
    swept: list[tuple[str, float, int, int, int]] = [
        *(("B", size, size, n, steps) for size in sizes(config)),
        *((sweep, n, prompts, n, steps) for sweep in ("n", TIED) for n in lengths(config)),
        *(("k", k, prompts, n, k) for k in swept_steps),
    ]
    return [
        Case(sweep, x, stage, data, batches, *rest)
        for batches in BATCHES
        for stage in STAGES
        for data in DATA
        for sweep, x, *rest in swept
    ]


def _units(config: TheoryConfig, _: Path) -> Sequence[Unit]:
    def unit(case: Case) -> Unit:
        def work() -> Iterator[Point]:
            prompts = seeds_of(config, case.sweep, case.x, case.data)
            for number, seeds in enumerate(zip(prompts, seeds_of(config, "test"), strict=True)):
                for steps, error in _trained(config, case, *seeds).items():
                    yield case.panel(steps), case.curve, case.x, number, error

        most = max(case.prompts, config.test_prompts)
        return Unit(case.name, work, 2 * moments_memory(config.d, most))

    return [unit(case) for case in cases(config)]


def _trained(config: TheoryConfig, case: Case, seed: int, test_seed: int) -> dict[int, float]:
    """Train one model; its error per dimension by steps at test time.

    Stages and batches share their prompts, and all cases their test.
    """
    setting, draw = _setting(config, case), np.random.default_rng(seed)
    data = setting.test if DATA[case.data] else setting.shift
    tasks = draw_tasks(config.d, case.prompts, draw)
    moments = draw_moments(data, case.n, case.prompts, draw)
    start = np.diag(pretrained(setting)), np.eye(config.d)
    gradient = (
        supervised_gradient(case.steps, config.target_rate)
        if case.stage == "SFT"
        else outcome_gradient(case.steps)
    )
    batch = config.batch if BATCHES[case.batches] else None
    schedule = Schedule(config.epochs, batch, config.learning_rate)
    weights = train(start, gradient, moments, tasks, schedule, draw)
    draw = np.random.default_rng(test_seed)
    tested = draw_tasks(config.d, config.test_prompts, draw)
    tests = draw_moments(setting.test, setting.n_test, config.test_prompts, draw)
    return {steps: rollout_error(weights, tests, tested, steps) for steps in TEST_STEPS}


def _setting(config: TheoryConfig, case: Case | None = None) -> Setting:
    """Pretraining and test at n = 2d unless held elsewhere, or at the n of post-training."""
    tied = case is not None and case.sweep == TIED
    return setting_of(config, 0, case.n if tied and case else 2 * config.d)


def _lines(config: TheoryConfig) -> Iterator[Line]:
    """Errors after one step before post-training; after more there is no closed form."""
    for panel, x, setting in dict.fromkeys(
        (case.panel(1), case.x, _setting(config, case)) for case in cases(config)
    ):
        error = test_error(pretrained(setting), setting.test, setting.n_test)
        yield panel, "before post-training", "exact", x, error


def _conclude(config: TheoryConfig, curves: Curves) -> Conclusion:
    verdicts = [
        verdict
        for batches in BATCHES
        for data in DATA
        for verdict in _claims(config, batches, data, curves)
    ]
    setting = _setting(config)
    found = balance(setting.pretraining, setting.shift, setting.n_pre, setting.n_test)
    held = sum(verdict.state == "holds" for verdict in verdicts)
    return Conclusion(
        f"{held} of {len(verdicts)} readings of figure 4 hold; which depends on full batch or "
        "minibatches, on the data and on the steps at test time, none of which it states.",
        verdicts,
        [
            f"d = {config.d}, {config.weak_directions} weak directions with variance "
            f"{config.weak_eig:g} in pretraining; n = {setting.n_pre} in pretraining, "
            f"{setting.n_test} in the test; χ = {found.chi[0]:.3g}, ν = {found.nu[0]:.3g} there."
        ],
        [
            f"Adam at {config.learning_rate:g}, {config.epochs} epochs, on Ṽ and W̃ (the blocks "
            "that population training keeps), from the closed form of pretraining. Full batch: "
            f"{config.epochs} steps whatever B. Minibatches of {config.batch}: more prompts are "
            "more steps.",
            f"SFT is teacher-forced with η = {config.target_rate:g}, OS sees the last step alone; "
            f"both with k = {config.cot[0]} where k is not swept. B = {listed(sizes(config))}; "
            f"n of post-training = {listed(lengths(config))}; elsewhere B = {config.d}, "
            f"n = {2 * config.d}.",
            "Not stated in the paper: grids of B, n and k, batch size, η, prompt length of "
            "pretraining, the shape of Δ, which weights move, the start. Errors are those after "
            f"{listed(TEST_STEPS)} steps at test time, on {config.test_prompts} prompts.",
            "Published: SFT falls then rises with B and n and is flat in k; OS improves with B and "
            "n and worsens with k. The verdicts say which protocol gives which.",
        ],
        [
            Plot(
                f"Error per dimension against {what}. Points are medians over seeds with "
                "intervals; the dashed line is the error before post-training, after one step.",
                title,
                panels=tuple(
                    f"{batches}, test k = {steps}, against {sweep}"
                    for batches in BATCHES
                    for steps in TEST_STEPS
                ),
            )
            for sweep, (what, title) in SWEEPS.items()
        ],
        {"claims": _table(verdicts)},
    )


def _table(verdicts: Sequence[Verdict]) -> pl.DataFrame:
    """Set the claims against the protocols, the data being part of the claim."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for verdict in verdicts:
        protocol, _, claim = verdict.text.partition(": ")
        batches, data, test = protocol.split(", ")
        row = rows.setdefault((claim, data), {"claim": claim, "data": data})
        row[f"{batches}, {test}"] = verdict.state
    return pl.DataFrame(list(rows.values()))


def _claims(config: TheoryConfig, batches: str, data: str, curves: Curves) -> Iterator[Verdict]:
    for steps in TEST_STEPS:
        told = f"{batches}, {data}, test k = {steps}"
        panels = {x: f"{batches}, test k = {steps}, against {x}" for x in SWEEPS}
        sft = {x: curves.of(panel, f"SFT, {data}") for x, panel in panels.items()}
        os = {x: curves.of(panel, f"OS, {data}") for x, panel in panels.items()}
        yield falls_then_rises(f"{told}: SFT falls, then rises with B.", sft["B"])
        yield falls_then_rises(f"{told}: SFT falls, then rises with n.", sft["n"])
        yield falls_then_rises(f"{told}: SFT falls, then rises with n of all.", sft[TIED])
        yield flat(f"{told}: SFT is flat in k.", sft["k"])
        for sweep in ("B", "n", TIED):
            yield grows(f"{told}: OS improves from least to most {sweep}.", os[sweep][::-1])
        yield grows(f"{told}: OS worsens from least to most k.", os["k"])


EXPERIMENT = Experiment(
    "Training linear self-attention",
    "Which training protocol gives the published curves of SFT and outcome supervision?",
    {
        "d": 30,
        "weak": 0.2,
        "weak_eig": 0.1,
        "target_rate": 1.0,
        "n": (),
        "n_pre": None,
        "n_test": None,
        "sizes": (),
        "cot": (3,),
        "seeds": 6,
        "epochs": 130,
        "batch": 10,
        "learning_rate": 1e-3,
        "test_prompts": 256,
    },
    _units,
    _lines,
    _conclude,
    {"d": 100, "seeds": 10, "test_prompts": 512},
)
