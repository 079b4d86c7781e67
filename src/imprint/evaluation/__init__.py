"""Multiple-choice scoring and verified rollouts of language models."""

from __future__ import annotations

from imprint.evaluation.config import EvaluateConfig
from imprint.evaluation.result import EvaluateResult
from imprint.evaluation.study import evaluate

__all__ = ["EvaluateConfig", "EvaluateResult", "evaluate"]
