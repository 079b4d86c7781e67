"""How well the model knows a domain before training, and what SFT examples before a query do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imprint.forecast.material import Text
from imprint.forecast.predicted import Floats, Predicted
from imprint.forecast.predictors.gold import answer_request, missing, per_token, shown_request
from imprint.forecast.setting import Setting
from imprint.models.prompting import Shot
from imprint.models.requests import Request


def likelihood(setting: Setting) -> list[Predicted]:
    """Give the surprise at gold answers and at prompts, and how much a prompt helps its answer.

    Surprise is the negative log-likelihood per token, whose exponential is the perplexity. The
    instruction-following difficulty is PPL(A | Q) / PPL(A): near 1 and above, the prompt does not
    help the model to the answer (Li et al., arXiv 2308.12032; here the model itself is the scorer
    and texts are those of the domains).
    """
    after = -per_token(setting, [answer_request(setting, text) for text in setting.texts])[None]
    alone = -per_token(setting, [_alone(setting, text) for text in setting.texts])[None]
    prompts = -per_token(setting, [_prompt(setting, text) for text in setting.texts])[None]
    told = (
        ("nll_answer", "surprise at gold answers", after, "nats per token"),
        ("nll_prompt", "surprise at prompts", prompts, "nats per token"),
        ("ifd", "difficulty of following prompts (IFD)", np.exp(after - alone), "of perplexities"),
    )
    return [
        Predicted(name, title, values, family="likelihood", note=_note(note, values))
        for name, title, values, note in told
    ]


def icl_gain(setting: Setting) -> list[Predicted]:
    """Give what SFT examples before a query do for its gold answer, nats per token; signed.

    The null takes the same examples, each with the answer of another SFT example: what is left of
    the gain then comes from their form and their words, not from what they teach.
    """
    if not setting.material.sft:
        return []
    alone = per_token(setting, [answer_request(setting, text) for text in setting.texts])
    draws = range(setting.draws)
    shown = [_shown(setting, _pairs(setting.drawn(d))) for d in draws]
    gains = np.stack([per_token(setting, requests) for requests, _ in shown]) - alone
    dealt = [_shown(setting, _mismatched(setting, d))[0] for d in draws]
    null = np.stack([per_token(setting, requests) for requests in dealt]) - alone
    note = f"{setting.demonstrations} SFT examples before the query, {setting.draws} draws"
    if fewer := sum(count for _, count in shown):
        note += f"; fewer in {fewer:,} of {gains.size:,} readings, for want of room"
    return [
        Predicted(
            "icl_gain",
            "gain by SFT examples in context",
            gains,
            signed=True,
            null=null,
            family="likelihood",
            note=_note(note, gains),
        )
    ]


def _shown(setting: Setting, shots: Sequence[Shot]) -> tuple[list[Request | None], int]:
    """Give a request per text behind demonstrations, and how many have less than all of these."""
    found = [shown_request(setting, text, shots) for text in setting.texts]
    return [one for one, _ in found], sum(bool(one) and n < len(shots) for one, n in found)


def _pairs(examples: Sequence[Text]) -> list[Shot]:
    return [(one.prompt, one.answer or "") for one in examples]


def _mismatched(setting: Setting, draw: int) -> list[Shot]:
    """Give the demonstrations of a draw with answers of other examples."""
    chances, sft = setting.chances(2, draw), setting.material.sft
    found = []
    for one in setting.drawn(draw):
        others = [other.answer for other in sft if other.answer != one.answer] or [one.answer]
        found.append((one.prompt, str(others[chances.integers(len(others))])))
    return found


def _prompt(setting: Setting, text: Text) -> Request | None:
    encoder = setting.engine.encoder
    ids = encoder.encode(text.prompt, special=False)[: encoder.limit]
    return Request((encoder.prefix, *ids[:-1]), tuple(ids)) if ids else None


def _alone(setting: Setting, text: Text) -> Request | None:
    encoder = setting.engine.encoder
    if text.answer is None:
        return None
    # with the blank before it, so that both perplexities are of the same tokens
    ids = encoder.encode(setting.prompter.delimiter + text.answer, special=False)
    fits = 0 < len(ids) <= encoder.limit
    return Request((encoder.prefix, *ids[:-1]), tuple(ids)) if fits else None


def _note(words: str, values: Floats) -> str:
    return "; ".join(filter(None, [words, missing(values)]))
