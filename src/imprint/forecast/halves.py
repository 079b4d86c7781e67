"""Draws of contrasts without demonstrations: random halves of the queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from imprint.errors import require
from imprint.forecast.contexts import ALL
from imprint.forecast.meter import Meter
from imprint.forecast.setting import Setting
from imprint.saes import Sae


def halved(setting: Setting, saes: Sequence[Sae], null: str) -> list[Meter]:
    """Give meters of the contrast and its null, each with a draw per half and one of all."""
    keys = [(kind, draw) for kind in ("shift", null) for draw in (*range(setting.draws), ALL)]
    return [Meter(sae, keys) for sae in saes]


def add_halves(
    setting: Setting, meter: Meter, d: Any, numbers: Any, n: int, only: str | None = None
) -> None:
    """Count changes in the random half of each draw, and under the null with signs drawn."""
    torch = require("torch", "models")
    for kind, draw in meter.keys:
        if only is not None and kind != only:
            continue
        w = np.ones(n) if draw == ALL else _half(setting, draw, n).astype(np.float64)
        if kind == "flipped":
            w = w * setting.chances(7, draw + 1).choice([-1.0, 1.0], n)
        meter.add((kind, draw), d, torch.from_numpy(w[numbers]))


def _half(setting: Setting, key: int, n: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Give a random half of n queries, bool [n]."""
    found = np.zeros(n, dtype=bool)
    found[setting.chances(5, key).permutation(n)[: max(1, (n + 1) // 2)]] = True
    return found
