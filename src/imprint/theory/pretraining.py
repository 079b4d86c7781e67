"""Pretraining: what a linear self-attention learns from infinitely many prompts."""

from __future__ import annotations

import numpy as np

from imprint.stats.arrays import Floats
from imprint.theory.covariance import Covariance
from imprint.theory.setting import Setting


def optimum(data: Covariance, n: float) -> Floats:
    """Ṽ that predicts best in one step on such data: −Γ⁻¹, Γ = (1 + 1/n)Λ + (trΛ/n)I.

    Minimises E‖I + ṼS‖² over inputs of this covariance (arXiv 2603.01293, equations 3.6 and 3.7).

    Returns:
        [d] the diagonal.
    """
    return -1 / data.ridged(n)


def pretrained(setting: Setting) -> Floats:
    """Ṽ₀ = −Γ₀⁻¹ of the pretrained model, [d] the diagonal; W̃₀ = I."""
    return optimum(setting.pretraining, setting.n_pre)


def loss(weights: Floats, data: Covariance, n: float) -> float:
    """Population loss of pretraining without reasoning steps, ½E‖(I + ṼS)w*‖².

    Args:
        weights: [d] or [d, d] Ṽ. With ŵ₀ = 0 and one step, W̃ has no part in it.
    """
    return 0.5 * data.hardness(weights, n)


def gradient(weights: Floats, data: Covariance, n: float) -> Floats:
    """Its gradient E[S] + ṼE[S²], in the shape of the weights."""
    mean = data.eigenvalues if weights.ndim == 1 else np.diag(data.eigenvalues)
    return np.asarray(mean + weights * data.second_moment(n))


def descend(start: Floats, data: Covariance, n: float, steps: int) -> Floats:
    """Gradient descent on the population loss, at the step that fits its largest curvature.

    Direction j closes in on −Γ⁻¹ by the factor 1 − λ_j(E[S²])/λ_max(E[S²]) each step, so weak
    directions are learned last.

    Args:
        start: [d] or [d, d] Ṽ.
        steps: number of steps.

    Returns:
        Ṽ after the last step, in the shape of the start.
    """
    weights, step = np.array(start, np.float64), 1 / data.second_moment(n).max()
    for _ in range(steps):
        weights = weights - step * gradient(weights, data, n)
    return weights
