"""SFT by gradient descent on Ṽ, with the rate of theorem 4.2 (arXiv 2603.01293)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import qr

from imprint.stats.arrays import Floats, floats
from imprint.theory.covariance import Covariance
from imprint.theory.pretraining import pretrained
from imprint.theory.setting import Setting
from imprint.theory.sft import closed_form, draw_prompts
from imprint.theory.teacher_forcing import loss_weight


@dataclass(frozen=True, slots=True)
class Descent:
    """A run of gradient descent from the pretrained weights.

    Attributes:
        weights: Ṽ after the last update, [d, d].
        end: Ṽ* that it moves towards, [d, d].
        step: its step γ.
        step_limit: 2B/(c_k λ_max(M)), M = ΦΦᵀ; from there on it does not converge.
        gd_rate: α = max(|1 − γc_kλ_max/B|, |1 − γc_kλ⁺_min/B|).
        distances: ‖Ṽ_t − Ṽ*‖_F for t = 0 … updates.
    """

    weights: Floats
    end: Floats
    step: float
    step_limit: float
    gd_rate: float
    distances: Floats

    @property
    def bounds(self) -> Floats:
        """αᵗ‖Ṽ₀ − Ṽ*‖_F of the theorem, [updates + 1]; rounding keeps distances above about 1e-14.

        The paper writes the first distance as ‖Γ₀⁻¹ + Ṽ*‖_F.
        """
        return np.asarray(self.gd_rate ** np.arange(len(self.distances)) * self.distances[0])


def curvatures(columns: Floats) -> tuple[float, float]:
    """λ_max and the least positive eigenvalue of M = ΦΦᵀ, from the singular values of Φ.

    Args:
        columns: Φ, [d, B], of full rank but for rows of 0.
    """
    sizes = np.linalg.svd(columns[columns.any(axis=1)], compute_uv=False)
    return float(sizes[0] ** 2), float(sizes[-1] ** 2)


def sft_descent(
    setting: Setting,
    prompts: int,
    seed: int,
    *,
    updates: int,
    step: float | None = None,
    data: Covariance | None = None,
) -> Descent:
    """Gradient descent on the prompts of `sft.sft_weights`.

    Args:
        setting: its ``cot`` scales the loss by c_k, and so the largest step; not the end.
        prompts: B.
        seed: of the prompts.
        updates: number of updates.
        step: γ; by default B/(c_kλ_max), half the limit.
        data: another covariance of the inputs.
    """
    tasks, columns = draw_prompts(setting, prompts, seed, data)
    weight = loss_weight(setting.cot, setting.target_rate)
    return descend(
        tasks, columns, np.diag(pretrained(setting)), setting.target_rate, weight, updates, step
    )


def descend(
    tasks: Floats,
    columns: Floats,
    start: Floats,
    target_rate: float,
    weight: float,
    updates: int,
    step: float | None = None,
) -> Descent:
    """Gradient descent on (c_k/2B)‖ṼΦ + ηΩ‖².

    Args:
        tasks, columns: Ω and Φ, [d, B].
        start: Ṽ₀, [d, d].
        target_rate: η.
        weight: c_k of `teacher_forcing.loss_weight`.
        updates: number of updates.
        step: γ; by default half the limit.
    """
    largest, least = curvatures(columns)
    unit = tasks.shape[1] / weight
    limit = 2 * unit / largest
    chosen = limit / 2 if step is None else step
    end = closed_form(tasks, columns, start, target_rate)
    if tasks.shape[1] > len(tasks):  # the same gradient from d columns, and rounded less
        Q, R = qr(columns.T, mode="economic")
        tasks, columns = floats(tasks @ Q), floats(R.T)
    weights, distances = np.array(start, np.float64), np.empty(updates + 1)
    with np.errstate(over="ignore", invalid="ignore"):
        distances[0] = np.linalg.norm(weights - end)
        for t in range(1, updates + 1):
            residual = weights @ columns + target_rate * tasks
            weights -= chosen / unit * residual @ columns.T
            distances[t] = np.linalg.norm(weights - end)
    rate = max(abs(1 - chosen * largest / unit), abs(1 - chosen * least / unit))
    return Descent(weights, end, chosen, limit, rate, distances)
