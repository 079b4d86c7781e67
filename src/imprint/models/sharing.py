"""Whether a model reads a tree of tokens as it reads each request by itself.

It does where every layer is plain attention, told by a mask and by positions: then what a token
sees and where it stands is all that counts. Recurrent layers, convolutions, positions taken from
the place in the tensor, and rotary angles that change with the length do not allow it; a sliding
window does as long as a request fits into it.
"""

from __future__ import annotations

from typing import Any

ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
MASKED = {"sdpa", "eager"}  # attention that takes a mask of any form
CHANGING = ("dynamic", "longrope")  # rotary angles that depend on the length


def shareable(model: Any) -> int | None:
    """Give the most tokens of a request that may share its beginning, ``None`` for any number.

    This reads the model's settings alone and gives 0 where sharing is known not to be exact. What
    settings do not tell (code of a model's own) is found by comparison, see ``scoring``.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if not kinds <= ATTENTION or getattr(model, "_is_stateful", False):
        return 0
    if getattr(model.config, "is_encoder_decoder", False) or _changing(config):
        return 0
    if getattr(model.config, "_attn_implementation", None) not in MASKED:
        return 0
    return min(_windows(config, kinds), default=None)


def _windows(config: Any, kinds: set[str]) -> list[int]:
    """Give how far layers look back, those that look back to the beginning left out."""
    told = []
    listed = getattr(config, "layer_types", None) is not None
    if "sliding_attention" in kinds or not listed:
        told.append(getattr(config, "sliding_window", None))
    if "chunked_attention" in kinds:
        told.append(getattr(config, "attention_chunk_size", None))
    if "local" in (getattr(config, "attention_layers", None) or ()):  # GPT-Neo
        told.append(getattr(config, "window_size", None))
    return [one for one in told if isinstance(one, int)]


def _changing(config: Any) -> bool:
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    entries = [rope, *(one for one in rope.values() if isinstance(one, dict))]
    kinds = [str(one.get("rope_type", one.get("type", ""))) for one in entries]
    return any(sign in kind for kind in kinds for sign in CHANGING)
