"""A causal language model in memory; needs the extra ``models`` when used."""

from __future__ import annotations

from imprint.models.load import Dtype, Loaded, load
from imprint.models.loss import text_scores

__all__ = ["Dtype", "Loaded", "load", "text_scores"]
