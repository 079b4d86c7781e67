"""The SFT loss as it is defined: every step reads the true earlier ones, Ṽ and W̃ both free.

arXiv 2603.01293, section 4 and appendix A. Shapes as in `outcome`: Ṽ, W̃ [d, d]; S [B, d, d];
Ω [d, B]. The least-squares form of `sft` is this at W̃ = I.
"""

from __future__ import annotations

import numpy as np

from imprint.stats.arrays import Floats


def loss_weight(steps: int, target_rate: float) -> float:
    """c_k = Σ_{i≤k} (1 − η)^(2i), all that the number of steps does to the loss at W̃ = I."""
    return float(np.sum((1 - target_rate) ** (2 * np.arange(steps + 1))))


def loss(
    value: Floats, key: Floats, moments: Floats, tasks: Floats, steps: int, target_rate: float
) -> float:
    """(1/2B) Σ_τ Σ_{i=0..k} ‖Rᵢ‖², Rᵢ = ṼS(W̃wᵢ − w*) + wᵢ − wᵢ₊₁: k + 1 terms.

    Args:
        value, key: Ṽ and W̃.
        moments: S of every prompt.
        tasks: Ω.
        steps: k.
        target_rate: η.
    """
    _, residuals = _residuals(value, key, moments, tasks, steps, target_rate)
    return float(np.sum(residuals**2) / (2 * len(moments)))


def gradients(
    value: Floats, key: Floats, moments: Floats, tasks: Floats, steps: int, target_rate: float
) -> tuple[Floats, Floats]:
    """Gradients with respect to Ṽ and W̃, [d, d] each; arguments as in `loss`."""
    pushes, residuals = _residuals(value, key, moments, tasks, steps, target_rate)
    back = np.einsum("bij,kbj->kbi", moments, residuals @ value)
    read = _shares(steps, target_rate)[:-1, None, None] * tasks.T
    count = len(moments)
    by_value = np.einsum("kbi,kbj->ij", residuals, pushes) / count
    return by_value, np.einsum("kbi,kbj->ij", back, read) / count


def _shares(steps: int, target_rate: float) -> Floats:
    return np.asarray(1 - (1 - target_rate) ** np.arange(steps + 2))


def _residuals(
    value: Floats, key: Floats, moments: Floats, tasks: Floats, steps: int, target_rate: float
) -> tuple[Floats, Floats]:
    """S(W̃wᵢ − w*) and Rᵢ, [k + 1, B, d] each."""
    shares = _shares(steps, target_rate)[:, None, None]
    read = shares[:-1] * (tasks.T @ key.T) - tasks.T
    pushes = np.einsum("bij,kbj->kbi", moments, read)
    return pushes, pushes @ value.T + (shares[:-1] - shares[1:]) * tasks.T
