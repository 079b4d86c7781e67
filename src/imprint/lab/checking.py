"""Refusing a study that cannot go well, before its first unit is built."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imprint.configuration import build
from imprint.errors import ConfigError, DataError, nearest
from imprint.lab.mixtures import FINEST, check_mixtures

if TYPE_CHECKING:
    from imprint.lab.config import Scale, StudyConfig

LAST_SEED = 2**31  # seeds of replicates lie above the study's and must be seeds of torch, too
LEAST = {"workers": 1, "threads": 1, "processes": 1, "limit": 1, "seed": 0, "resamples": 100}
OF_BUDGET = {"resamples": 100, "rl_runs": 0}  # all else is at least 1
TRACKERS = ("tensorboard", "wandb", "trackio")
DEVICE = re.compile(r"(cpu|cuda|mps|xpu|npu)(:\d+)?")
FORMS = ("none", "auto")  # of chat templates that are no file
FILES = ("models", "facts", "templates", "texts", "domains")


def check(config: StudyConfig) -> None:
    """Refuse settings that do not make sense.

    Raises:
        ConfigError: such a setting, by its key.
        DataError: a file that is named is absent.
    """
    from imprint.lab.config import CHAPTERS

    if (config.base is None) != (config.tuned is None):
        raise ConfigError("--base and --tuned name a pair; one of them is missing")
    for name in config.analyses:
        if name not in CHAPTERS:
            raise ConfigError(f"no analysis {name!r}: {nearest(name, CHAPTERS)}")
    _check_numbers(config)
    _check_machine(config)
    if config.trains:
        _check_grid(config)
    elif config.base is None and config.models is None:
        raise ConfigError("`scales` names no model size, and no checkpoints are given")
    _check_files(config)


def _check_machine(config: StudyConfig) -> None:
    for name in filter(None, (part.strip() for part in config.report_to.split(","))):
        if name not in TRACKERS:
            raise ConfigError(f"no tracker {name!r}: {nearest(name, TRACKERS)}", where="report_to")
    if config.device is not None and not DEVICE.fullmatch(config.device):
        raise ConfigError(f"no device {config.device!r}", where="device", remedy="cpu, cuda, …")
    if config.processes > 1 and config.engine != "transformers":
        problem = f"processes is {config.processes} and engine is {config.engine!r}"
        raise ConfigError(
            problem, remedy="several processes share a run with engine: transformers."
        )
    if config.engine == "batched" and config.device not in (None, "cpu"):
        problem = f"engine is 'batched' and device is {config.device!r}"
        raise ConfigError(problem, remedy="leave the engine to auto, or take the device cpu.")


def _check_numbers(config: StudyConfig) -> None:
    for key, value in _numbers("", asdict(config)):
        if not math.isfinite(value):
            raise ConfigError(f"{value} is no finite number", where=key)
    values = {name: getattr(config, name) for name in LEAST}
    _at_least(values, LEAST, "")
    if config.seed >= LAST_SEED:
        raise ConfigError(f"seed {config.seed} is not below {LAST_SEED}")
    budget = asdict(config.budget)
    _at_least(budget, {name: OF_BUDGET.get(name, 1) for name in budget}, "budget.")
    for ratio in config.budget.ratios:
        if not 0 < ratio < 1:
            raise ConfigError(f"budget.ratios: {ratio:g} is no share between 0 and 1")


def _at_least(values: Mapping[str, Any], least: Mapping[str, int], above: str) -> None:
    for name, low in least.items():
        several = values[name] if isinstance(values[name], tuple | list) else [values[name]]
        for value in several:
            if name != "ratios" and value is not None and value < low:
                raise ConfigError(f"{above}{name} {value} is less than {low}")


def _numbers(key: str, value: Any) -> Iterator[tuple[str, float]]:
    """Give every float of settings under its dotted key."""
    if isinstance(value, float):
        yield key, value
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield from _numbers(f"{key}.{name}".lstrip("."), entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _numbers(key, entry)


def _check_files(config: StudyConfig) -> None:
    named = {name: getattr(config, name) for name in FILES}
    named |= {"sft.data": config.sft.data, "rl.data": config.rl.data}
    for group in ("corpora", "sft_sets"):
        named |= {f"{group}.{name}": path for name, path in getattr(config, group).items()}
    named["chat_template"] = next((t for t in config.chat_template if t not in FORMS), None)
    named |= {f"benchmarks.{k}": path for k, path in enumerate(config.benchmarks)}
    for key, path in named.items():
        hub = path is not None and path.startswith("hf:") and key.startswith("corpora.")
        if path is not None and not hub and not Path(path).exists():
            raise DataError("no such file", where=f"{key}: {path}", remedy="check the path.")


def _check_grid(config: StudyConfig) -> None:
    if not 0 <= config.steps_between <= FINEST:
        raise ConfigError(f"steps_between {config.steps_between} is not in 0 to {FINEST}")
    for name in config.rl.scales:
        if name not in config.scales:
            raise ConfigError(f"rl.scales: no scale {name!r}; {nearest(name, config.scales)}")
    for name, scale in config.scales.items():
        if scale.batch % config.processes:
            shares = f"{scale.batch} sequences among {config.processes} processes"
            raise ConfigError(f"{shares} do not come out even", where=f"scales.{name}.batch")
        _check_scale(config, name, scale)
    _check_training(config)
    if config.uses_world:
        from imprint.lab.world import WorldConfig

        WorldConfig(0, config.world.size, config.world.documents)


def _check_scale(config: StudyConfig, name: str, scale: Scale) -> None:
    from imprint.lab.pretraining import Optimiser, Shape

    where = f"scales.{name}"
    if scale.seeds < 1:
        raise ConfigError(f"{where}.seeds {scale.seeds} is less than 1")
    if not 0 <= scale.steps_between <= FINEST:
        raise ConfigError(f"{where}.steps_between {scale.steps_between} is not in 0 to {FINEST}")
    check_mixtures(config.mixtures_of(name), config.corpora)
    sizes = {n: getattr(scale, n) for n in ("layers", "width", "heads", "ffn", "context")}
    own = {n: getattr(scale, n) for n in ("lr", "matrix_lr", "batch", "tokens")}
    try:
        Shape(**sizes, vocabulary=config.vocabulary)
        build(Optimiser, {**asdict(config.optimiser), **own})
    except ConfigError as wrong:
        raise ConfigError(wrong.problem, where=where, remedy=wrong.remedy) from None


def _check_training(config: StudyConfig) -> None:
    from imprint.evaluation.verification import verifier
    from imprint.lab.rl import RlSettings
    from imprint.lab.sft import SftSettings
    from imprint.lab.tokenizer import BYTES, SPECIAL

    least = BYTES + len(SPECIAL)
    if config.tokenizer is None and config.vocabulary < least:
        raise ConfigError(f"vocabulary {config.vocabulary} is less than {least}")
    _at_least({"rows": config.sft.rows}, {"rows": 1}, "sft.")
    _at_least({"units": config.rl.units}, {"units": 0}, "rl.")
    for name, kind, others in (
        ("sft", SftSettings, ("data", "rows")),
        ("rl", RlSettings, ("data", "reward", "scales", "units")),
    ):
        choice = {k: v for k, v in asdict(getattr(config, name)).items() if k not in others}
        try:
            build(kind, choice)
        except ConfigError as wrong:
            raise ConfigError(wrong.problem, where=name, remedy=wrong.remedy) from None
    verifier(config.rl.reward)
