"""A mixture plan: which examples to add so that domains at risk are practised again.

Examples go to domains in proportion to their score in excess of the null, and their targets are
what the base model itself says, so that SFT is held to what the model did before.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from imprint.forecast.material import Text
from imprint.forecast.predicted import Floats

ENDLESS = 1e18  # a factor that takes every domain with a share to its cap


def shares(excess: Floats, temperature: float = 1.0) -> Floats:
    """Share of each domain: its positive excess to the power 1/temperature, [D], summing to 1.

    Domains without excess get none; where no domain has any, all get the same.
    """
    positive = np.where(np.isfinite(excess), np.maximum(excess, 0.0), 0.0)
    if not positive.any():
        return np.full(len(positive), 1 / len(positive))
    weight = (positive / positive.max()) ** (1 / temperature)
    return np.asarray(weight / weight.sum())


def allocate(
    share: Floats, budget: int, *, floor: int = 0, cap: int | None = None, most: Sequence[int]
) -> list[int]:
    """Turn shares into whole numbers that add up to the budget, where limits allow it.

    Args:
        share: [D], summing to 1.
        budget: examples in all.
        floor, cap: fewest and most of one domain.
        most: examples that each domain has.

    Returns:
        Examples of each domain. What a cap cuts off goes to the others in proportion; what is left
        after rounding down goes to the largest remainders, ties to the first.
    """
    high = np.minimum(np.asarray(most, dtype=np.float64), np.inf if cap is None else cap)
    low = np.minimum(floor, high)
    wanted = _within(share, float(budget), low, high)
    whole = np.floor(wanted + 1e-9)
    left = round(min(float(budget), float(wanted.sum())) - whole.sum())
    for at in np.argsort(-(wanted - whole), kind="stable"):
        if left > 0 and whole[at] + 1 <= high[at] and share[at] > 0:
            whole[at] += 1
            left -= 1
    return [int(n) for n in whole]


def _within(share: Floats, budget: float, low: Floats, high: Floats) -> Floats:
    """Scale shares to the budget within limits: the factor is found by bisection."""

    def at(factor: float) -> Floats:
        return np.asarray(np.clip(share * factor, low, high))

    below, above = 0.0, 1.0
    target = min(max(budget, at(0.0).sum()), at(ENDLESS).sum())
    while at(above).sum() < target - 1e-9 and above < ENDLESS:
        above *= 2
    for _ in range(200):
        middle = (below + above) / 2
        below, above = (middle, above) if at(middle).sum() < target else (below, middle)
    return at(above)


def choose(texts: Sequence[Text], counts: dict[str, int], seed: int) -> list[Text]:
    """Draw so many texts of each domain, in their order."""
    chosen = []
    for domain, count in counts.items():
        own = [text for text in texts if text.group == domain]
        draw = random.Random(f"{seed} mixture {domain}").sample(range(len(own)), count)  # noqa: S311
        chosen += [own[n] for n in sorted(draw)]
    return chosen


def plan_table(
    domains: Sequence[str],
    excess: Floats,
    share: Floats,
    counts: Sequence[int],
    most: Sequence[int],
) -> pl.DataFrame:
    """Table ``mixture``: one row per domain."""
    return pl.DataFrame(
        {
            "domain": list(domains),
            "excess": excess,
            "share": share,
            "examples": list(counts),
            "available": list(most),
        }
    ).fill_nan(None)


def training_file(sft: Iterable[Text], replay: Iterable[tuple[Text, str]]) -> str:
    """Write the mixture as JSON lines with ``prompt`` and ``completion``, ready for training.

    ``origin`` tells the user's own examples (``sft``) from replay, whose completion is what the
    base model said (``base model``).
    """
    rows = [
        {"prompt": one.prompt, "completion": one.answer, "domain": one.group, "origin": "sft"}
        for one in sft
    ]
    rows += [
        {"prompt": one.prompt, "completion": said, "domain": one.group, "origin": "base model"}
        for one, said in replay
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
