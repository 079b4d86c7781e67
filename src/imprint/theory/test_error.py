"""Error of one-step prediction in the test, per dimension."""

from __future__ import annotations

import numpy as np

from imprint.stats.arrays import Floats
from imprint.theory.covariance import Covariance, error_by_direction
from imprint.theory.pretraining import optimum
from imprint.theory.setting import Setting


def test_error(weights: Floats, test: Covariance, n_test: float) -> float:
    """E‖ŵ − w*‖²/d, exact (arXiv 2603.01293, proposition 5.1, with W̃ = I).

    Args:
        weights: [d] the diagonal of Ṽ, or [d, d] Ṽ.
        test: covariance of the test inputs.
        n_test: context length of the test.
    """
    return float(error_by_direction(weights, test, n_test).mean())


test_error.__test__ = False  # type: ignore[attr-defined] # its name must not make pytest run it


def floor(setting: Setting) -> float:
    """Least error per dimension that any Ṽ has in one step: that of −Γ_Σ⁻¹."""
    return test_error(optimum(setting.test, setting.n_test), setting.test, setting.n_test)


def error_share(weights: Floats, test: Covariance, n_test: float) -> Floats:
    """Share of each direction in the error of `test_error`, [d], summing to 1."""
    parts = error_by_direction(weights, test, n_test)
    return np.asarray(parts / parts.sum())
