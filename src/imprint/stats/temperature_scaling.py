"""The temperature that makes option probabilities most likely, and its item bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .arrays import Floats, Ints, floats

BOUNDS = (0.05, 20.0)
"""Temperatures considered; beyond them probabilities are all but certain or all but uniform."""


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature.

    Attributes:
        value: T; above 1 where the model is too sure of itself. NaN without usable items.
        at_bound: the likelihood still rises beyond the bounds, and T is no estimate.
        nll: mean negative log-likelihood at T, nats.
    """

    value: float
    at_bound: bool
    nll: float


def temperature(logits: Floats, gold: Ints, bounds: tuple[float, float] = BOUNDS) -> Temperature:
    """Fit T in p ∝ exp(logit/T) by the likelihood of the right options.

    The mean negative log-likelihood is convex in 1/T, so its slope has one root at most.

    Args:
        logits: [N, K] scores in nats, NaN for options an item does not have.
        gold: [N] index of the right option.
        bounds: lowest and highest T.
    """
    from scipy.optimize import brentq  # a quarter of a second, and few commands need it

    above = _above_gold(logits, gold)
    if not len(above):
        return Temperature(np.nan, False, np.nan)
    coldest, hottest = np.log(1 / bounds[0]), np.log(1 / bounds[1])

    def slope(log_beta: float) -> float:
        return float(_slopes(above, np.exp(log_beta)).mean())

    if slope(coldest) <= 0:
        found, at_bound = coldest, True
    elif slope(hottest) >= 0:
        found, at_bound = hottest, True
    else:
        found, at_bound = float(brentq(slope, hottest, coldest, xtol=1e-10)), False
    loss = np.logaddexp.reduce(np.exp(found) * above, axis=1).mean()
    return Temperature(float(np.exp(-found)), at_bound, float(loss))


def _above_gold(logits: Floats, gold: Ints) -> Floats:
    """[N, K] each logit less that of the right option, −∞ for absent ones.

    Items whose right option has no finite logit have no likelihood at any T and are left out.
    """
    logits = floats(logits)
    right = np.take_along_axis(logits, np.asarray(gold, np.int64)[:, None], axis=1)
    return np.where(np.isnan(logits), -np.inf, logits - right)[np.isfinite(right[:, 0])]


def _slopes(above: Floats, beta: float) -> Floats:
    """Derivative of each item's loss by β = 1/T: the mean of `above` under the model, [N]."""
    present = np.where(np.isneginf(above), 0.0, above)
    shifted = above - above.max(axis=1, keepdims=True)
    weight = np.exp(beta * shifted)
    return np.asarray((weight * present).sum(axis=1) / weight.sum(axis=1))


def resampled_temperature(
    logits: Floats, gold: Ints, bounds: tuple[float, float] = BOUNDS
) -> Callable[[Floats], Floats]:
    """Prepare the temperature of any number of draws of items.

    The slope of the loss is tabulated per item over a grid of T, densest around the estimate; a
    draw's slopes are then one matrix product, and its root is interpolated, to about 10⁻⁴ of T.

    Args:
        logits, gold, bounds: as for `temperature`.

    Returns:
        A function from W [b, N] to T [b], within the bounds.
    """
    grid = _grid(np.log(temperature(logits, gold, bounds).value), bounds)
    usable = np.isfinite(np.take_along_axis(logits, np.asarray(gold, np.int64)[:, None], 1)[:, 0])
    above = _above_gold(logits, gold)
    table = np.stack(list(_table(above, grid)), axis=1) if len(above) else None

    def of_draws(W: Floats) -> Floats:
        if table is None:
            return np.full(len(W), np.nan)
        return _roots((W[:, usable].astype(np.float32) @ table).astype(np.float64), grid)

    return of_draws


def _grid(log_estimate: float, bounds: tuple[float, float]) -> Floats:
    """Values of log T, falling, so that the slope of the loss rises along the grid."""
    low, high = np.log(bounds)
    near = np.clip(np.linspace(log_estimate - 0.32, log_estimate + 0.32, 33), low, high)
    return np.union1d(np.linspace(low, high, 33), near[np.isfinite(near)])[::-1]


def _table(above: Floats, grid: Floats) -> Iterator[Floats]:
    for log_t in grid:
        yield _slopes(above, float(np.exp(-log_t))).astype(np.float32)


def _roots(slopes: Floats, grid: Floats) -> Floats:
    """T at which each row of rising slopes [b, G] crosses 0; the bound where none does."""
    after = np.clip((slopes < 0).sum(axis=1), 1, len(grid) - 1)
    rows = np.arange(len(slopes))
    low, high = slopes[rows, after - 1], slopes[rows, after]
    rise = high - low
    share = np.clip(np.divide(-low, rise, out=np.zeros_like(rise), where=rise > 0), 0, 1)
    return np.asarray(np.exp(grid[after - 1] + share * (grid[after] - grid[after - 1])))
