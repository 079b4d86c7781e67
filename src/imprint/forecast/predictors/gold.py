"""How likely the model finds gold answers, whatever stands before them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imprint.errors import CheckpointError, DataError
from imprint.forecast.material import Text
from imprint.forecast.predicted import Floats
from imprint.forecast.setting import Setting
from imprint.models.prompting import Shot
from imprint.models.requests import Encoder, Request


def answer_request(setting: Setting, text: Text, shots: Sequence[Shot] = ()) -> Request | None:
    """Give the tokens by which a text's answer is scored after its prompt.

    Demonstrations are left out from the first on until all fits, never a part of one.

    Returns:
        ``None`` where there is no answer, where prompt and answer do not fit, or where there are
        demonstrations and not even one fits.
    """
    return shown_request(setting, text, shots)[0]


def shown_request(
    setting: Setting, text: Text, shots: Sequence[Shot]
) -> tuple[Request | None, int]:
    """Give the same, and how many demonstrations stand before the query."""
    if text.answer is None:
        return None, 0
    encoder, prompter = setting.engine.encoder, setting.prompter
    for first in range(max(1, len(shots))):
        context = prompter.context(text.prompt, shots[first:])
        found = _whole(encoder, context, prompter.delimiter + text.answer)
        if found is not None:
            return found, len(shots) - first
    return None, 0


def per_token(setting: Setting, requests: Sequence[Request | None]) -> Floats:
    """Give the mean log-probability of each request's targets, nats per token, [N]; NaN for none.

    Beginnings that requests share, such as demonstrations, are read once.

    Raises:
        CheckpointError: the model gives no numbers.
    """
    asked = [n for n, one in enumerate(requests) if one is not None]
    known = [one for one in requests if one is not None]
    found = np.full(len(requests), np.nan)
    scored = setting.engine.scorer.score(known)
    found[asked] = [s.logprob / len(one.targets) for s, one in zip(scored, known, strict=True)]
    refuse_nan(setting, found[asked])
    return found


def refuse_nan(setting: Setting, values: Floats) -> None:
    """Refuse a model whose numbers are none.

    Raises:
        CheckpointError: a value is NaN.
    """
    if np.isnan(values).any():
        raise CheckpointError(
            f"the model gives NaN for {int(np.isnan(values).sum()):,} of {values.size:,} values",
            where=str(setting.model.folder),
            remedy="its weights hold NaN, or --dtype is too narrow for them: try --dtype fp32.",
        )


def missing(values: Floats) -> str:
    """Say how many texts have no value; empty where all have one."""
    count = int(np.isnan(values).all(axis=0).sum())
    why = "have no answer or do not fit into the context"
    return f"{count:,} of {values.shape[1]:,} texts {why}" if count else ""


def _whole(encoder: Encoder, context: str, continuation: str) -> Request | None:
    try:
        found = encoder.request(context, continuation)
    except DataError:  # no token of its own, or more than the model reads
        return None
    return None if found.cut else found
