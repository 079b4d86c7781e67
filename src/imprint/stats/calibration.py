"""Does confidence mean what it says? Scores of single items, and their item bootstrap.

Definitions: expected calibration error in equal-mass or equal-width bins, Brier score summed over
options, negative log-likelihood in nats, area under the risk-coverage curve, temperature. Functions
named ``weighted_…`` take W [b, N], how often each draw holds each item, and equal the plain one on
the items so repeated; confidences are sorted once, not once per draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Bools, Floats, Ints, floats


def expected_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 15, *, equal_mass: bool = True
) -> float:
    """Mean gap between accuracy and mean confidence of a bin, weighted by its items.

    Equal-mass bins differ by one item at most; items of equal confidence on a boundary are shared
    out evenly, so that their order does not matter. Equal-width bins hold (k/bins, (k + 1)/bins].

    Args:
        confidence: [N] probability of the selected option.
        correct: [N] 1 or 0; items missing on a side are left out.
        bins: number of bins.
        equal_mass: bins of equal numbers of items rather than equal width.

    Returns:
        A fraction in [0, 1]; NaN without items.
    """
    confidence, correct = _present(confidence, correct)
    W = np.ones((1, len(confidence)))
    return float(weighted_ece(W, confidence, correct, bins, equal_mass=equal_mass)[0])


def _present(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    confidence, correct = floats(confidence), floats(correct)
    both = np.isfinite(confidence) & np.isfinite(correct)
    return confidence[both], correct[both]


def weighted_ece(
    W: Floats, confidence: Floats, correct: Floats, bins: int = 15, *, equal_mass: bool = True
) -> Floats:
    """`expected_calibration_error` of each draw.

    Args:
        W: [b, N] whole numbers.
        confidence, correct: [N], nothing missing.

    Returns:
        [b].
    """
    sums = _mass_bins if equal_mass else _width_bins
    gap = sums(W, floats(confidence), floats(correct) - floats(confidence), bins)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(gap).sum(axis=1) / W.sum(axis=1))


def _width_bins(W: Floats, confidence: Floats, values: Floats, bins: int) -> Floats:
    """[b, bins] sum of the values per bin."""
    index = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    return np.asarray(W @ (values[:, None] * (index[:, None] == np.arange(bins))))


def _mass_bins(W: Floats, confidence: Floats, values: Floats, bins: int) -> Floats:
    """[b, bins] sum of the values per bin."""
    levels = _Levels(confidence)
    mass = levels.cumulated(W)
    return np.diff(_interpolated(_mass_edges(mass, bins), mass, levels.cumulated(W, values)))


def _mass_edges(mass: Floats, bins: int) -> Floats:
    """[b, bins + 1] edges of bins of as equal mass as whole items allow, larger ones first."""
    size, extra = np.divmod(np.rint(mass[:, -1:]), bins)
    steps = np.arange(bins + 1)
    return np.asarray(steps * size + np.minimum(steps, extra))


def _interpolated(at: Floats, mass: Floats, below: Floats) -> Floats:
    """Interpolate each row of below [b, L] over its rising mass [b, L], at [b, E] within it.

    All rows in one search: each is moved beyond the one before. One row of mass and of at serves
    every row of below.
    """
    rows, levels = mass.shape
    move = np.arange(rows)[:, None] * (mass[:, -1].max(initial=0) + 1)
    found = np.searchsorted((mass + move).ravel(), (at + move).ravel(), side="right") - 1
    low = found.reshape(at.shape) - np.arange(rows)[:, None] * levels
    high = np.minimum(low + 1, levels - 1)
    row = np.arange(rows)[:, None]
    width = mass[row, high] - mass[row, low]
    past = at - mass[row, low]
    share = np.divide(past, width, out=np.zeros_like(past), where=width > 0)
    which = np.arange(len(below))[:, None]
    return np.asarray(below[which, low] + share * (below[which, high] - below[which, low]))


def calibrated_ece(confidence: ArrayLike, count: int, seed: int, bins: int = 15) -> Floats:
    """ECE (equal-mass) that chance gives answers right with exactly their confidence.

    ECE is a mean of absolute values, so that it is above 0 also where calibration is perfect; this
    is its null.

    Args:
        confidence: [N].
        count: draws.
        seed: of the draws.
        bins: number of bins.

    Returns:
        [count].
    """
    confidence = floats(confidence)
    rng = np.random.default_rng(seed)
    right = (rng.random((count, len(confidence))) < confidence).astype(np.float64)
    levels = _Levels(confidence)
    mass = levels.cumulated(np.ones((1, len(confidence))))
    edges, below = _mass_edges(mass, bins), levels.cumulated(right - confidence)
    gaps = np.diff(_interpolated(edges, mass, below))
    return np.asarray(np.abs(gaps).sum(axis=1) / max(len(confidence), 1))


class _Levels:
    """Items in order of confidence, those of equal confidence together."""

    def __init__(self, confidence: Floats):
        self.order = np.argsort(confidence, kind="stable")
        ordered = confidence[self.order]
        self.starts = np.flatnonzero(np.diff(ordered, prepend=-np.inf) != 0)
        self.distinct = len(self.starts) == len(ordered)

    def cumulated(self, W: Floats, values: Floats | None = None) -> Floats:
        """Running sum of W, or of W · values, up to each level, [b, levels + 1]; starts with 0."""
        ordered = (W if values is None else W * values)[:, self.order]
        if not self.distinct:
            ordered = np.add.reduceat(ordered, self.starts, axis=1)
        return np.pad(np.cumsum(ordered, axis=1), ((0, 0), (1, 0)))


def aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Area under the risk-coverage curve: mean error rate among the n most confident, over all n.

    Items of equal confidence enter in every order, averaged.

    Args:
        confidence: [N].
        correct: [N] 1 or 0; items missing on a side are left out.

    Returns:
        A fraction in [0, 1], lower is better; NaN without items.
    """
    confidence, correct = _present(confidence, correct)
    return float(weighted_aurc(np.ones((1, len(confidence))), confidence, correct)[0])


def weighted_aurc(W: Floats, confidence: Floats, correct: Floats) -> Floats:
    """`aurc` of each draw.

    Within a level of m items with e errors, reached after s items with E errors, the expected
    errors among the first n are E + (n − s)·e/m, so that its part of the sum over n is
    (E − s·e/m)·(H(s + m) − H(s)) + e with the harmonic numbers H.

    Args:
        W: [b, N] whole numbers.
        confidence, correct: [N], nothing missing.

    Returns:
        [b].
    """
    levels, wrong = _Levels(-floats(confidence)), 1 - floats(correct)
    most = round(float(W.sum(axis=1).max(initial=0)))
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, most + 1))])
    seen, errors = levels.cumulated(W), levels.cumulated(W, wrong)
    mass, added = np.diff(seen, axis=1), np.diff(errors, axis=1)
    rate = np.divide(added, mass, out=np.zeros_like(mass), where=mass > 0)
    steps = np.diff(harmonic[np.rint(seen).astype(np.int64)], axis=1)
    area = ((errors[:, :-1] - seen[:, :-1] * rate) * steps).sum(axis=1) + errors[:, -1]
    total = seen[:, -1]
    return np.asarray(np.divide(area, total, out=np.full(len(W), np.nan), where=total > 0))


@dataclass(frozen=True)
class ReliabilityCurve:
    """Mean confidence, accuracy and number of items per bin; NaN in bins without items."""

    confidence: Floats
    accuracy: Floats
    items: Floats


def reliability_curve(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 15, *, equal_mass: bool = True
) -> ReliabilityCurve:
    """Accuracy against confidence in the bins of `expected_calibration_error`."""
    confidence, correct = _present(confidence, correct)
    sums = _mass_bins if equal_mass else _width_bins
    W, ones = np.ones((1, len(confidence))), np.ones(len(confidence))
    items = sums(W, confidence, ones, bins)[0]
    some = np.where(items > 0, items, np.nan)
    held, right = (sums(W, confidence, values, bins)[0] / some for values in (confidence, correct))
    return ReliabilityCurve(held, right, items)


def brier_scores(probabilities: Floats, gold: Ints) -> Floats:
    """Brier score of each item, Σ over options of (p − 1[gold])².

    Args:
        probabilities: [N, K], NaN for options an item does not have.
        gold: [N] index of the right option.

    Returns:
        [N], between 0 and 2; NaN where the right option has no probability.
    """
    p = floats(probabilities)
    right = _of_gold(p, gold)
    return np.asarray(np.nansum(p * p, axis=1) - right**2 + (1 - right) ** 2)


def _of_gold(values: Floats, gold: Ints) -> Floats:
    return np.take_along_axis(values, np.asarray(gold, np.int64)[:, None], axis=1)[:, 0]


def brier(probabilities: Floats, gold: Ints) -> float:
    """Mean Brier score; arguments as for `brier_scores`."""
    return _mean(brier_scores(probabilities, gold))


def nll_scores(probabilities: Floats, gold: Ints) -> Floats:
    """Negative log-likelihood of the right option in nats, [N]; infinite where it has none."""
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log(_of_gold(floats(probabilities), gold)))


def nll(probabilities: Floats, gold: Ints) -> float:
    """Mean negative log-likelihood in nats; arguments as for `brier_scores`."""
    return _mean(nll_scores(probabilities, gold))


def _mean(scores: Floats) -> float:
    present: Bools = ~np.isnan(scores)
    return float(scores[present].mean()) if present.any() else np.nan
