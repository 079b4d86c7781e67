"""Planning: which rows to fine-tune on, and which prompts to reinforce, for this very model."""

from __future__ import annotations

from imprint.planning.config import PlanConfig
from imprint.planning.plan import plan
from imprint.planning.result import PlanResult

__all__ = ["PlanConfig", "PlanResult", "plan"]
