"""The experiments by name; each is loaded when it is asked for."""

from __future__ import annotations

import importlib

from imprint.errors import ConfigError, nearest
from imprint.theory.experiments.experiment import Experiment

# name → module with its EXPERIMENT, and its line in the list
EXPERIMENTS = {
    "double-descent": (
        "imprint.theory.experiments.double_descent",
        "error after SFT against the number of prompts: peaks, falls, rises (figure 1)",
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
