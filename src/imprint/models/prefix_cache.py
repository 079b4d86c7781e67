"""Keys and values of prompts, computed once and given to every sample that continues them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from imprint.errors import ConfigError, require
from imprint.models.load import Loaded


class PromptCache:
    """What the model made of the prompts.

    Attributes:
        keys, values: per layer [prompts, heads, longest, width], prompts end at the right edge.
        lengths: tokens of each prompt, [prompts].
        logits: of the token after each prompt, [prompts, vocabulary].
    """

    def __init__(self, parts: Sequence[tuple[Any, Any, Any]], order: Sequence[int]):
        torch = require("torch", "models")
        longest = max(int(mask.shape[1]) for _, mask, _ in parts)
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(list(order))] = torch.arange(len(order))

        def joined(tensors: list[Any]) -> Any:
            wide = [_left(torch, tensor, longest) for tensor in tensors]
            return torch.cat(wide)[back.to(wide[0].device)]

        layers = range(len(parts[0][0].layers))
        self.keys = [joined([c.layers[n].keys for c, _, _ in parts]) for n in layers]
        self.values = [joined([c.layers[n].values for c, _, _ in parts]) for n in layers]
        device = parts[0][2].device
        self.logits = torch.cat([logits for _, _, logits in parts])[back.to(device)]
        self.lengths = torch.cat([mask.sum(1) for _, mask, _ in parts])[back.to(device)]

    def rows(self, prompts: Any, room: int) -> tuple[Any, Any]:
        """Give a cache with a row per sample and room for new tokens, and its attention mask.

        Args:
            prompts: index of each row's prompt, int64 [rows].
            room: tokens to come.
        """
        torch, cache_utils = (
            require("torch", "models"),
            require("transformers.cache_utils", "models"),
        )
        lengths = self.lengths[prompts]
        longest = int(lengths.max())
        layers = [
            _held()(k[prompts, :, -longest:], v[prompts, :, -longest:], room)
            for k, v in zip(self.keys, self.values, strict=True)
        ]
        at = torch.arange(longest + room, device=lengths.device)
        mask = (at[None] >= longest - lengths[:, None]).long()
        return cache_utils.Cache(layers=layers), mask


def refuse_stateful(loaded: Loaded) -> None:
    """Refuse a model whose state is no cache of keys and values.

    Raises:
        ConfigError: it is recurrent, at least in part.
    """
    if getattr(loaded.model, "_is_stateful", False):
        raise ConfigError(
            f"{type(loaded.model).__name__} keeps a recurrent state, which samples cannot share",
            where=str(loaded.folder),
            remedy="serve the model and name the server with --engine URL.",
        )


def _left(torch: Any, tensor: Any, longest: int) -> Any:
    """Pad [prompts, heads, tokens, width] on the left."""
    return torch.nn.functional.pad(tensor, (0, 0, longest - tensor.shape[2], 0))


@cache
def _held() -> Any:
    cache_utils = require("transformers.cache_utils", "models")

    class Held(cache_utils.DynamicLayer):  # type: ignore[misc, name-defined]
        """A layer's keys and values with room for what comes: nothing is copied as it grows."""

        def __init__(self, keys: Any, values: Any, room: int):
            super().__init__()
            self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
            self.length = keys.shape[2]
            self.all_keys, self.all_values = (
                t.new_empty((*t.shape[:2], t.shape[2] + room, t.shape[3])) for t in (keys, values)
            )
            self.all_keys[:, :, : self.length] = keys
            self.all_values[:, :, : self.length] = values

        def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
            end = self.length + key_states.shape[2]
            self.all_keys[:, :, self.length : end] = key_states
            self.all_values[:, :, self.length : end] = value_states
            self.length = end
            return self.all_keys[:, :, :end], self.all_values[:, :, :end]

        def get_seq_length(self) -> int:
            return int(self.length)

        def batch_select_indices(self, indices: Any) -> None:
            self.all_keys = self.all_keys[indices]
            self.all_values = self.all_values[indices]

    return Held
