"""From pre-activations to latents: the functions that formats name.

All take float32 [N, L] and give the same shape, zero where a latent does not fire. ``separable``
ones judge each latent by itself, so they can be had for chosen latents alone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self


@dataclass(frozen=True, slots=True, eq=False)
class Activation:
    """Base; fields that are tensors hold a value per latent."""

    name: ClassVar[str] = "identity"
    separable: ClassVar[bool] = True

    def __call__(self, pre: Any) -> Any:
        """Give the latents of pre-activations [N, L]; here they are the same."""
        return pre

    def each(self, change: Any) -> Self:
        """Give it with every tensor changed, as to a device or to chosen latents."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: change(v) for name, v in values.items() if hasattr(v, "shape")}
        return replace(self, **tensors)


class Identity(Activation):
    """Latents are their pre-activations, of either sign."""


class Relu(Activation):
    """Negative ones are zero."""

    name = "relu"

    def __call__(self, pre: Any) -> Any:
        """Give max(pre, 0)."""
        return pre.clamp(min=0)


@dataclass(frozen=True, slots=True, eq=False)
class JumpRelu(Activation):
    """Zero up to a threshold [L] or [], the value itself above, never negative."""

    name: ClassVar[str] = "jumprelu"
    threshold: Any

    def __call__(self, pre: Any) -> Any:
        """Give pre where it is above the threshold and above zero."""
        return pre.clamp(min=0) * (pre > self.threshold)


@dataclass(frozen=True, slots=True, eq=False)
class Gated(Activation):
    """Two biases [L] on one product: one decides whether a latent fires, the other how much.

    Rajamanoharan et al. 2024 (arXiv 2404.16014): magnitude weights are the gate's times
    exp(``r_mag``).
    """

    name: ClassVar[str] = "gated"
    b_gate: Any
    b_mag: Any
    r_mag: Any

    def __call__(self, pre: Any) -> Any:
        """Give the magnitude where the gate is open; ``pre`` is the product without a bias."""
        magnitude = pre * self.r_mag.exp() + self.b_mag
        return magnitude.clamp(min=0) * (pre + self.b_gate > 0)


@dataclass(frozen=True, slots=True, eq=False)
class TopK(Activation):
    """The k largest of each row; negative ones are zero unless ``signed`` (largest in size)."""

    name: ClassVar[str] = "topk"
    separable: ClassVar[bool] = False
    k: int
    signed: bool = False

    def __call__(self, pre: Any) -> Any:
        """Keep the k largest of every row."""
        kept = (pre.abs() if self.signed else pre).topk(self.k, dim=-1, sorted=False).indices
        found = pre.new_zeros(pre.shape).scatter_(-1, kept, pre.gather(-1, kept))
        return found if self.signed else found.clamp_(min=0)


@dataclass(frozen=True, slots=True, eq=False)
class GroupMax(Activation):
    """The largest of each of k groups of neighbouring latents, never negative."""

    name: ClassVar[str] = "groupmax"
    separable: ClassVar[bool] = False
    k: int

    def __call__(self, pre: Any) -> Any:
        """Keep the largest of every group."""
        grouped = pre.clamp(min=0).unflatten(-1, (self.k, -1))
        best = grouped.max(dim=-1, keepdim=True)
        found = grouped.new_zeros(grouped.shape).scatter_(-1, best.indices, best.values)
        return found.flatten(-2)
