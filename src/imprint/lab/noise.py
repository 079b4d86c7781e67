"""Wrong labels and flipped rewards, in a known share."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from imprint.errors import ConfigError

Row = Mapping[str, Any]


def wrong_labels(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[int]]:
    """Give a share of the rows the answer of another row.

    The other row is of the same ``skill`` where there is one with another answer, so that a wrong
    answer looks like a right one; else it is any row with another answer. Exactly
    ``round(share · N)`` rows are changed, fewer only where all answers are equal. A larger share
    with the same seed changes the same rows and more.

    Args:
        rows: with ``messages`` (the last is replaced) or ``completion``.
        share: in [0, 1].
        seed: of the choice.

    Returns:
        The rows, those changed copied, and the positions of the changed ones.

    Raises:
        ConfigError: the share is not in [0, 1].
    """
    _check(share)
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(len(rows))[: round(share * len(rows))]
    found, changed = list(rows), []
    answers = [answer(row) for row in rows]
    by_skill: dict[Any, list[int]] = {}
    for at, row in enumerate(rows):
        by_skill.setdefault(row.get("skill"), []).append(at)
    for at in order.tolist():
        chances = np.random.default_rng([seed, 2, at])
        for pool in (by_skill[rows[at].get("skill")], range(len(rows))):
            other = _another(answers, at, pool, chances)
            if other is not None:
                found[at] = _answered(rows[at], answers[other])
                changed.append(at)
                break
    return found, sorted(changed)


def answer(row: Row) -> str:
    """Give what a row teaches to say: the last message, the completion or the text."""
    if row.get("messages"):
        return str(row["messages"][-1]["content"])
    return str(row.get("completion", row.get("text", "")))


def flipped(rewards: Sequence[float], share: float, key: Sequence[int]) -> list[float]:
    """Turn every reward r into 1 − r with a probability.

    Args:
        rewards: each in [0, 1].
        share: the probability.
        key: whole numbers that the draws depend on, such as the seed and the step.

    Raises:
        ConfigError: the share is not in [0, 1].
    """
    _check(share)
    if not share:
        return [float(one) for one in rewards]
    turned = np.random.default_rng(list(key)).random(len(rewards)) < share
    return [float(1 - r if turn else r) for r, turn in zip(rewards, turned, strict=True)]


def _another(
    answers: Sequence[str], at: int, pool: Sequence[int], chances: np.random.Generator
) -> int | None:
    for _ in range(8):  # nearly always one draw will do
        other = pool[int(chances.integers(len(pool)))]
        if answers[other] != answers[at]:
            return other
    others = [one for one in pool if answers[one] != answers[at]]
    return others[int(chances.integers(len(others)))] if others else None


def _answered(row: Row, said: str) -> Row:
    changed = dict(copy.deepcopy(dict(row)))
    if row.get("messages"):
        changed["messages"][-1]["content"] = said
    else:
        changed["completion" if "completion" in row else "text"] = said
    return changed


def _check(share: float) -> None:
    if not 0 <= share <= 1:
        raise ConfigError(f"noise is {share:g}", remedy="a share from 0 to 1.")
