"""A small step of the weights and back, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from imprint.errors import require
from imprint.models.batching import Batcher, padded
from imprint.models.likelihood import logits, weight
from imprint.models.load import Loaded
from imprint.models.requests import Request


@contextmanager
def in_float32(loaded: Loaded) -> Iterator[list[Any]]:
    """Let the model compute in float32 and give its weights; afterwards it has its own again.

    The model's tensors are set aside, never written to, so that they come back bit for bit. Needs
    memory for a second copy where they are of another type.
    """
    weights = [w for w in loaded.model.parameters() if w.is_floating_point()]
    own = [w.data for w in weights]
    try:
        for w in weights:
            w.data = w.data.float()
        yield weights
    finally:
        for w, data in zip(weights, own, strict=True):
            w.data = data


@contextmanager
def moved(weights: Sequence[Any], direction: Sequence[Any], length: float) -> Iterator[None]:
    """Move weights along a direction, and put them back bit for bit.

    Args:
        weights: of the model, in float32.
        direction: one tensor for each.
        length: what the direction is multiplied by.
    """
    own = [w.data for w in weights]
    try:
        for w, way in zip(weights, direction, strict=True):
            w.data = w.data + length * way
        yield
    finally:
        for w, data in zip(weights, own, strict=True):
            w.data = data


def loss_gradient(
    loaded: Loaded, weights: Sequence[Any], requests: Sequence[Request], batcher: Batcher
) -> list[Any]:
    """Give the gradient of the mean negative log-likelihood over all target tokens.

    Args:
        loaded: the model; dropout stays off.
        weights: by which to derive.
        requests: targets after contexts, at least one.
        batcher: puts requests together.

    Returns:
        For each weight a tensor of its shape.
    """
    torch = require("torch", "models")
    total = [torch.zeros_like(w) for w in weights]

    def add(batch: list[Request]) -> list[None]:
        parts = torch.autograd.grad(_loss(loaded, batch), weights, allow_unused=True)
        # only once all went well, so that a batch tried again with less memory counts once
        for sum_, part in zip(total, parts, strict=True):
            if part is not None:
                sum_.add_(part)
        return [None] * len(batch)

    with _derivable(weights), torch.enable_grad():
        batcher.run(requests, lambda one: weight(loaded, len(one.ids), len(one.targets)), add)
    tokens = sum(len(one.targets) for one in requests)
    return [sum_.div_(tokens) for sum_ in total]


@contextmanager
def _derivable(weights: Sequence[Any]) -> Iterator[None]:
    before = [w.requires_grad for w in weights]
    try:
        for w in weights:
            w.requires_grad_(True)
        yield
    finally:
        for w, was in zip(weights, before, strict=True):
            w.requires_grad_(was)


def _loss(loaded: Loaded, batch: Sequence[Request]) -> Any:
    """Sum of the negative log-likelihoods of all targets."""
    torch = require("torch", "models")
    # padding stands behind the text, where a causal model cannot see it
    ids = torch.tensor(list(padded([one.ids for one in batch])), device=loaded.device)
    labels = torch.full(ids.shape, -100)
    for row, one in enumerate(batch):
        labels[row, len(one.ids) - len(one.targets) : len(one.ids)] = torch.tensor(one.targets)
    keep = ids.shape[1] - min(len(one.ids) - len(one.targets) for one in batch)
    found = logits(loaded, keep, input_ids=ids, use_cache=False).float()
    wanted = labels[:, -keep:].to(found.device)
    return torch.nn.functional.cross_entropy(found.transpose(1, 2), wanted, reduction="sum")
