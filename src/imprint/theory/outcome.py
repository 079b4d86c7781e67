"""Outcome supervision: regression on the last of k free-running reasoning steps.

arXiv 2603.01293, section 6 and appendix E, at W̃ = I. The paper calls it the RL stage; it has no
sampling, reward or policy gradient. A prompt's residual is M^k w* with M = I + ṼS.

Shapes: Ṽ [d, d]; moments S [B, d, d]; tasks Ω [d, B].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from imprint.stats.arrays import Floats
from imprint.theory.covariance import Covariance
from imprint.theory.sampler import draw_moments, draw_tasks
from imprint.theory.setting import Setting


def draw_prompts(
    setting: Setting, prompts: int, seed: int, data: Covariance | None = None
) -> tuple[Floats, Floats]:
    """Draw the moments [B, d, d] and the tasks [d, B] of prompts.

    Args:
        setting: gives the context length of post-training and, unless ``data`` does, A.
        prompts: B.
        seed: of the draw.
        data: another covariance of the inputs.
    """
    draw = np.random.default_rng(seed)
    tasks = draw_tasks(setting.d, prompts, draw)
    return draw_moments(data or setting.data, setting.n_sft, prompts, draw), tasks


def loss(weights: Floats, moments: Floats, tasks: Floats, steps: int) -> float:
    """Outcome loss (1/2B) Σ ‖M^k w*‖².

    Args:
        weights: Ṽ, [d, d].
        moments: S of every prompt, [B, d, d].
        tasks: Ω, [d, B].
        steps: k.
    """
    last = _states(weights, moments, tasks, steps)[-1]
    return float(np.sum(last**2) / (2 * len(moments)))


def gradient(weights: Floats, moments: Floats, tasks: Floats, steps: int) -> Floats:
    """Exact gradient with respect to Ṽ, [d, d]; arguments as in `loss`.

    (1/B) Σ Σⱼ (Mᵀ)ʲ M^k w* (S M^(k−1−j) w*)ᵀ, by one pass forward and one back.
    """
    states = _states(weights, moments, tasks, steps)
    adjoint, total = states[-1], np.zeros_like(weights)
    for state in states[-2::-1]:
        total += adjoint.T @ _apply(moments, state)
        adjoint = adjoint + _apply(moments, adjoint @ weights)
    return np.asarray(total / len(moments))


def curvature(
    weights: Floats, moments: Floats, tasks: Floats, steps: int, direction: Floats
) -> Floats:
    """Exact product of the Hessian with a direction [d, d], in its shape; the rest as in `loss`.

    The gradient's two passes carried along with their derivatives in the direction.
    """
    states = _states(weights, moments, tasks, steps)
    moved = [np.zeros_like(states[0])]
    for state, tangent in zip(states[:-1], moved, strict=False):
        push = _apply(moments, tangent) @ weights.T + _apply(moments, state) @ direction.T
        moved.append(tangent + push)
    adjoint, tilt, total = states[-1], moved[-1], np.zeros_like(weights)
    for state, tangent in zip(states[-2::-1], moved[-2::-1], strict=True):
        total += tilt.T @ _apply(moments, state) + adjoint.T @ _apply(moments, tangent)
        tilt = tilt + _apply(moments, tilt @ weights + adjoint @ direction)
        adjoint = adjoint + _apply(moments, adjoint @ weights)
    return np.asarray(total / len(moments))


def sharpness(
    weights: Floats,
    moments: Floats,
    tasks: Floats,
    steps: int,
    *,
    tolerance: float = 1e-6,
    most: int = 2000,
    seed: int = 0,
) -> float:
    """Give λ_max of the Hessian, by power iteration on exact products.

    Args:
        weights, moments, tasks, steps: as in `loss`.
        tolerance: relative residual ‖Hv − λv‖/|λ| to stop at; λ itself is then far closer.
        most: products at most, in each of at most two iterations.
        seed: of the start.
    """
    start = np.random.default_rng(seed).standard_normal(weights.shape)

    def product(vector: Floats) -> Floats:
        return curvature(weights, moments, tasks, steps, vector)

    largest = _power(product, start, tolerance, most)
    if largest >= 0:
        return largest
    # the largest in size is the lowest: moved up by it, the Hessian has no negative eigenvalue
    return largest + _power(lambda v: product(v) - largest * v, start, tolerance, most)


def _power(
    product: Callable[[Floats], Floats], vector: Floats, tolerance: float, most: int
) -> float:
    value = 0.0
    for _ in range(most):
        vector = vector / np.linalg.norm(vector)
        image = product(vector)
        value = float(np.sum(vector * image))
        if np.linalg.norm(image - value * vector) <= tolerance * abs(value):
            break
        vector = image
    return value


def scalar_curvature(transfer: float, moment: float, task: float, steps: int) -> float:
    """Hessian for d = 1 and one prompt, k(2k − 1)ρ^(2k−2)s²w²; k² of k(2k − 1) is Gauss-Newton's.

    Args:
        transfer: ρ = 1 + vs.
        moment: s.
        task: w.
        steps: k.
    """
    return steps * (2 * steps - 1) * transfer ** (2 * steps - 2) * moment**2 * task**2


def scale(spec_radius: float, steps: int) -> float:
    """k²ρ^(2k−2), the paper's law for λ_max (equation 6.1): an order of magnitude at finite n.

    With negative M, which is where training starts on a new task, the sharpness is far above it.
    """
    return float(steps**2 * spec_radius ** (2 * steps - 2))


def curvature_bound(weights: Floats, moments: Floats, tasks: Floats, steps: int) -> float:
    """Upper bound k(2k − 1) mean ‖M‖^(2k−2) ‖w*‖² ‖S‖² on the Hessian's norm.

    Appendix E prints k²‖M‖^(2k−2) ‖w*‖² ‖S‖: that is short of the square on ‖S‖, and of the part
    beyond Gauss-Newton. ‖·‖ is the operator norm, not the spectral radius.
    """
    size = np.linalg.norm(moments, 2, axis=(1, 2))
    transfer = np.linalg.norm(np.eye(len(weights)) + weights @ moments, 2, axis=(1, 2))
    power = transfer ** (2 * steps - 2) * np.sum(tasks**2, axis=0) * size**2
    return float(steps * (2 * steps - 1) * power.mean())


def step_limit(sharpness: float) -> float:
    """Largest stable step of gradient descent, 2/λ_max; infinite without positive curvature."""
    return 2 / sharpness if sharpness > 0 else np.inf


def descend(
    start: Floats, moments: Floats, tasks: Floats, steps: int, *, step: float, updates: int
) -> tuple[Floats, Floats]:
    """Plain gradient descent on the outcome loss.

    Args:
        start: Ṽ₀, [d, d].
        moments, tasks, steps: as in `loss`.
        step: size of an update.
        updates: number of updates.

    Returns:
        Ṽ [d, d] after the last, and the loss before each and after the last, [updates + 1];
        infinite or NaN where it has run away.
    """
    weights, losses = np.array(start, np.float64), np.empty(updates + 1)
    with np.errstate(over="ignore", invalid="ignore"):
        for number in range(updates):
            losses[number] = loss(weights, moments, tasks, steps)
            weights = weights - step * gradient(weights, moments, tasks, steps)
        losses[updates] = loss(weights, moments, tasks, steps)
    return weights, losses


def _states(weights: Floats, moments: Floats, tasks: Floats, steps: int) -> list[Floats]:
    states = [np.ascontiguousarray(tasks.T)]
    for _ in range(steps):
        states.append(states[-1] + _apply(moments, states[-1]) @ weights.T)
    return states


def _apply(moments: Floats, states: Floats) -> Floats:
    return np.asarray(np.matmul(moments, states[:, :, None])[:, :, 0])
