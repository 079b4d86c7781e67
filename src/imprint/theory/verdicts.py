"""Claims about curves, judged by the intervals of their medians over seeds.

A claim holds or fails only where intervals are apart; where they overlap, or where there are fewer
seeds than an interval of 95 % needs, it is undetermined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from imprint.report import State, Verdict

COVERAGE = 0.95
FEWEST = 6  # seeds whose range covers the median in 95 % of samples
FLAT = 1.1  # a curve is flat where its largest and smallest value differ by at most this factor


@dataclass(frozen=True, slots=True)
class Level:
    """A value with its interval; an exact one has an interval of no width.

    Attributes:
        x: where on the curve.
        median, low, high: the value and the ends of its interval.
        seeds: realisations behind it; 0 for an exact value.
    """

    x: float
    median: float
    low: float
    high: float
    seeds: int = 0

    @property
    def decides(self) -> bool:
        """Whether the interval covers the median often enough to judge by."""
        return not self.seeds or self.seeds >= FEWEST

    def __str__(self) -> str:
        if not self.seeds:
            return f"{self.median:.4g}"
        return f"{self.median:.4g} [{self.low:.4g}, {self.high:.4g}]"

    @classmethod
    def exact(cls, value: float, x: float = math.nan) -> Level:
        """Give a value that is known without sampling."""
        return cls(x, value, value, value)


def median_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Give an interval of the median by order statistics, with its coverage.

    The narrowest symmetric pair of order statistics that covers the median in 95 % of samples,
    whatever the distribution; below six values the smallest and the largest, which cover it less
    often (``1 - 2**(1 - n)``).

    Args:
        values: [n] independent realisations, none NaN.

    Returns:
        low, high, coverage.

    >>> median_interval(np.arange(6.0))
    (0.0, 5.0, 0.96875)
    """
    ordered, count = np.sort(values), len(values)
    inner = 1
    while inner + 1 <= count // 2 and _coverage(count, inner + 1) >= COVERAGE:
        inner += 1
    return float(ordered[inner - 1]), float(ordered[count - inner]), _coverage(count, inner)


def _coverage(count: int, inner: int) -> float:
    return max(0.0, 1 - 2 * float(binom.cdf(inner - 1, count, 0.5))) if count > 1 else 0.0


def below(
    text: str, smaller: Level, larger: Level, names: tuple[str, str] | None = None
) -> Verdict:
    """Judge that one value is smaller than another.

    Args:
        text: the claim.
        smaller, larger: which should be which.
        names: what the two are, where the claim does not name them in this order.
    """
    detail = f"{smaller} against {larger}."
    if names:
        detail = f"{names[0]}: {smaller}; {names[1]}: {larger}."
    return judged(text, _less(smaller, larger), detail, smaller, larger)


def grows(text: str, curve: Sequence[Level], axis: str = "at") -> Verdict:
    """Judge that a curve ends higher than it starts; ``axis`` names its two ends."""
    first, last = curve[0], curve[-1]
    return below(text, first, last, (f"{axis} {first.x:g}", f"{axis} {last.x:g}"))


def peak(text: str, curve: Sequence[Level], at: float) -> Verdict:
    """Judge that a curve is highest at one place."""
    there = [level for level in curve if level.x == at]
    others = [level for level in curve if level.x != at]
    if not there or not others:
        return Verdict(text, "undetermined", f"{at:g} is not on the grid, or is all of it.")
    top = max(others, key=lambda level: level.median)
    states = {_less(other, there[0]) for other in others}
    detail = f"{there[0]} at {at:g}, next {top} at {top.x:g}."
    return judged(text, _all(states), detail, *curve)


def falls_then_rises(text: str, curve: Sequence[Level]) -> Verdict:
    """Judge that a curve has a minimum between its ends, apart from both."""
    if len(curve) < 3:
        return Verdict(text, "undetermined", "The curve has fewer than three points.")
    first, *inner, last = curve
    lowest = min(inner, key=lambda level: level.median)
    detail = f"{first} at {first.x:g}, {lowest} at {lowest.x:g}, {last} at {last.x:g}."
    state: State = "undetermined"
    if any(level.high < min(first.low, last.low) for level in inner):
        state = "holds"
    elif all(level.low > min(first.high, last.high) for level in inner):
        state = "does_not_hold"
    return judged(text, state, detail, *curve)


def flat(text: str, curve: Sequence[Level]) -> Verdict:
    """Judge that a curve's values differ by a factor of at most 1.1."""
    most = max(level.high for level in curve) / min(level.low for level in curve)
    least = max(level.low for level in curve) / min(level.high for level in curve)
    state: State = "holds" if most <= FLAT else "does_not_hold" if least > FLAT else "undetermined"
    detail = f"Largest over smallest value: between {max(1.0, least):.3g} and {most:.3g}."
    return judged(text, state, detail, *curve)


def _less(smaller: Level, larger: Level) -> State:
    if smaller.high < larger.low:
        return "holds"
    return "does_not_hold" if smaller.low > larger.high else "undetermined"


def _all(states: set[State]) -> State:
    if states == {"holds"}:
        return "holds"
    return "does_not_hold" if "does_not_hold" in states else "undetermined"


def judged(text: str, state: State, detail: str, *levels: Level) -> Verdict:
    """Give a verdict, undetermined where a level it rests on has too few seeds."""
    if all(level.decides for level in levels):
        return Verdict(text, state, detail)
    few = min(level.seeds for level in levels if not level.decides)
    return Verdict(text, "undetermined", f"{detail} {few} of at least {FEWEST} seeds.")
