"""From logits to log-probabilities of given tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from imprint.errors import require
from imprint.models.engine import Likelihood
from imprint.models.load import Loaded
from imprint.models.requests import Request

FLOATS = 1 << 24  # logits held in float32 at once
LOGITS = 1 << 14  # logits of a position that weigh as much as one token of a batch
Answer = tuple[int, npt.NDArray[np.int64], Request]


def weight(loaded: Loaded, tokens: int, wanted: int) -> int:
    """Give what a request costs, in tokens: those it reads, or its logits where they are more."""
    vocabulary = int(loaded.model.get_input_embeddings().weight.shape[0])
    return max(tokens, wanted * vocabulary // LOGITS)


def logits(loaded: Loaded, keep: int, **inputs: Any) -> Any:
    """Run the model and give the logits of the last ``keep`` places, [batch, keep, vocabulary]."""
    found = loaded.model(**inputs, **loaded.keeping(keep)).logits
    return found[:, -keep:]


def likelihoods(logits: Any, answers: Sequence[Answer]) -> list[Likelihood]:
    """Sum up the log-probabilities of each request's targets.

    Log-softmax is taken in float32, sums in float64.

    Args:
        logits: [batch, places, vocabulary], of any floating type.
        answers: for each request its row, the places where its targets are predicted [targets],
            and the request itself.
    """
    torch = require("torch", "models")
    rows = np.concatenate([np.full(len(places), row) for row, places, _ in answers])
    places = np.concatenate([places for _, places, _ in answers])
    targets = np.concatenate([np.array(one.targets) for _, _, one in answers])
    # options share places, the last of the context above all
    once, back = np.unique(np.stack([rows, places]), axis=1, return_inverse=True)
    at = [torch.from_numpy(each).to(logits.device) for each in (rows, places, targets, back)]
    norms, best = [], []
    for part in _parts(once, logits.shape[-1]):
        row, place = (torch.from_numpy(each).to(logits.device) for each in part)
        found = logits[row, place].float()
        norms.append(found.logsumexp(-1))
        best.append(found.argmax(-1))
    logprobs = logits[at[0], at[1], at[2]].float() - torch.cat(norms)[at[3]]
    greedy = (torch.cat(best)[at[3]] == at[2]).cpu().numpy()
    lengths = [len(one.targets) for _, _, one in answers]
    begins = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    sums = np.add.reduceat(logprobs.double().cpu().numpy(), begins)
    whole = np.logical_and.reduceat(greedy, begins)
    return [
        Likelihood(float(total), bool(all_best), length, one.cut)
        for total, all_best, length, (_, _, one) in zip(sums, whole, lengths, answers, strict=True)
    ]


def _parts(once: npt.NDArray[np.int64], vocabulary: int) -> Iterator[npt.NDArray[np.int64]]:
    step = max(1, FLOATS // vocabulary)
    return (once[:, at : at + step] for at in range(0, once.shape[1], step))
