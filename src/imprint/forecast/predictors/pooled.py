"""Texts as vectors: hidden states pooled over a text's own tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imprint.errors import ConfigError, require
from imprint.forecast.material import Text
from imprint.forecast.predicted import Floats
from imprint.forecast.predictors.gold import refuse_nan
from imprint.forecast.setting import Setting
from imprint.models.hidden import layer_states

SINK = 10.0  # times the median norm
Pooled = tuple[Floats, Floats, Floats]


@dataclass(frozen=True, eq=False)
class States:
    """Pooled states of texts, each [texts, width].

    Attributes:
        layer: mean of what the chosen block gives.
        last: mean of what the output head reads.
        late: the same with weights i / Σi, so that later tokens, which have seen more, count more
            (RDS+).
    """

    layer: Floats
    last: Floats
    late: Floats

    def only(self, numbers: Sequence[int] | npt.NDArray[np.int64]) -> States:
        """Keep some texts, in the order given."""
        at = np.asarray(numbers, dtype=np.int64)
        return States(self.layer[at], self.last[at], self.late[at])


def pooled(setting: Setting, texts: Sequence[Text]) -> States:
    """Read texts, each the prompt and its answer where there is one, and pool their states.

    The start of text, what fills up a batch, and tokens whose norm is more than ten times the
    text's median are left out; a text longer than the context is read
    as far as that goes. No chat template is put around: it would be the same in all texts.

    Raises:
        CheckpointError: the model gives no numbers.
        ConfigError: it has no such layer.
    """
    block = _block(setting)
    encoder = setting.engine.encoder
    rows = [_ids(setting, text, encoder.limit) for text in texts]
    found = setting.batcher.run(rows, len, lambda batch: _batch(setting, batch, block))
    return States(*(np.stack(side) for side in zip(*found, strict=True)))


def _ids(setting: Setting, text: Text, limit: int) -> list[int]:
    encoder = setting.engine.encoder
    answer = "" if text.answer is None else setting.prompter.delimiter + text.answer
    return [encoder.prefix, *encoder.encode(text.prompt + answer, special=False)][:limit]


def _block(setting: Setting) -> int:
    blocks = int(setting.model.model.config.get_text_config().num_hidden_layers)
    layer = blocks // 2 if setting.layer is None else setting.layer
    if not 0 <= layer < blocks:
        raise ConfigError(
            f"--layer {layer}, but the model has {blocks} layers, 0 to {blocks - 1}",
            where=str(setting.model.folder),
        )
    return layer


def _batch(setting: Setting, batch: list[list[int]], block: int) -> list[Pooled]:
    torch = require("torch", "models")
    found = []
    for states in layer_states(setting.model, batch):
        # a text of no token of its own leaves the start of text alone
        own = states[:, min(1, states.shape[1] - 1) :]
        middle, last = (_without_sinks(own[at].float()) for at in (block + 1, -1))
        weights = torch.arange(1, len(last) + 1, device=own.device, dtype=torch.float32)
        late = (last * (weights / weights.sum())[:, None]).sum(0)
        sides = (middle.mean(0), last.mean(0), late)
        found.append(tuple(side.double().cpu().numpy() for side in sides))
    refuse_nan(setting, np.concatenate([side for one in found for side in one]))
    return found


def _without_sinks(states: Any) -> Any:
    """Leave out tokens of an outlying norm, which a mean would be all about."""
    norms = states.norm(dim=-1)
    return states[~(norms > SINK * norms.median())]
