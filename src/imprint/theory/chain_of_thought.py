"""Reasoning steps at test time (arXiv 2510.03605): more steps of the pretrained recursion.

With Ṽ = −Γ⁻¹ each step is a preconditioned gradient step on the prompt's squared error.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from imprint.stats.arrays import Floats
from imprint.theory.covariance import Covariance
from imprint.theory.pretraining import optimum
from imprint.theory.sampler import draw_moments, draw_tasks


def simulated_error(
    weights: Floats, test: Covariance, n_test: int, steps: int, prompts: int, seed: int
) -> Floats:
    """‖ŵᵢ − w*‖²/d of random test prompts after each number of steps.

    Args:
        weights: [d] the diagonal of Ṽ, or [d, d] Ṽ.
        test: covariance of the test inputs.
        n_test: context length of the test.
        steps: most steps k.
        prompts: number of prompts.
        seed: of the draw.

    Returns:
        [k + 1, prompts], from no step to k; infinite or NaN where the recursion has run away.
    """
    draw = np.random.default_rng(seed)
    gaps = draw_tasks(test.d, prompts, draw).T
    value = np.diag(weights) if weights.ndim == 1 else weights
    found = np.empty((steps + 1, prompts))
    for at, gap in enumerate(gaps):
        moment = draw_moments(test, n_test, 1, draw)[0]
        found[:, at] = _path(gap, value, moment, steps)
    return found


def _path(gap: Floats, value: Floats, moment: Floats, steps: int) -> Floats:
    errors = np.empty(steps + 1)
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(steps + 1):
            errors[i] = np.mean(gap**2)
            gap = gap + value @ (moment @ gap)
    return errors


def direct_bound(pretraining: Covariance, n_pre: int, n_test: int) -> float:
    """Bound on E‖ŵ − w‖² of one step, d/n²(1 + H)² + d/m(1 + H), H = trΛ/λ_min (theorem 3.3)."""
    hard = 1 + pretraining.task_hardness()
    return pretraining.d * ((hard / n_pre) ** 2 + hard / n_test)


def cot_bound(pretraining: Covariance, n_pre: int, steps: int) -> float:
    """Leading term of E‖w_{k+1} − w‖², d(1 + n/(1 + H))^(−2k) (corollary 3.5)."""
    gain = 1 + n_pre / (1 + pretraining.task_hardness())
    return float(pretraining.d * gain ** (-2 * steps))


def overthinking(pretraining: Covariance, test: Covariance, n_pre: float, steps: int) -> float:
    """tr((I − Γ^(−1/2) Σ Γ^(−1/2))^(2k)), which drives the error of k steps (remark 4.1).

    Grows with k if the test has a direction that pretraining covers too little: one with
    Σ_j > 2Γ_j.
    """
    gap = 1 + optimum(pretraining, n_pre) * test.eigenvalues
    return float(np.sum(gap ** (2 * steps)))


def mixture_gap(shares: Floats, parts: Floats, target: Covariance) -> float:
    """‖I − Σ⁻¹ Σ_ℓ π_ℓΛ_ℓ‖²_F of a mixture of pretraining tasks (proposition 4.3).

    Args:
        shares: π, [L].
        parts: eigenvalues of the tasks' covariances Λ_ℓ, [L, d].
        target: Σ, of full rank.
    """
    return float(np.sum((1 - shares @ parts / target.eigenvalues) ** 2))


def best_mixture(parts: Floats, target: Covariance) -> Floats:
    """Shares of pretraining tasks that bring the mixture nearest to the target, [L].

    On the simplex the gap is ‖Gπ‖² for a matrix G, and its least point is that of
    ‖Gπ‖² + (Σπ − 1)² over π ≥ 0, scaled to sum 1. Arguments as in `mixture_gap`.
    """
    gaps = 1 - parts / target.eigenvalues
    shares, _ = nnls(np.vstack([gaps.T, np.ones(len(parts))]), np.eye(target.d + 1)[-1])
    return np.asarray(shares / shares.sum())
