"""Which data SFT should have (arXiv 2603.01293, section 5.1)."""

from __future__ import annotations

import numpy as np

from imprint.errors import ConfigError
from imprint.stats.arrays import Bools, Floats
from imprint.theory.covariance import Covariance
from imprint.theory.setting import Setting


def best_allocation(
    pretraining: Covariance, shift: Covariance, target_rate: float, on: Bools | None = None
) -> Covariance:
    """A* = η(P_U Σ₀ P_U + Δ) on the directions U.

    Args:
        pretraining: Σ₀.
        shift: Δ.
        target_rate: η.
        on: [d] the directions U; by default those of the shift. With all directions and one n this
            reaches the least possible error exactly, since Γ_{ηΣ} = ηΓ_Σ; on some of them it is an
            approximation for large n.

    Raises:
        ConfigError: the shift reaches beyond U.
    """
    chosen = shift.support if on is None else on
    if (shift.support & ~chosen).any():
        raise ConfigError("the shift has directions that the chosen ones leave out")
    inside = np.where(chosen, pretraining.eigenvalues, 0)
    return target_rate * Covariance(inside + shift.eigenvalues)


def interference_damage(setting: Setting, data: Covariance | None = None) -> Floats:
    """Squared bias (1 − ηΣ_j/a_j)² that SFT is driven to on each direction it touches.

    At a_j = ηΣ_j there is none: interference is a wrong scale, not the presence of other data.

    Returns:
        [d]; on directions without data NaN, as SFT leaves these alone.
    """
    a = (data or setting.data).eigenvalues
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(
            a > 0, (1 - setting.target_rate * setting.test.eigenvalues / a) ** 2, np.nan
        )
