"""Numbers in words, and when they count as sure, for the headline and the verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

Tables = Mapping[str, pl.DataFrame]
SURE = 0.95  # probability from which a place among the first counts as settled
# what exceeds its null; a predictor without one is taken at its word
BEYOND = (
    pl.col("excess_low").is_null()
    | (pl.col("excess_low") > 0)
    | (pl.col("signed") & (pl.col("excess_high") < 0))
)


def r_of(row: Mapping[str, Any]) -> str:
    """Give Pearson's r of a row of ``evaluation`` with its interval."""
    return f"{row['pearson']:.2f}{interval(row['low'], row['high'])}"


def interval(low: float | None, high: float | None) -> str:
    """Give an interval behind its estimate; nothing where there is none."""
    if low is None or high is None or np.isnan(low):
        return ""
    return f" [{low:.2f}, {high:.2f}]"
