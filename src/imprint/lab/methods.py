"""Ways of fine-tuning that hold back what changes, beside plain full fine-tuning.

- ``full``: every parameter.
- ``lora``: low-rank adapters on all linear layers (arXiv 2106.09685), merged into the model.
- ``attention_frozen``: every parameter but those of attention.
- ``ffn_only``: the parameters of feed-forward blocks alone.
- ``l2_to_base``: every parameter, with λ·Σ(θ − θ₀)² added to the loss (L2-SP, arXiv 1802.01483,
  without its factor ½ and over all parameters).
- ``top_k``: a first training finds the share of parameters that change most over the whole model;
  a second one from the base lets only these move (lottery ticket adaptation, arXiv 2406.16797).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Literal, get_args

from imprint.errors import ConfigError, nearest, require

Name = Literal["full", "lora", "attention_frozen", "ffn_only", "l2_to_base", "top_k"]
NAMES: tuple[Name, ...] = get_args(Name)
# names of modules in the architectures of transformers
ATTENTION = re.compile(r"(^|\.)(self_attn|self_attention|attention|attn|linear_attn)(\.|$)")
FEED_FORWARD = re.compile(
    r"(^|\.)(mlp|ffn|feed_forward|block_sparse_moe|moe|experts|fc1|fc2|dense_4h_to_h|dense_h_to_4h)"
    r"(\.|$)"
)


def check_method(name: str) -> None:
    """Refuse a name that is no method.

    Raises:
        ConfigError: so.
    """
    if name not in NAMES:
        raise ConfigError(f"there is no method {name!r}; {nearest(name, NAMES)}")


def choose_parameters(model: Any, method: Name) -> int:
    """Let a method's parameters be trained and no others; give how many these are.

    Raises:
        ConfigError: the model has no modules of the names that the method knows.
    """
    if method in ("attention_frozen", "ffn_only"):
        kind = ATTENTION if method == "attention_frozen" else FEED_FORWARD
        matched = 0
        for name, weight in model.named_parameters():
            found = bool(kind.search(name))
            matched += found
            weight.requires_grad_(found == (method == "ffn_only"))
        if not matched:
            raise ConfigError(
                f"{method} finds no such block in a {type(model).__name__}",
                remedy="use another method; known names of modules are in imprint.lab.methods.",
            )
    return trained_parameters(model)


def trained_parameters(model: Any) -> int:
    """Count the parameters that training may change."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def with_lora(model: Any, *, rank: int, alpha: float, seed: int) -> Any:
    """Put an adapter on every linear layer of a model but its output head.

    Raises:
        DependencyError: peft is not installed.
    """
    peft, torch = require("peft", "lab"), require("torch", "lab")
    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", bias="none"
    )
    return peft.get_peft_model(model, config)


class Anchor:
    """The squared distance of a model's parameters to where they began, times a weight.

    Args:
        model: as it is at the start; its trained parameters are copied.
        strength: λ.
    """

    def __init__(self, model: Any, strength: float):
        self.strength = strength
        trained = {n: w for n, w in model.named_parameters() if w.requires_grad}
        self.start = {name: weight.detach().clone() for name, weight in trained.items()}

    def __call__(self, model: Any) -> Any:
        """Give λ·Σ(θ − θ₀)², a scalar that gradients flow through."""
        total: Any = 0.0
        for name, weight in model.named_parameters():
            begun = self.start.get(name.removeprefix("module."))
            if begun is not None:
                total = total + (weight - begun.to(weight.device)).square().sum()
        return self.strength * total


def largest_changes(before: dict[str, Any], model: Any, share: float) -> dict[str, Any]:
    """Mark the share of parameters that have changed most, over all tensors together.

    Exactly ``max(1, round(share · N))`` are marked. Of equal changes those come first that come
    first in the model.

    Args:
        before: tensors by name, as they were.
        model: as it is.
        share: in (0, 1].

    Returns:
        A tensor of truth values for each name.
    """
    torch = require("torch", "lab")
    moved = {n: (w.detach() - before[n]).abs() for n, w in model.named_parameters() if n in before}
    flat = torch.cat([one.flatten().float() for one in moved.values()])
    count = max(1, round(share * flat.numel()))
    order = torch.argsort(flat, descending=True, stable=True)[:count]
    marked = torch.zeros(flat.numel(), dtype=torch.bool, device=flat.device)
    marked[order] = True
    pieces = marked.split([one.numel() for one in moved.values()])
    return {name: piece.view_as(moved[name]) for name, piece in zip(moved, pieces, strict=True)}


def hold(model: Any, masks: dict[str, Any]) -> Callable[[], None]:
    """Zero the gradients outside the masks from now on; give what undoes it.

    With no weight decay AdamW leaves a parameter whose gradient is always 0 exactly where it is.
    """
    handles: list[Any] = []
    for name, weight in model.named_parameters():
        if name in masks and weight.requires_grad:
            handles.append(weight.register_hook(_masking(masks[name])))
    return lambda: _remove(handles)


def _masking(mask: Any) -> Callable[[Any], Any]:
    return lambda gradient: gradient * mask.to(gradient.device, gradient.dtype)


def _remove(handles: Iterable[Any]) -> None:
    for handle in handles:
        with suppress(KeyError):
            handle.remove()
