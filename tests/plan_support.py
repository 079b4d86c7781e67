"""Pools of rollouts with known truth, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]
RATES = {"add": (2.0, 1.0), "mul": (0.5, 2.0), "sort": (0.05, 9.0)}


def rows(count: int = 600, n: int = 8, seed: int = 0) -> list[Row]:
    """Make prompts of three domains whose pass rates are beta distributed as ``RATES`` says."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        domain = list(RATES)[i % 3]
        p = rng.beta(*RATES[domain])
        found.append(
            {
                "id": f"q{i}",
                "domain": domain,
                "prompt": f"{domain} {i}: what becomes of {rng.integers(999)} and "
                f"{rng.integers(999)}{' exactly' * (i % 7)}?",
                "answer": str(i),
                "correct": (rng.random(n) < p).tolist(),
            }
        )
    return found


def write(path: Path, content: list[Row]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path
