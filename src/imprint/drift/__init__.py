"""Drift: how far fine-tuning moved a model's next-token distributions, and on what."""

from __future__ import annotations

from imprint.drift.config import DriftConfig
from imprint.drift.drift import drift
from imprint.drift.result import DriftResult

__all__ = ["DriftConfig", "DriftResult", "drift"]
