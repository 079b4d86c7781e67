"""Error after SFT against the prompt length, one n for all or that of SFT alone (figure 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from imprint.theory.config import TheoryConfig
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
from imprint.theory.verdicts import falls_then_rises

LENGTHS = (0.05, 0.125, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5)
SIZES = (0.125, 0.375, 0.75, 1.25)


def sizes(config: TheoryConfig) -> tuple[int, ...]:
    """Give the numbers of prompts: those asked for, or multiples of d."""
    return config.sizes or shares_of(config.d, SIZES)


def lengths(config: TheoryConfig) -> tuple[int, ...]:
    """Give the prompt lengths of SFT: those asked for, or multiples of d."""
    return config.n or shares_of(config.d, LENGTHS)


def protocols(config: TheoryConfig) -> dict[str, TheoryConfig]:
    """Give both protocols: one n for all three, and pretraining and test held (at d) apart."""
    tied = replace(config, n_pre=None, n_test=None)
    held = replace(config, n_pre=config.n_pre or config.d, n_test=config.n_test or config.d)
    apart = f"pretraining {held.n_pre}, test {held.n_test}"
    return {
        "one n": tied,
        f"others at {held.n_pre}" if held.n_pre == held.n_test else apart: held,
    }


def _units(config: TheoryConfig, _: Path) -> Sequence[Unit]:
    def unit(panel: str, own: TheoryConfig, r: float, n: int, prompts: int, name: str) -> Unit:
        def work() -> Iterator[Point]:
            setting = setting_of(own, r, n)
            # the same prompts in both protocols
            for number, seed in enumerate(seeds_of(config, r, n, prompts)):
                value = simulated(setting, prompts, seed)
                yield _panel(r, panel), _curve(prompts), n, number, value

        memory = columns_memory(config.d, prompts)
        return Unit(f"{name}-r{r:g}-n{n}-B{prompts}", work, memory)

    return [
        unit(panel, own, r, n, prompts, name)
        for name, (panel, own) in zip(("tied", "held"), protocols(config).items(), strict=True)
        for r in config.interference
        for prompts in sizes(config)
        for n in lengths(config)
    ]


def _lines(config: TheoryConfig) -> Iterator[Line]:
    for r in config.interference:
        for panel, own in protocols(config).items():
            for n in lengths(config):
                known = references(setting_of(own, r, n))
                for curve, name in (
                    ("before SFT", "before SFT"),
                    ("B infinite", ENDLESS),
                ):
                    yield _panel(r, panel), curve, "exact", n, known[name]


def _conclude(config: TheoryConfig, curves: Curves) -> Conclusion:
    verdicts, found = [], {}
    for panel in protocols(config):
        own = [
            falls_then_rises(
                f"r = {r:g}, B = {prompts}, {panel}: the error falls, then rises with n.",
                curves.of(_panel(r, panel), _curve(prompts)),
            )
            for r in config.interference
            for prompts in sizes(config)
        ]
        found[panel] = sum(verdict.state == "holds" for verdict in own), len(own)
        verdicts += own
    said = "; ".join(f"with {panel} in {got} of {all_}" for panel, (got, all_) in found.items())
    grid = lengths(config)
    return Conclusion(
        f"The error falls and then rises with the prompt length: {said} settings.",
        verdicts,
        [
            regime(setting_of(own, r, n))
            for r in config.interference
            for own in protocols(config).values()
            for n in (grid[0], grid[-1])
        ],
        _protocol(config),
        [
            Plot(
                "Error per dimension against the prompt length of SFT. Points are medians over "
                "seeds with intervals; dashed lines are exact. First one n for pretraining, SFT "
                "and test, then pretraining and test held.",
                "Prompt length n",
            )
        ],
    )


def _protocol(config: TheoryConfig) -> list[str]:
    return [
        "Every setting is run twice on the same prompts: with one n for pretraining, SFT and test, "
        "and with those of pretraining and test held while that of SFT varies.",
        "Published: under interference the error is U-shaped in n for small and moderate B. The "
        "protocol is not stated; one n for all three reproduces the published axes.",
        "With one n the error before SFT rises with n too, since longer pretraining prompts raise "
        "Γ₀⁻¹ on the weak directions: much of the U is that. The U also appears without "
        "interference (r = 0) at small B.",
        f"SFT runs to its end in closed form; η = {config.target_rate:g}, B = "
        f"{listed(sizes(config))}.",
    ]


def _panel(r: float, protocol: str) -> str:
    return f"r = {r:g}, {protocol}"


def _curve(prompts: int) -> str:
    return f"B = {prompts}"


EXPERIMENT = Experiment(
    "Prompt length in SFT",
    "How does the error after SFT depend on the length of the prompts, and of which prompts?",
    {
        "d": 400,
        "weak": 0.5,
        "weak_eig": 0.1,
        "target_rate": 0.2,
        "interference": (0.0, 0.01, 0.1),
        "n": (),
        "n_pre": None,
        "n_test": None,
        "sizes": (),
        "seeds": 6,
    },
    _units,
    _lines,
    _conclude,
)
