"""Correlation of columns: plain, of ranks, partial, with intervals and p-values.

Formulas follow the usual textbooks; intervals for Spearman are those of Bonett and Wright (2000),
Psychometrika 65. An undefined correlation is NaN, and `status` says why.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtr

from .arrays import FEWEST_PAIRS, Floats, Ints, Strings, complete, floats, is_constant

COLLINEAR = 1e-10
"""Share of a variance left by the covariates below which it counts as fully explained."""


def complete_pairs(X: Floats, Y: Floats) -> Ints:
    """Count the rows in which both values are finite.

    Args:
        X, Y: [M, B].

    Returns:
        [B].
    """
    return np.asarray(complete(X, Y)[2].sum(axis=0), dtype=np.int64)


def status(X: Floats, Y: Floats) -> Strings:
    """Say per column whether a correlation is defined.

    Args:
        X, Y: [M, B].

    Returns:
        [B] of ``ok``, ``constant`` (a column without spread), ``too_few`` (fewer than 4 complete
        pairs) or ``no_pairs``.
    """
    X, Y, paired = complete(X, Y)
    n = paired.sum(axis=0)
    constant = is_constant(X, paired) | is_constant(Y, paired)
    conditions = [n == 0, n < FEWEST_PAIRS, constant]
    return np.asarray(np.select(conditions, ["no_pairs", "too_few", "constant"], "ok"))


def pearson(X: Floats, Y: Floats) -> Floats:
    """Pearson's r of each pair of columns over its complete rows.

    Args:
        X, Y: [M, B], or one column [M, 1] against many.

    Returns:
        [B]; NaN where `status` is not ``ok``.
    """
    X, Y, paired = complete(X, Y)
    x, y = _unit_columns(X), _unit_columns(Y)
    r = np.clip(np.nansum(x * y, axis=0), -1, 1)
    return np.where(_defined(X, Y, paired), r, np.nan)


def _defined(X: Floats, Y: Floats, paired: np.ndarray) -> np.ndarray:
    enough = paired.sum(axis=0) >= FEWEST_PAIRS
    return np.asarray(enough & ~is_constant(X, paired) & ~is_constant(Y, paired))


def _unit_columns(X: Floats) -> Floats:
    """Centre each column and divide by its length; scaled first, so that squares neither overflow
    nor vanish."""
    present = np.isfinite(X)
    n = np.maximum(present.sum(axis=0), 1)
    for _ in range(2):
        largest = np.max(np.abs(X), axis=0, where=present, initial=0)
        X = X / np.where(largest > 0, largest, 1)
        X = X - np.sum(X, axis=0, where=present) / n
    length = np.sqrt(np.sum(X * X, axis=0, where=present))
    return np.asarray(X / np.where(length > 0, length, 1))


def midranks(X: Floats) -> Floats:
    """Rank each column from 1, equal values sharing the mean of their ranks.

    Args:
        X: [M, B].

    Returns:
        [M, B]; NaN where X is not finite.
    """
    from scipy.stats import rankdata  # half a second, and few commands need it

    X = floats(X)
    finite = np.isfinite(X)
    ranks = rankdata(np.where(finite, X, np.inf), axis=0)
    return np.where(finite, ranks, np.nan)


def spearman(X: Floats, Y: Floats) -> Floats:
    """Spearman's ρ: Pearson's r of the midranks among complete rows.

    Args:
        X, Y: [M, B].

    Returns:
        [B]; NaN where `status` is not ``ok``.
    """
    X, Y, paired = complete(X, Y)
    return np.where(_defined(X, Y, paired), pearson(midranks(X), midranks(Y)), np.nan)


def kendall(X: Floats, Y: Floats) -> Floats:
    """Kendall's τ-b over complete rows, from the signs of all pairwise differences.

    Args:
        X, Y: [M, B].

    Returns:
        [B]; NaN where `status` is not ``ok``.
    """
    X, Y, paired = complete(X, Y)
    tau = np.full(X.shape[1], np.nan)
    for b in np.flatnonzero(_defined(X, Y, paired)):
        x, y = X[paired[:, b], b], Y[paired[:, b], b]
        signs_x, signs_y = np.sign(x[:, None] - x), np.sign(y[:, None] - y)
        untied = np.sqrt(np.count_nonzero(signs_x)) * np.sqrt(np.count_nonzero(signs_y))
        tau[b] = np.clip(np.vdot(signs_x, signs_y) / untied, -1, 1)
    return tau


def correlation_matrix(X: Floats, Y: Floats | None = None) -> Floats:
    """Pearson's r of every column of X with every column of Y, each over its complete rows.

    Args:
        X: [M, Bx].
        Y: [M, By]; X itself by default.

    Returns:
        [Bx, By].
    """
    X = floats(X)
    Y = X if Y is None else floats(Y)
    if not X.shape[1]:
        return np.empty((0, Y.shape[1]))
    return np.stack([pearson(X[:, [i]], Y) for i in range(X.shape[1])])


def partial(X: Floats, Y: Floats, Z: Floats, *, ranks: bool = False) -> Floats:
    """Correlate what the covariates leave of each pair of columns.

    X, Y are replaced by their least-squares residuals on Z and an intercept. Undefined (NaN) where
    fewer than three degrees of freedom remain or the covariates explain a column entirely.

    Args:
        X, Y: [M, B].
        Z: [M, K] covariates; rows where one is missing are left out.
        ranks: rank X, Y and every covariate among the complete rows first (partial Spearman).

    Returns:
        [B].
    """
    X, Y, paired = complete(X, Y)
    Z = floats(Z).reshape(len(X), -1)
    paired = paired & np.asarray(np.isfinite(Z).all(axis=1))[:, None]
    r = np.full(X.shape[1], np.nan)
    for b in np.flatnonzero(_defined(X, Y, paired)):
        rows = paired[:, b]
        r[b] = _partial(np.column_stack([X[rows, b], Y[rows, b]]), Z[rows], ranks)
    return r


def _partial(pair: Floats, Z: Floats, ranks: bool) -> float:
    if ranks:
        pair, Z = midranks(pair), midranks(Z)
    pair, Z = _unit_columns(pair), _unit_columns(Z)
    coefficients, _, rank, _ = np.linalg.lstsq(Z, pair, rcond=np.sqrt(COLLINEAR))
    left = pair - Z @ coefficients
    if len(pair) - 1 - rank < FEWEST_PAIRS - 1 or (np.sum(left**2, axis=0) < COLLINEAR).any():
        return np.nan
    x, y = _unit_columns(left).T
    return float(np.clip(x @ y, -1, 1))


def residuals(
    X: Floats, Y: Floats, Z: Floats | None, *, ranks: bool = False
) -> tuple[Floats, Floats]:
    """What the covariates leave of each pair of columns, over its complete rows.

    Args:
        X, Y: [M, B].
        Z: [M, K]; an intercept is added. ``None`` holds the intercept alone.
        ranks: rank X, Y and Z among the complete rows first.

    Returns:
        Two tables [M, B], NaN where either value of the pair is missing.
    """
    X, Y, paired = complete(floats(X), floats(Y))
    left = np.full(X.shape, np.nan), np.full(Y.shape, np.nan)
    covariates = np.empty((len(X), 0)) if Z is None else floats(Z)
    for b, rows in enumerate(paired.T):
        pair, held = np.column_stack([X[rows, b], Y[rows, b]]), covariates[rows]
        if ranks:
            pair, held = midranks(pair), midranks(held)
        design = np.column_stack([np.ones(len(held)), held])
        rest = pair - design @ np.linalg.lstsq(design, pair, rcond=None)[0]
        left[0][rows, b], left[1][rows, b] = rest.T
    return left


def fisher_interval(
    r: ArrayLike, n: ArrayLike, level: float = 0.95, controls: ArrayLike = 0
) -> tuple[Floats, Floats]:
    """Fisher's interval of a correlation, with SE(z) = 1/√(n − 3 − controls).

    Args:
        r: correlation, any shape; all arguments broadcast.
        n: complete pairs.
        level: coverage.
        controls: number of covariates held constant.

    Returns:
        Lower and upper end; (r, r) for |r| = 1, NaN where n − 3 − controls ≤ 0.
    """
    return _z_interval(floats(r), floats(n) - 3 - floats(controls), level, np.ones(()))


def bonett_wright_interval(
    r: ArrayLike, n: ArrayLike, level: float = 0.95, controls: ArrayLike = 0
) -> tuple[Floats, Floats]:
    """Interval of Spearman's ρ with SE(z) = √((1 + ρ²/2)/(n − 3 − controls)).

    Bonett and Wright (2000); arguments and returns as for `fisher_interval`.
    """
    return _z_interval(
        floats(r), floats(n) - 3 - floats(controls), level, np.sqrt(1 + floats(r) ** 2 / 2)
    )


def _z_interval(r: Floats, freedom: Floats, level: float, width: Floats) -> tuple[Floats, Floats]:
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.arctanh(r)
        reach = ndtri((1 + level) / 2) * width / np.sqrt(freedom)
        ends = np.tanh(z - reach), np.tanh(z + reach)
    defined = (freedom > 0) & np.isfinite(r)
    low, high = (np.where(defined, end, np.nan) for end in ends)
    return low, high


def t_test_p(r: ArrayLike, n: ArrayLike, controls: ArrayLike = 0) -> Floats:
    """Two-sided p of r = 0 by Student's t with n − 2 − controls degrees of freedom.

    Valid for independent pairs only; arguments broadcast. NaN without degrees of freedom.
    """
    r, freedom = np.broadcast_arrays(floats(r), floats(n) - 2 - floats(controls))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(r) * np.sqrt(freedom / ((1 - r) * (1 + r)))
        p = 2 * stdtr(freedom, -t)
    return np.where((freedom > 0) & np.isfinite(r), p, np.nan)


def fisher_mean(r: ArrayLike, axis: int = -1) -> Floats:
    """tanh of the mean of atanh r along an axis, undefined entries left out.

    NaN where nothing is defined, or where both a perfect 1 and a perfect −1 enter.
    """
    r = floats(r)
    present = np.isfinite(r)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.arctanh(np.where(present, r, 0.0))
        return np.asarray(np.tanh(z.sum(axis=axis) / present.sum(axis=axis)))
