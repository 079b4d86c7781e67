"""The gradient of a gold answer's log-likelihood at the activations of its prompt.

It tells how the answer's likelihood changes, to first order, when a direction is added to every
token of the prompt at the place that an SAE reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from imprint.errors import require
from imprint.forecast.features import Reader
from imprint.forecast.material import Text
from imprint.forecast.rendering import Rendered, render
from imprint.forecast.setting import Setting
from imprint.forecast.spans import kept
from imprint.forecast.statistics import Floats
from imprint.models.batching import padded
from imprint.models.likelihood import logits, weight


def answer_gradients(
    setting: Setting, reader: Reader, texts: Sequence[Text], *, bos: bool = True
) -> Floats:
    """Give Σ over the prompt's kept tokens of ∂ (mean log p of answer tokens) / ∂ x.

    Returns:
        [texts, d], nats per token and unit of x; NaN where there is no answer or it does not fit.
    """
    tokenizer = setting.model.tokenizer
    numbers, rows = [], []
    for n, text in enumerate(texts):
        if text.answer is None:
            continue
        row = render(tokenizer, setting.prompter, text, answer=text.answer, bos=bos)
        if row.query and row.answer and len(row.ids) <= setting.engine.context:
            numbers.append(n)
            rows.append(row)

    def cost(row: Rendered) -> int:
        return 2 * weight(setting.model, len(row.ids), len(row.answer or ()))

    parts = setting.batcher.run(rows, cost, lambda batch: _gradients(reader, batch))
    width = len(parts[0]) if parts else 1
    found = np.full((len(texts), width), np.nan)
    for n, part in zip(numbers, parts, strict=True):
        found[n] = part
    return found


def _gradients(reader: Reader, batch: Sequence[Rendered]) -> list[Floats]:
    torch = require("torch", "models")
    loaded, held = reader.loaded, []

    def leaf(x: Any) -> Any:
        held.append(x.detach().requires_grad_())
        return held[0]

    with _frozen(loaded.model), torch.enable_grad(), reader.where.hooked(leaf):
        ids = torch.tensor(list(padded([one.ids for one in batch])), device=loaded.device)
        keep = ids.shape[1] - min(one.answer.start for one in batch if one.answer) + 1
        found = logits(loaded, keep, input_ids=ids, use_cache=False).float()
        total = _told(found, ids, batch, keep)
        (slope,) = torch.autograd.grad(total, held)
    parts = []
    for row, one in enumerate(batch):
        own = slice(one.query.start, one.query.stop)
        ok = kept(held[0][row, own].detach(), reader.median)
        parts.append(slope[row, own][ok].double().sum(0).cpu().numpy())
    return parts


def _told(found: Any, ids: Any, batch: Sequence[Rendered], keep: int) -> Any:
    """Sum over the batch of each answer's mean log-probability."""
    torch = require("torch", "models")
    labels = torch.full(ids.shape, -100, device=found.device)
    shares = torch.zeros(ids.shape, device=found.device)
    for row, one in enumerate(batch):
        if one.answer:
            at = slice(one.answer.start - 1, one.answer.stop - 1)
            labels[row, at] = ids[row, one.answer.start : one.answer.stop].to(found.device)
            shares[row, at] = 1 / len(one.answer)
    losses = torch.nn.functional.cross_entropy(
        found.transpose(1, 2), labels[:, -keep:], reduction="none", ignore_index=-100
    )
    return -(losses * shares[:, -keep:]).sum()


@contextmanager
def _frozen(model: Any) -> Iterator[None]:
    """Keep gradients of weights from being made while the block runs."""
    before = [(w, w.requires_grad) for w in model.parameters()]
    try:
        for w, _ in before:
            w.requires_grad_(False)
        yield
    finally:
        for w, was in before:
            w.requires_grad_(was)
