"""A policy's own samples with their rewards, before RL."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imprint.errors import DataError
from imprint.forecast.material import Text
from imprint.tables import load_frame, row_place


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sample.

    Attributes:
        prompt: what was asked.
        completion: what the policy said.
        reward: what it got for it.
        place: file and line, for messages.
    """

    prompt: str
    completion: str
    reward: float
    place: str = ""


def read_rollouts(path: Path) -> list[Rollout]:
    """Read samples: columns ``prompt``, ``completion`` and ``reward``.

    Raises:
        DataError: the file cannot be read, lacks a column, or a row holds something else.
    """
    frame = load_frame(path)
    lacking = [name for name in ("prompt", "completion", "reward") if name not in frame.columns]
    if lacking:
        raise DataError(
            f"has no column {lacking[0]!r}; its columns: {', '.join(frame.columns[:12])}",
            where=str(path),
            remedy="give a row per sample with prompt, completion and reward.",
        )
    found = []
    for number, row in enumerate(frame.iter_rows(named=True)):
        place, reward = row_place(path, number), row["reward"]
        for name in ("prompt", "completion"):
            if not isinstance(row[name], str) or not row[name].strip():
                raise DataError(f"the row has no {name}", where=place)
        if isinstance(reward, bool | int | float) and math.isfinite(reward):
            found.append(Rollout(row["prompt"], row["completion"], float(reward), place))
        else:
            raise DataError(f"the reward is {reward!r}, not a number", where=place)
    return found


def contrasted(rollouts: Sequence[Rollout]) -> list[tuple[Text, Text]]:
    """Give the worst and the best sample of every prompt, the first of equals.

    Raises:
        DataError: no prompt has samples of different rewards.
    """
    groups: dict[str, list[Rollout]] = {}
    for one in rollouts:
        groups.setdefault(one.prompt, []).append(one)
    pairs = []
    for n, (prompt, samples) in enumerate(groups.items()):
        worst = min(samples, key=lambda one: one.reward)
        best = max(samples, key=lambda one: one.reward)
        if best.reward > worst.reward:
            low, high = (
                Text(str(n), "", prompt, one.completion, one.place) for one in (worst, best)
            )
            pairs.append((low, high))
    if not pairs:
        raise DataError(
            f"none of {len(groups)} prompts has samples of different rewards",
            remedy="draw more samples of each prompt.",
        )
    return pairs
