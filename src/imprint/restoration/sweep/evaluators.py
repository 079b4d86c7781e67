"""What scores a model: a function of the user's, or the loss of plain texts.

An evaluator gives one score per item of a split, higher is better, the same items in the same order
each time. Others join by a line in ``EVALUATORS``.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from imprint.errors import ConfigError, DataError, nearest, require
from imprint.models import Loaded, text_scores
from imprint.restoration.sweep.config import Evaluation, Function, Split
from imprint.restoration.sweep.texts import read_texts, refuse_shared

Floats = npt.NDArray[np.float64]


class Evaluator(Protocol):
    """Scores a model on the items of a split.

    Attributes:
        unit: what a score is, in words.
        files: files that its scores depend on.
        trusted: whether equal weights are known to give equal scores.
    """

    unit: str
    files: list[Path]
    trusted: bool

    def score(self, loaded: Loaded, split: Split) -> Floats:
        """Give one score per item, [N]."""

    def items(self, split: Split) -> int | None:
        """Tell how many items a split has, where that is known beforehand."""


@dataclass
class TextLoss:
    """Mean log-probability per token of plain texts."""

    texts: dict[Split, list[str]]
    window: int | None
    files: list[Path]
    unit: str = "mean log-probability per token, nats"
    trusted: bool = True

    def score(self, loaded: Loaded, split: Split) -> Floats:
        """Give the mean log-probability per token of each text, [N]."""
        return text_scores(loaded, self.texts[split], window=self.window)

    def items(self, split: Split) -> int | None:
        """Count the texts of a split."""
        return len(self.texts[split])


@dataclass
class Called:
    """A function of the user's: ``function(model, tokenizer, split)`` gives a float per item."""

    function: Function
    name: str
    files: list[Path]
    unit: str = "score"
    trusted: bool = False

    def score(self, loaded: Loaded, split: Split) -> Floats:
        """Call the function, without gradients, and check what it gives.

        Raises:
            ConfigError: it fails, or gives no sequence of finite numbers.
        """
        torch = require("torch", "models")
        try:
            with torch.no_grad():
                given = self.function(loaded.model, loaded.tokenizer, split)
        except Exception as failed:
            last = traceback.extract_tb(failed.__traceback__)[-1]
            raise ConfigError(
                f"failed on {split!r} with {type(failed).__name__}: {failed}",
                where=f"{self.name} ({last.filename}, line {last.lineno})",
            ) from failed
        return _numbers(given, f"{self.name}, {split!r}")

    def items(self, split: Split) -> int | None:
        """Give nothing: the function alone knows."""
        return None


def _numbers(given: Sequence[float], where: str) -> Floats:
    try:
        found = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as wrong:
        raise ConfigError(
            f"gave {type(given).__name__}, not numbers: {wrong}", where=where
        ) from wrong
    if found.ndim != 1 or len(found) < 2:
        raise ConfigError(
            f"gave numbers of the shape {found.shape}, not one for each of two items or more",
            where=where,
        )
    return found


def checked(scores: Floats, expected: int | None, what: str) -> Floats:
    """Refuse scores that are not finite, or of another number of items than before.

    Raises:
        DataError: such scores.
    """
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        raise DataError(f"the score of item {wrong[0]} is {scores[wrong[0]]}", where=what)
    if expected is not None and len(scores) != expected:
        raise DataError(
            f"gave {len(scores)} scores, and {expected} before",
            where=what,
            remedy="each split must have the same items in the same order each time.",
        )
    return scores


def texts_evaluator(evaluation: Evaluation, below: Path) -> Evaluator:
    """Read the texts of all splits.

    Raises:
        ConfigError, DataError: texts that cannot be read, or that dev and test share.
    """
    named = evaluation.texts()
    texts = {split: read_texts(given, below) for split, given in named.items()}
    refuse_shared(texts)
    files = [below / given.path for given in named.values()]
    return TextLoss(texts, evaluation.window, list(dict.fromkeys(files)))


def function_evaluator(evaluation: Evaluation, below: Path) -> Evaluator:
    """Import the function that ``score`` names; the current folder is importable.

    Raises:
        ConfigError: it cannot be imported, or is no function.
    """
    name = str(evaluation.score)
    module, _, path = name.partition(":")
    if not path:
        raise ConfigError(f"{name!r} is not of the form package.module:function")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - as `python -m` does
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found = importlib.import_module(module)
    except ImportError as failed:
        raise ConfigError(f"{module!r} cannot be imported: {failed}", where=name) from failed
    for step in path.split("."):
        if not hasattr(found, step):
            raise ConfigError(f"has no {step!r}; {nearest(step, dir(found))}", where=module)
        found = getattr(found, step)
    return function_of(cast("Function", found), name)


def function_of(function: Function, name: str) -> Evaluator:
    """Take a function as it is.

    Raises:
        ConfigError: it cannot be called with model, tokenizer and split.
    """
    if not callable(function):
        raise ConfigError(f"is a {type(function).__name__}, not a function", where=name)
    try:
        inspect.signature(function).bind(None, None, "dev")
    except TypeError as wrong:
        raise ConfigError(
            f"is not called with (model, tokenizer, split): {wrong}", where=name
        ) from wrong
    except ValueError:  # a builtin without a signature
        pass
    file = inspect.getsourcefile(function) if inspect.isroutine(function) else None
    return Called(function, name, [Path(file)] if file and Path(file).is_file() else [])


EVALUATORS: dict[str, Callable[[Evaluation, Path], Evaluator]] = {
    "texts": texts_evaluator,
    "function": function_evaluator,
}


def evaluator_of(evaluation: Evaluation, below: Path) -> Evaluator:
    """Make the evaluator that the settings ask for."""
    return EVALUATORS["texts" if evaluation.score is None else "function"](evaluation, below)
