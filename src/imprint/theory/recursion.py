"""What linear self-attention computes from a prompt, as a recursion on its weight estimate.

Equal to the forward pass over tokens in `lsa`, at d × d per step (arXiv 2603.01293, appendix A).
"""

from __future__ import annotations

import numpy as np

from imprint.stats.arrays import Floats


def rollout(
    moment: Floats, task: Floats, value: Floats, steps: int, key: Floats | None = None
) -> Floats:
    """Estimates ŵ₀ = 0, …, ŵ_k of ŵᵢ₊₁ = ŵᵢ + ṼS(W̃ŵᵢ − w*), equation A.1.

    Args:
        moment: S = XXᵀ/n, [d, d].
        task: w*, [d].
        value: Ṽ, [d, d].
        steps: k.
        key: W̃, [d, d]; by default I.

    Returns:
        [k + 1, d].
    """
    found = np.zeros((steps + 1, len(task)))
    for i in range(steps):
        read = found[i] if key is None else key @ found[i]
        found[i + 1] = found[i] + value @ (moment @ (read - task))
    return found


def closed_form(
    moment: Floats, task: Floats, value: Floats, steps: int, key: Floats | None = None
) -> Floats:
    """ŵ_k = −Σ_{i<k} (I + ṼSW̃)ⁱ ṼSw*, equation A.4, [d]; arguments as in `rollout`."""
    d = len(task)
    push = value @ moment
    transfer = np.eye(d) + (push if key is None else push @ key)
    total = np.zeros((d, d))
    for _ in range(steps):
        total = np.eye(d) + transfer @ total
    return np.asarray(-total @ (push @ task))


def targets(task: Floats, steps: int, target_rate: float) -> Floats:
    """Targets of supervised steps, wᵢ = (1 − (1 − η)ⁱ)w* for i = 0 … k, [k + 1, d]."""
    shares = 1 - (1 - target_rate) ** np.arange(steps + 1)
    return np.asarray(shares[:, None] * task)
