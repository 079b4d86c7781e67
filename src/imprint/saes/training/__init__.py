"""Making an SAE that passes the fit check, and the fit check alone."""

from __future__ import annotations

from imprint.saes.training.config import CheckConfig, TrainConfig
from imprint.saes.training.result import SaeResult
from imprint.saes.training.work import check_sae, train_sae

__all__ = ["CheckConfig", "SaeResult", "TrainConfig", "check_sae", "train_sae"]
