"""How well a model knows facts: ``imprint mastery``.

The package is callable, so that ``imprint.mastery(model, facts)`` works however it was imported.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from imprint.mastery.closed_book import ClosedBookResult, closed_book
from imprint.mastery.config import MasteryConfig
from imprint.mastery.result import MasteryResult
from imprint.mastery.study import mastery

__all__ = ["ClosedBookResult", "MasteryConfig", "MasteryResult", "closed_book", "mastery"]


class _Callable(ModuleType):
    # Importing the package binds it as `imprint.mastery` over the function of the same name.
    def __call__(self, *args: Any, **kwargs: Any) -> MasteryResult:
        return mastery(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
