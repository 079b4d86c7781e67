"""Muon: steps of matrices made orthogonal (Jordan et al. 2024), for all matrices of a size at once.

The momentum of a matrix is brought near to the orthogonal matrix closest to it by five steps of a
Newton-Schulz iteration, so that every direction is learned at the same pace. Query, key and value,
gate and up count as matrices of their own. Steps of [in, out] are scaled by √max(1, out/in).
"""

from __future__ import annotations

import math
from typing import Any

from imprint.lab.pretraining.shape import Shape

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the published iteration
STEPS = 5


def matrices(shape: Shape, flat: Any) -> list[Any]:
    """View parameters [R, P] as the layers' matrices, by size: each [R · layers, in, out]."""
    d, f = shape.width, shape.ffn
    layers = flat[:, : matrix_count(shape)].reshape(flat.shape[0] * shape.layers, -1)
    qkv, o, gate_up, down = layers.split([3 * d * d, d * d, 2 * d * f, f * d], dim=1)
    return [
        *qkv.view(-1, d, 3 * d).split(d, dim=2),
        o.view(-1, d, d),
        *gate_up.view(-1, d, 2 * f).split(f, dim=2),
        down.view(-1, f, d),
    ]


def matrix_count(shape: Shape) -> int:
    """How many parameters stand in the layers' matrices; they come first."""
    return shape.layers * (4 * shape.width**2 + 3 * shape.width * shape.ffn)


def orthogonal(torch: Any, flat: Any, shape: Shape) -> None:
    """Put scaled orthogonal steps in the place of momenta, tensor [R, P], in its dtype."""
    groups: dict[tuple[int, ...], list[Any]] = {}
    for view in matrices(shape, flat):
        groups.setdefault(tuple(view.shape[1:]), []).append(view)
    for (rows, columns), views in groups.items():
        made = _newton_schulz(torch, torch.cat(views)) * math.sqrt(max(1, columns / rows))
        for view, step in zip(views, made.split(len(views[0])), strict=True):
            view.copy_(step)


def _newton_schulz(torch: Any, x: Any) -> Any:
    """Bring the singular values of matrices [·, in, out] near to one."""
    a, b, c = COEFFICIENTS
    tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(STEPS):
        square = torch.bmm(x, x.transpose(1, 2))
        mixed = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, mixed, x, beta=a)
    return x.transpose(1, 2) if tall else x
