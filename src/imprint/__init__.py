"""imprint measures, forecasts and repairs what carries over from pretraining to post-training.

Every job is a function on paths or frames; public names load what they need when first used, so
that ``import imprint`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imprint.errors import (
        CheckpointError,
        ConfigError,
        DataError,
        DependencyError,
        ImprintError,
    )
    from imprint.evaluation import EvaluateConfig, EvaluateResult, evaluate
    from imprint.forecast import ForecastConfig, ForecastResult, forecast
    from imprint.mastery import MasteryConfig, MasteryResult, closed_book, mastery
    from imprint.planning import PlanConfig, PlanResult, plan
    from imprint.restoration.calls import apply, restore
    from imprint.restoration.config import DiffConfig
    from imprint.restoration.diff import diff
    from imprint.restoration.diff_result import DiffResult
    from imprint.restoration.restore_config import RestoreConfig
    from imprint.theory import TheoryResult, theory
    from imprint.transfer import TransferResult, transfer

_HOMES = {
    "CheckpointError": "imprint.errors",
    "ConfigError": "imprint.errors",
    "DataError": "imprint.errors",
    "DependencyError": "imprint.errors",
    "DiffConfig": "imprint.restoration.config",
    "DiffResult": "imprint.restoration.diff_result",
    "EvaluateConfig": "imprint.evaluation",
    "EvaluateResult": "imprint.evaluation",
    "ForecastConfig": "imprint.forecast",
    "ForecastResult": "imprint.forecast",
    "ImprintError": "imprint.errors",
    "MasteryConfig": "imprint.mastery",
    "MasteryResult": "imprint.mastery",
    "PlanConfig": "imprint.planning",
    "PlanResult": "imprint.planning",
    "RestoreConfig": "imprint.restoration.restore_config",
    "TheoryResult": "imprint.theory",
    "TransferResult": "imprint.transfer",
    "apply": "imprint.restoration.calls",
    "closed_book": "imprint.mastery",
    "diff": "imprint.restoration.diff",
    "evaluate": "imprint.evaluation",
    "forecast": "imprint.forecast",
    "mastery": "imprint.mastery",
    "plan": "imprint.planning",
    "restore": "imprint.restoration.calls",
    "theory": "imprint.theory",
    "transfer": "imprint.transfer",
}

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DependencyError",
    "DiffConfig",
    "DiffResult",
    "EvaluateConfig",
    "EvaluateResult",
    "ForecastConfig",
    "ForecastResult",
    "ImprintError",
    "MasteryConfig",
    "MasteryResult",
    "PlanConfig",
    "PlanResult",
    "RestoreConfig",
    "TheoryResult",
    "TransferResult",
    "apply",
    "closed_book",
    "diff",
    "evaluate",
    "forecast",
    "mastery",
    "plan",
    "restore",
    "theory",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'imprint' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
