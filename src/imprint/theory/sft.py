"""Supervised fine-tuning on step-by-step targets, in closed form (arXiv 2603.01293, section 4).

The targets are wᵢ = (1 − (1 − η)ⁱ)w*, read by the model one after the other (teacher forcing).
With W̃ = I this is multi-output least squares of −ηΩ on Φ, whatever the number of steps.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import qr, solve_triangular

from imprint.stats.arrays import Floats
from imprint.theory.covariance import Covariance
from imprint.theory.pretraining import pretrained
from imprint.theory.sampler import draw_columns, draw_tasks
from imprint.theory.setting import Setting


def draw_prompts(
    setting: Setting, prompts: int, seed: int, data: Covariance | None = None
) -> tuple[Floats, Floats]:
    """Draw Ω and Φ of an SFT set, both [d, B].

    Args:
        setting: gives the context length and, unless ``data`` does, the covariance A.
        prompts: B.
        seed: of the draw.
        data: another covariance of the inputs.
    """
    draw = np.random.default_rng(seed)
    tasks = draw_tasks(setting.d, prompts, draw)
    return tasks, draw_columns(tasks, data or setting.data, setting.n_sft, draw)


def sft_weights(
    setting: Setting, prompts: int, seed: int, data: Covariance | None = None
) -> Floats:
    """Ṽ after SFT to the end on B random prompts, started from the pretrained model, [d, d].

    As `draw_prompts` and `closed_form`.
    """
    tasks, columns = draw_prompts(setting, prompts, seed, data)
    return closed_form(tasks, columns, pretrained(setting), setting.target_rate)


def closed_form(tasks: Floats, columns: Floats, start: Floats, target_rate: float) -> Floats:
    """Ṽ* = −ηΩΦ⁺ + Ṽ₀(I − ΦΦ⁺), where gradient descent from Ṽ₀ ends.

    arXiv 2603.01293, equation 4.1. The paper's theorem, that (Ṽ*, I) is the limit of ridge towards
    the pretrained weights in Ṽ and W̃ together, needs ṼΦ = −ηΩ to be solvable, generically
    B ≤ rank A; with more prompts this is the optimum for W̃ = I held fixed.

    Args:
        tasks: Ω, [d, B].
        columns: Φ, [d, B], of rank min(B, rank A); the directions that A lacks are rows of 0.
        start: Ṽ₀, [d] its diagonal or [d, d].
        target_rate: η.

    Returns:
        [d, d].
    """
    live = columns.any(axis=1)
    first = np.diag(start) if start.ndim == 1 else np.array(start)
    before = start[:, None] * columns if start.ndim == 1 else start @ columns
    first[:, live] -= times_pseudo_inverse(before + target_rate * tasks, columns[live])
    return first


def times_pseudo_inverse(left: Floats, matrix: Floats) -> Floats:
    """left · matrix⁺ for a matrix of full rank, by QR on its longer side.

    Args:
        left: [p, B].
        matrix: [l, B].

    Returns:
        [p, l].
    """
    if matrix.shape[1] <= matrix.shape[0]:
        Q, R = qr(matrix, mode="economic", check_finite=False)
        return np.asarray(solve_triangular(R, left.T, trans="T", check_finite=False).T @ Q.T)
    Q, R = qr(matrix.T, mode="economic", check_finite=False)
    return np.asarray(solve_triangular(R, (left @ Q).T, check_finite=False).T)


def sft_limit(setting: Setting, data: Covariance | None = None) -> Floats:
    """Ṽ after SFT on infinitely many prompts, [d] the diagonal.

    −η((n+1)/n A + (trA/n) AA⁺)⁺ + Ṽ₀(I − AA⁺): arXiv 2603.01293, proposition 4.3, equation 4.2.
    """
    inputs = data or setting.data
    learned = -setting.target_rate / inputs.ridged(setting.n_sft)
    return np.where(inputs.support, learned, pretrained(setting))


def surrogate_weights(
    setting: Setting, prompts: int, seed: int, data: Covariance | None = None
) -> Floats:
    """Ṽ to first order in the sampling noise E = Φ − AΩ, [d, d], on the prompts of `sft_weights`.

    V_S + V_N with V_S = −ηΩ(AΩ)⁺ + Ṽ₀(I − Π), V_N = −V_S E (AΩ)⁺ and Π the projector on the range
    of AΩ: what theorem B.1 of arXiv 2603.01293 describes. Its error exceeds that of the exact
    estimator, at small r by far.
    """
    tasks, columns = draw_prompts(setting, prompts, seed, data)
    inputs = data or setting.data
    signal, live = inputs.eigenvalues[:, None] * tasks, inputs.support
    found = closed_form(tasks, signal, pretrained(setting), setting.target_rate)
    noise = found @ (columns - signal)
    found[:, live] -= times_pseudo_inverse(noise, signal[live])
    return found
