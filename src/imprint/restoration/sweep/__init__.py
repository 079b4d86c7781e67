"""How much to put back: restorations evaluated beside their controls, the share chosen on dev."""

from __future__ import annotations

from imprint.restoration.sweep.config import Controls, Evaluation, SweepConfig, TextSet
from imprint.restoration.sweep.result import SweepResult
from imprint.restoration.sweep.study import sweep

__all__ = ["Controls", "Evaluation", "SweepConfig", "SweepResult", "TextSet", "sweep"]
