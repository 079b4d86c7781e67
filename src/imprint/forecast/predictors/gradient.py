"""What one small step of SFT does to gold answers of the domains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from imprint.errors import require
from imprint.forecast.material import Text
from imprint.forecast.predicted import Floats, Predicted
from imprint.forecast.predictors.gold import answer_request, missing, per_token
from imprint.forecast.predictors.step import in_float32, loss_gradient, moved
from imprint.forecast.setting import Setting
from imprint.models.requests import Request

STEP = 1e-4  # length of the step, in norms of all weights
NULLS = 2  # shuffles of SFT answers: each costs a gradient and two passes over the domains


def gradient(setting: Setting) -> list[Predicted]:
    """Give the change of each gold answer by one step of SFT, nats per token; signed.

    Along −∇L_S of the SFT loss, and along its sign, which is Adam's first step. The step is a
    ten-thousandth of the norm of all weights, so that the change is ε·⟨∇L_S, ∇L_D⟩ / ‖∇L_S‖ up to
    its cube; half the difference between a step forth and one back, by forward passes in float32,
    gives it for every text without a gradient of each. Under the null, SFT answers are shuffled
    among SFT prompts.
    """
    texts = [answer_request(setting, text) for text in setting.texts]
    asked = _known([answer_request(setting, one) for one in setting.sample])
    if not asked or not any(texts):
        return []
    with in_float32(setting.model) as weights:
        values = _changes(setting, weights, asked, texts)
        nulls = [
            _changes(setting, weights, shuffled, texts)
            for draw in range(min(NULLS, setting.draws))
            if (shuffled := _known(_shuffled(setting, draw)))
        ]
    names = (
        ("gradient", "one gradient step of SFT", "along the gradient"),
        ("gradient_sign", "one step of Adam", "along the sign of the gradient"),
    )
    return [
        Predicted(
            name,
            title,
            values[at][None],
            signed=True,
            null=np.stack([null[at] for null in nulls]) if nulls else None,
            family="gradient",
            note="; ".join(filter(None, [f"a step {note}", missing(values[at][None])])),
        )
        for at, (name, title, note) in enumerate(names)
    ]


def _changes(
    setting: Setting,
    weights: Sequence[Any],
    examples: Sequence[Request],
    texts: Sequence[Request | None],
) -> tuple[Floats, Floats]:
    """Give the change by a step along the gradient and along its sign, each [texts]."""
    slope = loss_gradient(setting.model, weights, examples, setting.batcher)
    size = STEP * _norm(weights)
    along = _central(setting, weights, slope, size / (_norm(slope) or 1.0), texts)
    for part in slope:
        part.sign_()
    return along, _central(setting, weights, slope, size / (_norm(slope) or 1.0), texts)


def _central(
    setting: Setting,
    weights: Sequence[Any],
    slope: Sequence[Any],
    length: float,
    texts: Sequence[Request | None],
) -> Floats:
    with moved(weights, slope, -length):
        forth = per_token(setting, texts)
    with moved(weights, slope, length):
        back = per_token(setting, texts)
    return (forth - back) / 2


def _norm(tensors: Sequence[Any]) -> float:
    torch = require("torch", "models")
    with torch.no_grad():
        return math.sqrt(sum(float(t.double().square().sum()) for t in tensors))


def _known(requests: Sequence[Request | None]) -> list[Request]:
    return [one for one in requests if one is not None]


def _shuffled(setting: Setting, draw: int) -> list[Request | None]:
    """Give the SFT examples with answers dealt out anew."""
    examples = setting.sample
    order = setting.chances(4, draw).permutation(len(examples))
    return [
        answer_request(setting, Text(one.name, one.group, one.prompt, examples[n].answer))
        for one, n in zip(examples, order, strict=True)
    ]
