"""Whether pretraining is balanced enough for post-training, direction by direction.

arXiv 2603.01293, section 7: an argument about where training starts, not a theorem.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imprint.stats.arrays import Bools, Floats
from imprint.theory.covariance import Covariance, error_by_direction
from imprint.theory.pretraining import optimum
from imprint.theory.setting import Setting


@dataclass(frozen=True, slots=True)
class Balance:
    """Indicators per direction, [d] each; 1 is the threshold of the first two.

    Attributes:
        chi: (Γ₀⁻¹Δ)_jj, the paper's ratio.
        nu: |1 − Σ_j/Γ₀_j|, the size of the operator that training starts from. The two agree only
            where n is large against trΣ₀/Σ₀_j.
        start_error: squared error of the pretrained model on this direction, ν² and the sampling
            part; its mean is the test error before any post-training.
        latent: weakly covered by pretraining and within reach: Σ₀_j > 0, Δ_j > 0 and χ_j < 1.
    """

    chi: Floats
    nu: Floats
    start_error: Floats
    latent: Bools

    @property
    def spec_radius(self) -> float:
        """ρ(Γ₀⁻¹Δ) = max χ_j: above 1 the shift is a new task for outcome supervision."""
        return float(self.chi.max())

    @property
    def start_radius(self) -> float:
        """Max ν_j: above 1 the free-running recursion diverges at the start."""
        return float(self.nu.max())


def balance(
    pretraining: Covariance, shift: Covariance, n_pre: float, n_test: float = np.inf
) -> Balance:
    """Compare what a test adds with what pretraining covered.

    Args:
        pretraining: Σ₀.
        shift: Δ.
        n_pre: context length of pretraining.
        n_test: context length of the test.
    """
    start = optimum(pretraining, n_pre)
    test = pretraining + shift
    chi = -start * shift.eigenvalues
    return Balance(
        chi,
        np.abs(1 + start * test.eigenvalues),
        error_by_direction(start, test, n_test),
        pretraining.support & shift.support & (chi < 1),
    )


def indicators(setting: Setting) -> Balance:
    """`balance` of a setting."""
    return balance(setting.pretraining, setting.shift, setting.n_pre, setting.n_test)
