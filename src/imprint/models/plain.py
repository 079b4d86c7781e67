"""Scoring requests one by one, nothing shared between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imprint.errors import require
from imprint.models.batching import Batcher, padded
from imprint.models.engine import Likelihood
from imprint.models.load import Loaded
from imprint.models.requests import Request


def score(loaded: Loaded, requests: Sequence[Request], batcher: Batcher) -> list[Likelihood]:
    """Give the likelihood of each request's targets, in order.

    Logits are taken only where a target follows, and to float32 before the softmax.
    """
    return batcher.run(
        requests, lambda request: len(request.ids), lambda batch: _batch(loaded, batch)
    )


def _batch(loaded: Loaded, batch: Sequence[Request]) -> list[Likelihood]:
    torch = require("torch", "models")
    # padding stands behind the text, where a causal model cannot see it
    ids = torch.tensor(list(padded([one.ids for one in batch])), device=loaded.device)
    most = max(ids.shape[1] - (len(one.ids) - len(one.targets)) for one in batch)
    with torch.inference_mode():
        logits = loaded.model(input_ids=ids, use_cache=False, logits_to_keep=int(most)).logits
        begin = ids.shape[1] - logits.shape[1]
        return [
            likelihood(logits[row, at - begin : at - begin + len(one.targets)], one)
            for row, one in enumerate(batch)
            for at in [len(one.ids) - len(one.targets)]
        ]


def likelihood(logits: Any, request: Request) -> Likelihood:
    """Sum up the targets' log-probabilities.

    Args:
        logits: where each target is predicted, [targets, vocabulary], of any floating type.
        request: whose targets they are.
    """
    torch = require("torch", "models")
    targets = torch.tensor(request.targets, device=logits.device)
    found = logits.float().log_softmax(-1)
    logprob = found.gather(-1, targets[:, None]).sum()
    greedy = bool((found.argmax(-1) == targets).all())
    return Likelihood(float(logprob), greedy, len(request.targets), request.cut)
