"""The divergence over a few most likely tokens of the tuned model (arXiv 2509.16596, 3.2).

The tuned model's k largest logits are taken, the base's logits at the same tokens, each k put
through a softmax of its own; the measure is KL(tuned‖base) of the two, in nats. It is 0 exactly
where the logits differ by a constant, does not see a constant added to either side, and is at most
KL(tuned‖base) over the whole vocabulary divided by the tuned probability of the k tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from imprint.errors import ConfigError, require
from imprint.models.divergence import same_width


def top_k_divergence(tuned: Any, base: Any, k: int = 10) -> npt.NDArray[np.float64]:
    """Give the renormalised divergence of each position.

    Args:
        tuned, base: logits [N, vocabulary]; equal tokens stand at equal places.
        k: how many tokens of the tuned model are kept; of equal logits the first tokens.

    Returns:
        [N], nats.

    Raises:
        ConfigError: k is less than 1, or above the vocabulary.
    """
    torch = require("torch", "models")
    tuned, base = same_width(torch.as_tensor(tuned), torch.as_tensor(base))
    _check(k, tuned.shape[-1])
    at = _first(tuned, k)
    log_q, log_p = (x.double().gather(-1, at.to(x.device)).log_softmax(-1) for x in (tuned, base))
    terms = log_q.exp() * (log_q - log_p.to(log_q.device))
    found = torch.where(log_q.isneginf(), 0.0, terms).sum(-1).clamp(min=0)
    values: npt.NDArray[np.float64] = found.cpu().numpy()
    return values


def top_k_mass(tuned: Any, base: Any, k: int = 10) -> npt.NDArray[np.float64]:
    """Give the probability of the tuned model's k tokens under tuned and base, [N, 2]."""
    torch = require("torch", "models")
    tuned, base = same_width(torch.as_tensor(tuned), torch.as_tensor(base))
    _check(k, tuned.shape[-1])
    at = _first(tuned, k)
    sums = [x.float().softmax(-1).gather(-1, at.to(x.device)).sum(-1).cpu() for x in (tuned, base)]
    values: npt.NDArray[np.float64] = torch.stack(sums, -1).double().numpy()
    return values


def _first(logits: Any, k: int) -> Any:
    # a stable sort settles ties by the token's index, which topk does not promise
    return logits.float().sort(dim=-1, descending=True, stable=True).indices[..., :k]


def _check(k: int, width: int) -> None:
    if not 1 <= k <= width:
        raise ConfigError(f"the top {k} of a vocabulary of {width} tokens cannot be taken")
