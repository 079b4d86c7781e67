"""What is done to activations before an SAE sees them, and undone after.

What is the same for all tokens (a scale, a whitening) is folded into the weights when an SAE is
read; the norms here depend on the token.
"""

from __future__ import annotations

from typing import Any, Literal

Norm = Literal["none", "layer_norm", "constant_norm", "centre", "average", "maybe_centre"]
# what the file does not tell and texts decide (`Sae.candidates`): a scale that brings the mean norm
# to √d, or whether the mean of each activation is taken away
UNDECIDED = ("average", "maybe_centre")
EPSILON = 1e-5  # of SAELens' layer_norm
BY_TOKEN = ("layer_norm", "constant_norm", "centre")


def enter(norm: Norm, x: Any) -> Any:
    """Give x [N, d] as the encoder wants it."""
    if norm == "layer_norm":
        return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + EPSILON)
    if norm == "constant_norm":
        return x * _to_root_width(x)
    if norm == "centre":
        return x - x.mean(-1, keepdim=True)
    return x


def leave(norm: Norm, y: Any, x: Any) -> Any:
    """Give what was decoded, y [N, d], on the scale of the x that it came from."""
    if norm == "layer_norm":
        return y * x.std(-1, keepdim=True) + x.mean(-1, keepdim=True)
    if norm == "constant_norm":
        return y / _to_root_width(x)
    if norm == "centre":
        return y + x.mean(-1, keepdim=True)
    return y


def _to_root_width(x: Any) -> Any:
    return x.shape[-1] ** 0.5 / x.norm(dim=-1, keepdim=True)
