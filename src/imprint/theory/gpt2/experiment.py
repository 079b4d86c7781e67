"""A GPT-2-style transformer on the same task: SFT and outcome supervision (figure 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imprint.report import Verdict
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
from imprint.theory.experiments.sizes import columns_memory, listed, seeds_of
from imprint.theory.gpt2.stages import length
from imprint.theory.setting import Setting
from imprint.theory.sft import sft_weights
from imprint.theory.test_error import test_error
from imprint.theory.verdicts import Level, below, falls_then_rises, grows

if TYPE_CHECKING:
    from imprint.theory.gpt2.stages import Stage, Stages

SIZES = (8, 64, 512)
PARTS = 10  # of pretraining, for a bar that tells the time left
TORCH = 400 * 2**20  # bytes of torch and transformers
BY_SIZE, BY_STEPS, LINEAR = "error against B", "error against k", "linear theory against B"
STAGES: tuple[Stage, ...] = ("SFT", "OS")
BEFORE = "before post-training"


def sizes(config: TheoryConfig) -> tuple[int, ...]:
    """Give the numbers of prompts."""
    return config.sizes or SIZES


def _units(config: TheoryConfig, folder: Path) -> Sequence[Unit]:
    length(config)  # a mistake is said before any work
    stages = _Lazily(config, folder)
    largest, first = max(sizes(config)), config.cot[0]
    return [
        *(_pretraining(config, stages, part) for part in range(1, PARTS)),
        Unit("pretrained", lambda: _before(config, stages), *_work(config, _share(config))),
        *(
            _trained(config, stages, stage, prompts, first, number)
            for stage in STAGES
            for prompts in sizes(config)
            for number in range(config.seeds)
        ),
        *(
            _trained(config, stages, stage, largest, steps, number)
            for stage in STAGES
            for steps in config.cot[1:]
            for number in range(config.seeds)
        ),
        *(_linear(config, prompts) for prompts in sizes(config)),
    ]


def _pretraining(config: TheoryConfig, stages: _Lazily, part: int) -> Unit:
    """Go on with pretraining up to a share of its steps; a checkpoint keeps it, no point."""

    def work() -> Iterator[Point]:
        stages.get().pretrained(round(part * _share(config)))
        yield from ()

    return Unit(f"pretraining-{part}", work, *_work(config, _share(config)))


def _share(config: TheoryConfig) -> float:
    return config.pretrain_steps / PARTS


def _work(config: TheoryConfig, steps: float, cot: int = 1) -> tuple[float, float]:
    """Give memory and cost of steps of training that run the model ``cot`` times each."""
    positions = 2 * length(config) + max(config.cot) + 9
    weights = config.layers * 12 * config.width**2 + (positions + 2 * config.d) * config.width
    kept = config.layers * positions * (34 * config.width + 2 * config.heads * positions)
    return TORCH + 4.0 * (4 * weights + cot * config.batch * kept), steps * cot


class _Lazily:
    """The stages, made when first used, so that a plan needs no torch."""

    def __init__(self, config: TheoryConfig, folder: Path):
        self._given = config, folder
        self._made: Stages | None = None

    def get(self) -> Stages:
        from imprint.theory.gpt2.stages import Stages

        self._made = self._made or Stages(*self._given)
        return self._made


def _before(config: TheoryConfig, stages: _Lazily) -> Iterator[Point]:
    model = stages.get().pretrained()
    for number, seed in enumerate(seeds_of(config, "test")):
        error = stages.get().error(model, config.cot[0], seed)
        for prompts in sizes(config):
            yield BY_SIZE, BEFORE, prompts, number, error
        for steps in config.cot:
            yield BY_STEPS, BEFORE, steps, number, stages.get().error(model, steps, seed)


def _trained(
    config: TheoryConfig, stages: _Lazily, stage: Stage, prompts: int, steps: int, number: int
) -> Unit:
    def work() -> Iterator[Point]:
        # the same prompts for both stages, sets nested in B
        seed = seeds_of(config, "prompts")[number]
        model = stages.get().post_trained(stage, prompts, steps, seed)
        error = stages.get().error(model, steps, seeds_of(config, "test")[number])
        if steps == config.cot[0]:
            yield BY_SIZE, stage, prompts, number, error
        if prompts == max(sizes(config)):
            yield BY_STEPS, stage, steps, number, error

    taken = (config.sft_steps, 1) if stage == "SFT" else (config.os_steps, steps)
    return Unit(f"{stage}-B{prompts}-k{steps}-{number}", work, *_work(config, *taken))


def _setting(config: TheoryConfig) -> Setting:
    """The linear theory's setting that comes nearest: SFT data at the scale of the test."""
    return Setting(
        d=config.d,
        weak=config.weak_directions,
        weak_eig=config.weak_eig,
        target_rate=config.target_rate,
        interference=config.target_rate,
    ).with_context(length(config))


def _linear(config: TheoryConfig, prompts: int) -> Unit:
    def work() -> Iterator[Point]:
        setting = _setting(config)
        for number, seed in enumerate(seeds_of(config, "linear", prompts)):
            weights = sft_weights(setting, prompts, seed)
            error = test_error(weights, setting.test, setting.n_test)
            yield LINEAR, "SFT, linear attention", prompts, number, error

    return Unit(f"linear-B{prompts}", work, columns_memory(config.d, prompts))


def _lines(config: TheoryConfig) -> Iterator[Line]:
    """Error of answering nothing, 1 per dimension."""
    for prompts in sizes(config):
        yield BY_SIZE, "no answer", "exact", prompts, 1.0
    for steps in config.cot:
        yield BY_STEPS, "no answer", "exact", steps, 1.0


def _conclude(config: TheoryConfig, curves: Curves) -> Conclusion:
    verdicts = list(_claims(config, curves))
    told = ", ".join(f"{stage} {_last(curves, stage)}" for stage in STAGES)
    before = curves.of(BY_SIZE, BEFORE)[-1]
    decided = sum(verdict.state != "undetermined" for verdict in verdicts)
    return Conclusion(
        f"Error per dimension at B = {max(sizes(config))}: {told}; before post-training {before}. "
        f"{decided} of {len(verdicts)} claims are decided by {config.seeds} seeds.",
        verdicts,
        [f"The linear theory at these sizes: {regime(_setting(config), max(sizes(config)))}"],
        _protocol(config),
        [
            Plot(
                "Error per dimension of the transformer against the number of post-training "
                "prompts. Points are medians over seeds with intervals.",
                "Prompts B",
                panels=(BY_SIZE,),
            ),
            *(
                [
                    Plot(
                        "The same against the steps k, in training and test alike, at the largest "
                        "B.",
                        "Steps k",
                        panels=(BY_STEPS,),
                        log_x=False,
                    )
                ]
                if len(config.cot) > 1
                else []
            ),
            Plot(
                "Linear attention after SFT to its end, one step at test time: the shape that the "
                "theory gives, not the same number.",
                "Prompts B",
                panels=(LINEAR,),
            ),
        ],
    )


def _last(curves: Curves, stage: str) -> Level:
    return curves.of(BY_SIZE, stage)[-1]


def _claims(config: TheoryConfig, curves: Curves) -> Iterator[Verdict]:
    before = curves.of(BY_SIZE, BEFORE)[-1]
    by_size = {stage: curves.of(BY_SIZE, stage) for stage in STAGES}
    yield below("The pretrained model answers better than nothing.", before, Level.exact(1.0))
    for stage, levels in by_size.items():
        text = f"{stage} improves on the pretrained model at B = {levels[-1].x:g}."
        yield below(text, levels[-1], before)
        if len(levels) > 1:
            text = f"{stage} improves from B = {levels[0].x:g} to {levels[-1].x:g}."
            yield grows(text, levels[::-1])
    yield falls_then_rises("SFT falls, then rises with B.", by_size["SFT"])
    yield below(
        f"OS ends better than SFT at B = {max(sizes(config))}.",
        by_size["OS"][-1],
        by_size["SFT"][-1],
    )
    if len(config.cot) > 1:
        levels = curves.of(BY_STEPS, "OS")
        text = f"OS worsens from k = {levels[0].x:g} to {levels[-1].x:g}."
        yield grows(text, levels)


def _protocol(config: TheoryConfig) -> list[str]:
    n = length(config)
    return [
        f"GPT-2 with {config.layers} layers, {config.heads} heads, width {config.width}; input "
        f"x₁, y₁, …, x_n, y_n, (w₀, 1), … with n = {n}, d = {config.d}; Adam at "
        f"{config.learning_rate:g}, batches of {config.batch}.",
        f"Pretraining: {config.pretrain_steps:,} steps on fresh prompts, teacher-forced over 8 "
        "steps of the targets (section 8 of the paper says k = 8, its section 3 none); a "
        "curriculum grows coordinates and examples over the first half.",
        f"SFT: {config.sft_steps:,} teacher-forced steps with η = {config.target_rate:g}. OS: "
        f"{config.os_steps:,} steps through k free-running steps. Data and test have Σ₀ + Δ; "
        f"k = {listed(config.cot)}; B = {listed(sizes(config))}, each prompt from a seed of its "
        "own, larger sets holding smaller ones.",
        "One pretrained model: the spread is over post-training prompts, batches and tests, not "
        "over pretrainings.",
        "Not stated in the paper: d, n, grids of B, learning rate, optimiser, schedule of the "
        "curriculum, η, steps of pretraining. Its shapes are not expected at other sizes.",
    ]


EXPERIMENT = Experiment(
    "A transformer on the same task",
    "Does a GPT-2-style model show the shapes of the linear theory?",
    {
        "d": 5,
        "weak": 0.2,
        "weak_eig": 0.1,
        "target_rate": 0.5,
        "n": (),
        "sizes": SIZES,
        "cot": (3, 1),
        "seeds": 6,
        "batch": 32,
        "learning_rate": 1e-3,
        "layers": 4,
        "heads": 4,
        "width": 64,
        "pretrain_steps": 1500,
        "sft_steps": 50,
        "os_steps": 50,
        "test_prompts": 256,
        "device": None,
    },
    _units,
    _lines,
    _conclude,
    {
        "d": 20,
        "n": (41,),
        "sizes": (64, 256, 1024, 4096),
        "batch": 64,
        "learning_rate": 1e-4,
        "layers": 12,
        "heads": 8,
        "width": 256,
        "pretrain_steps": 500_000,
        "sft_steps": 100,
        "os_steps": 12_000,
        "seeds": 10,
    },
)
