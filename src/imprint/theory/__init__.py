"""The in-context weight-prediction theory of pretraining, SFT and outcome supervision."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from imprint.theory.config import TheoryConfig
from imprint.theory.result import TheoryResult
from imprint.theory.study import theory

__all__ = ["TheoryConfig", "TheoryResult", "theory"]


class _Callable(ModuleType):
    # Importing the package binds it as `imprint.theory` over the function of the same name.
    def __call__(self, *args: Any, **kwargs: Any) -> TheoryResult:
        return theory(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
