"""The pieces of theorem B.1 on one random draw, beside `asymptotics` (arXiv 2603.01293)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imprint.theory.covariance import error_by_direction
from imprint.theory.pretraining import pretrained
from imprint.theory.sampler import draw_tasks
from imprint.theory.setting import Setting
from imprint.theory.sft import closed_form, times_pseudo_inverse


@dataclass(frozen=True, slots=True)
class Pieces:
    """What each term of the theorem is the limit of; V_S = −ηΩ(AΩ)⁺ + Ṽ₀(I − Π).

    Attributes:
        t12: ‖Π₁₂‖²_F/d, Π the projector on the range of AΩ.
        bias: ‖I + V_SΣ‖²_F/d.
        t_inv, t_inv_sigma: ‖(AΩ)⁺Σ‖²_F and ‖(AΩ)⁺Σ^½‖²_F.
        t_var, t_var_sigma: (trA/d) tr(V_S A V_Sᵀ)/d and tr(V_S Σ V_Sᵀ)/d.
    """

    t12: float
    bias: float
    t_inv: float
    t_inv_sigma: float
    t_var: float
    t_var_sigma: float


def simulated_pieces(setting: Setting, prompts: int, seed: int) -> Pieces:
    """Compute them on random tasks; the noise of the inputs has no part in them.

    Args:
        setting: with interference above 0.
        prompts: B.
        seed: of the tasks.
    """
    d, a, sigma = setting.d, setting.data.eigenvalues, setting.test.eigenvalues
    tasks = draw_tasks(d, prompts, np.random.default_rng(seed))
    signal = a[:, None] * tasks
    inverse = times_pseudo_inverse(np.eye(prompts), signal)
    weights = closed_form(tasks, signal, pretrained(setting), setting.target_rate)
    spread, sizes = (np.einsum("ij,ij->j", M, M) for M in (inverse, weights))
    across = signal[: setting.weak] @ inverse[:, setting.weak :]
    return Pieces(
        float(np.sum(across**2) / d),
        float(error_by_direction(weights, setting.test, np.inf).mean()),
        float(spread @ sigma**2),
        float(spread @ sigma),
        float(a.mean() * (sizes @ a) / d),
        float(sizes @ sigma / d),
    )
