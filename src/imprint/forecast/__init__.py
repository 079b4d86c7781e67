"""Which domains an SFT set will change, before any training.

The package is callable, so that ``imprint.forecast(model, sft=…)`` works however it was imported.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from imprint.forecast.config import ForecastConfig
from imprint.forecast.forecast import forecast
from imprint.forecast.result import ForecastResult

__all__ = ["ForecastConfig", "ForecastResult", "forecast"]


class _Callable(ModuleType):
    # Importing the package binds it as `imprint.forecast` over the function of the same name.
    def __call__(self, *args: Any, **kwargs: Any) -> ForecastResult:
        return forecast(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
