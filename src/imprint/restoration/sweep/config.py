"""Settings of a sweep: what is restored, and what it is evaluated on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from imprint.configuration import Settings, build, load_yaml
from imprint.errors import ConfigError, nearest
from imprint.models import Dtype
from imprint.restoration.config import RATIOS
from imprint.restoration.restore import RestoreConfig

Axis = Literal["ratios", "regions", "layers"]
Split = Literal["dev", "test", "retain"]
SPLITS: tuple[Split, ...] = get_args(Split)
CONTROLS = ("random", "interpolate")
FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
Function = Callable[[Any, Any, str], Sequence[float]]


@dataclass(frozen=True, slots=True)
class TextSet:
    """Texts of one split.

    Attributes:
        path: a ``.txt`` (texts separated by blank lines), ``.jsonl`` or ``.parquet``.
        field: the key or column that holds the text.
        limit: take so many at random.
        seed: of that choice.
    """

    path: str
    field: str = "text"
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Controls:
    """What a restoration is compared with, beside matched interpolation.

    Attributes:
        random: seeds of random restoration.
        bottom: also restore the other end of the order.
    """

    random: int = 3
    bottom: bool = False


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the YAML says.

    Attributes:
        dev: texts that choose the point.
        test: texts that judge the choice, once.
        retain: texts on which nothing may be lost.
        score: ``package.module:function`` in place of texts.
        controls: what the restoration is compared with.
        retain_margin: loss on ``retain`` that is called none, in the unit of the score; by default
            5 % of what fine-tuning gained there.
        window: tokens that the model sees at once; by default its context, at most 2,048.
        resamples: bootstrap draws of every interval.
    """

    dev: str | TextSet | None = None
    test: str | TextSet | None = None
    retain: str | TextSet | None = None
    score: str | None = None
    controls: Controls = field(default_factory=Controls)
    retain_margin: float | None = None
    window: int | None = None
    resamples: int = 4000

    def texts(self) -> dict[Split, TextSet]:
        """Give the sets of texts that are named."""
        named: dict[Split, str | TextSet | None]
        named = {"dev": self.dev, "test": self.test, "retain": self.retain}
        return {
            split: TextSet(given) if isinstance(given, str) else given
            for split, given in named.items()
            if given is not None
        }


@dataclass(frozen=True, slots=True)
class SweepConfig:
    """A sweep.

    Attributes:
        restore: method, shares and region, as of one restoration.
        axis: sweep shares of one region, the module types, or groups of layers.
        layer_groups: groups of consecutive layers for ``layers``.
        dtype: type that the model computes in; by default that of the weights.
        device: where it computes; by default a GPU where there is one.
    """

    restore: RestoreConfig = field(default_factory=lambda: RestoreConfig(top=RATIOS))
    axis: Axis = "ratios"
    layer_groups: int = 4
    dtype: Dtype | None = None
    device: str | None = None

    def settings(self) -> dict[str, Any]:
        """Give what changes the result."""
        kept = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**kept, "restore": self.restore.settings()}

    def check(self) -> None:
        """Refuse settings that do not make sense.

        Raises:
            ConfigError: such a setting, by its flag.
        """
        self.restore.check()
        if self.axis not in get_args(Axis):
            raise ConfigError(f"--axis {self.axis!r}: {nearest(self.axis, get_args(Axis))}")
        if self.restore.by == "spectral":
            raise ConfigError(
                "--by spectral returns no share of weights, for which random restoration would be "
                "the control",
                remedy="write checkpoints with --strength and evaluate them yourself.",
            )
        if self.restore.by in CONTROLS:
            raise ConfigError(
                f"--by {self.restore.by} is a control of every sweep, not a method to sweep",
                remedy="sweep --by relative, absolute, fapm or dare.",
            )
        if not any(self.restore.top):
            raise ConfigError(
                "--top names no share above 0", remedy="top 0 is always in the sweep."
            )
        if self.layer_groups < 2:
            raise ConfigError(f"--layer-groups {self.layer_groups} leaves nothing to compare")
        if self.axis != "ratios":
            self._check_parts()

    def _check_parts(self) -> None:
        if self.restore.region != "transformer":
            raise ConfigError(
                f"--axis {self.axis} goes through all blocks, --region {self.restore.region} not",
                remedy="leave out --region.",
            )
        if self.restore.compat:
            raise ConfigError(f"--compat has no meaning with --axis {self.axis}")


def read_evaluation(given: str | Path | Function | Evaluation) -> tuple[Evaluation, Path]:
    """Read what ``--evaluate`` names.

    Args:
        given: a YAML file, ``package.module:function``, such a function, or settings.

    Returns:
        The settings, and the folder that relative paths start from.

    Raises:
        ConfigError: no such file, or keys that do not make sense.
    """
    if isinstance(given, Evaluation):
        return _checked(given, Settings()), Path()
    if callable(given):
        return _checked(Evaluation(score=_name_of(given)), Settings()), Path()
    if FUNCTION.fullmatch(str(given)) and not Path(given).exists():
        return _checked(Evaluation(score=str(given)), Settings()), Path()
    settings = load_yaml(Path(given))
    return _checked(build(Evaluation, settings), settings), Path(given).parent


def _name_of(function: Function) -> str:
    name = getattr(function, "__qualname__", type(function).__name__)
    return f"{getattr(function, '__module__', '')}:{name}"


def _checked(evaluation: Evaluation, settings: Settings) -> Evaluation:
    named = evaluation.texts()
    if evaluation.score is None:
        missing = [split for split in SPLITS if split not in named]
        if missing:
            raise ConfigError(
                f"the key {missing[0]!r} is missing",
                where=settings.place(()),
                remedy="name texts for dev, test and retain, or a function with score.",
            )
    elif named:
        raise ConfigError(
            "a function chooses its own items for each split",
            where=settings.place((next(iter(named)),)),
            remedy="leave out either score, or dev, test and retain.",
        )
    _check_numbers(evaluation, settings)
    return evaluation


def _check_numbers(evaluation: Evaluation, settings: Settings) -> None:
    limits = [((split, "limit"), texts.limit, 2) for split, texts in evaluation.texts().items()]
    for path, value, least in (
        *limits,
        (("window",), evaluation.window, 2),
        (("resamples",), evaluation.resamples, 100),
        (("controls", "random"), evaluation.controls.random, 1),
        (("retain_margin",), evaluation.retain_margin, 0),
    ):
        if value is not None and not value >= least:
            raise ConfigError(f"{value} is less than {least}", where=settings.place(path))


def settings_of(evaluation: Evaluation) -> dict[str, Any]:
    """Give an evaluation as it enters manifest and ``result.json``."""
    return {**asdict(evaluation), **{s: asdict(texts) for s, texts in evaluation.texts().items()}}
