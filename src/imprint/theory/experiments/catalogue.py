"""The experiments by name; each is loaded when it is asked for."""

from __future__ import annotations

import importlib

from imprint.errors import ConfigError, nearest
from imprint.theory.experiments.experiment import Experiment

HOME = "imprint.theory.experiments"
# name → module with its EXPERIMENT, and its line in the list
EXPERIMENTS = {
    "double-descent": (
        f"{HOME}.double_descent",
        "error after SFT against the number of prompts: peaks, falls, rises (figure 1)",
    ),
    "context-length": (
        f"{HOME}.context_length",
        "error after SFT against the prompt length, one n for all or SFT's alone (figure 2)",
    ),
    "interference": (
        f"{HOME}.interference",
        "what the scale of SFT data on known directions does: harmless at the right scale",
    ),
    "asymptotics": (
        f"{HOME}.asymptotics",
        "the high-dimensional formula, corrected and as printed, beside simulation (figure 5)",
    ),
    "curvature": (
        f"{HOME}.curvature",
        "how sharp outcome supervision is against the length of the chain of thought",
    ),
    "balance": (
        f"{HOME}.balance",
        "which directions pretraining left too weak, by both indicators",
    ),
    "training": (
        f"{HOME}.training",
        "linear self-attention trained by SFT and outcome supervision (figure 4)",
    ),
    "errata": (
        f"{HOME}.errata",
        "every numeric erratum of the paper rerun: printed, corrected, simulated",
    ),
    "gpt2": (
        "imprint.theory.gpt2.experiment",
        "a GPT-2-style transformer on the same task (figure 3); needs the extra `models`",
    ),
}


def named(name: str) -> Experiment:
    """Load an experiment.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in EXPERIMENTS:
        raise ConfigError(
            f"there is no experiment {name!r}; {nearest(name, EXPERIMENTS)}",
            remedy="`imprint theory` lists them.",
        )
    found: Experiment = importlib.import_module(EXPERIMENTS[name][0]).EXPERIMENT
    return found


def listing() -> str:
    """Write a line on each experiment."""
    width = max(map(len, EXPERIMENTS))
    return "\n".join(f"{name:<{width}}  {line}" for name, (_, line) in EXPERIMENTS.items())
