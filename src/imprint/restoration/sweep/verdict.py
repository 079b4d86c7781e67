"""Whether repair helps: paired comparisons on test items, and what they add up to.

The chosen point must beat the tuned model, and interpolation and random restoration both at its own
share and where each does best on dev, each with its whole interval above 0, and lose nothing on
``retain``. A claim that needs every one of several
tests is tested at the level of each (intersection–union), so nothing is corrected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imprint.report import State, Verdict
from imprint.stats import Draws, bootstrap, percentile_interval

Floats = npt.NDArray[np.float64]
MARGIN = 0.05  # of what fine-tuning gained on retain
MOST = 1000  # times the items there are; beyond it no number of items is named
RIVALS = {
    "tuned": "the tuned model",
    "interpolate": "interpolation of the same norm",
    "random": "random restoration of the same share",
    "interpolate_best": "interpolation where it is best on dev",
    "random_best": "random restoration where it is best on dev",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The chosen point against another on the same items.

    Attributes:
        split: ``test`` or ``retain``.
        against: ``tuned``; ``interpolate`` or ``random``, matched to the chosen point;
            ``interpolate_best`` or ``random_best``, where those score best on dev.
        mean: of chosen − other over items, in the unit of the score.
        low, high: its 95 % percentile interval, bootstrap over items.
        n: items.
        state: whether the claim holds: better on test, nothing lost on retain.
        margin: for ``retain``: the loss that is called none.
        items_needed: about how many items would decide it; ``None`` where it is decided, or where
            no usable number would.
    """

    split: str
    against: str
    mean: float
    low: float
    high: float
    n: int
    state: State
    margin: float | None
    items_needed: int | None

    @property
    def verdict(self) -> Verdict:
        """Say it in words."""
        numbers = (
            f"Difference {self.mean:+.4g} [{self.low:+.4g}, {self.high:+.4g}], {self.n} items."
        )
        if self.split == "retain":
            claim = "The chosen point loses nothing on the retain set."
            numbers += f" A loss of up to {self.margin:.4g} is called none."
        else:
            claim = f"The chosen point beats {RIVALS[self.against]} on the test set."
        detail = f"{numbers.replace('-', '−')} {self._decides()}"
        return Verdict(claim, self.state, detail.strip())

    def _decides(self) -> str:
        if self.state != "undetermined":
            return ""
        if self.items_needed is None:
            return "The difference lies so near the limit that more items would hardly decide it."
        return (
            f"If the difference stays as it is, about {self.items_needed:,} items would decide it."
        )


def intervals(scores: Floats, resamples: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Give mean and 95 % percentile interval over items of each column.

    Args:
        scores: [N, M], one row per item.
        resamples: bootstrap draws.
        seed: of the draws; the same for every set of columns, so that equal columns agree.

    Returns:
        Mean, low and high, [M].
    """
    draws = Draws(np.arange(len(scores)), resamples, seed)
    found = bootstrap(draws, lambda W: W @ scores / len(scores))
    low, high = percentile_interval(found)
    return scores.mean(axis=0), low, high


def beats(chosen: Floats, other: Floats, against: str, resamples: int, seed: int) -> Comparison:
    """Ask whether the chosen point is better on test items.

    Args:
        chosen, other: [N] scores of the same items.
        against: what the other is.
        resamples, seed: of the bootstrap.
    """
    mean, low, high = _difference(chosen, other, resamples, seed)
    state: State = "holds" if low > 0 else "does_not_hold" if high <= 0 else "undetermined"
    needed = _items_needed(len(chosen), mean, (high - low) / 2) if state == "undetermined" else None
    return Comparison("test", against, mean, low, high, len(chosen), state, None, needed)


def retains(
    chosen: Floats, tuned: Floats, base: Floats, margin: float | None, resamples: int, seed: int
) -> Comparison:
    """Ask whether the chosen point loses nothing on retain items.

    It is lost where the whole interval of chosen − tuned lies below 0, kept where the lower end
    does not lie below −margin.

    Args:
        chosen, tuned, base: [N] scores of the same items.
        margin: loss that is called none; by default 5 % of what tuned gained over base.
        resamples, seed: of the bootstrap.
    """
    if margin is None:
        margin = max(0.0, MARGIN * float((tuned - base).mean()))
    mean, low, high = _difference(chosen, tuned, resamples, seed)
    state: State = "does_not_hold" if high < 0 else "holds" if low >= -margin else "undetermined"
    # with more items the interval shrinks to the mean: above −margin it is kept, below it lost
    distance = mean + margin if mean > -margin else -mean
    half = mean - low if mean > -margin else high - mean
    needed = _items_needed(len(chosen), distance, half) if state == "undetermined" else None
    return Comparison("retain", "tuned", mean, low, high, len(chosen), state, margin, needed)


def overall(comparisons: Sequence[Comparison]) -> State:
    """Give the state of the claim that all comparisons make together."""
    states = {comparison.state for comparison in comparisons}
    if "does_not_hold" in states or not states:
        return "does_not_hold"
    return "undetermined" if "undetermined" in states else "holds"


def _difference(
    one: Floats, other: Floats, resamples: int, seed: int
) -> tuple[float, float, float]:
    mean, low, high = intervals((one - other)[:, None], resamples, seed)
    return float(mean[0]), float(low[0]), float(high[0])


def _items_needed(items: int, distance: float, half: float) -> int | None:
    """Give the items at which an interval of half width ``half`` would be ``distance`` wide."""
    if distance == 0 or not math.isfinite(half):
        return None
    needed = items * (half / distance) ** 2
    return max(items + 1, math.ceil(needed)) if needed < MOST * items else None
