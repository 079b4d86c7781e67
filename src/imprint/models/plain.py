"""Scoring requests one by one, nothing shared between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imprint.errors import require
from imprint.models.batching import Batcher, padded
from imprint.models.engine import Likelihood
from imprint.models.likelihood import likelihoods, logits, weight
from imprint.models.load import Loaded
from imprint.models.requests import Request


def score_plainly(
    loaded: Loaded, requests: Sequence[Request], batcher: Batcher
) -> list[Likelihood]:
    """Give the likelihood of each request's targets, in order."""
    return batcher.run(
        requests,
        lambda one: weight(loaded, len(one.ids), len(one.targets)),
        lambda batch: _batch(loaded, batch),
    )


def _batch(loaded: Loaded, batch: Sequence[Request]) -> list[Likelihood]:
    torch = require("torch", "models")
    # padding stands behind the text, where a causal model cannot see it
    ids = torch.tensor(list(padded([one.ids for one in batch])), device=loaded.device)
    begins = [len(one.ids) - len(one.targets) for one in batch]
    first = min(begins)
    with torch.inference_mode():
        found = logits(loaded, ids.shape[1] - first, input_ids=ids, use_cache=False)
        return likelihoods(
            found,
            [
                (row, np.arange(begin - first, len(one.ids) - first), one)
                for row, (begin, one) in enumerate(zip(begins, batch, strict=True))
            ],
        )
