"""Finding the module of a model that an SAE reads."""

from __future__ import annotations

from typing import Any

from imprint.errors import ConfigError
from imprint.models.hidden import decoder
from imprint.models.load import Loaded
from imprint.saes.hook import Hook, Side

ATTENTION = ("self_attn", "attn", "attention", "self_attention")
PROJECTION = ("o_proj", "out_proj", "c_proj", "dense")
FEED_FORWARD = ("mlp", "feed_forward", "ffn")


def blocks(loaded: Loaded) -> Any:
    """Find the list of blocks.

    Raises:
        ConfigError: the architecture does not tell.
    """
    import torch

    count = loaded.model.config.get_text_config().num_hidden_layers
    found = [
        module
        for module in decoder(loaded).modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == count
    ]
    if not found:
        raise ConfigError(f"{type(loaded.model).__name__} does not tell its layers")
    return found[0]


def module_of(loaded: Loaded, hook: Hook) -> tuple[Any, Side]:
    """Find the module of a hook, and whether its output or its input is read.

    Raises:
        ConfigError: the model has no such layer or module, or the hook names no layer.
    """
    if hook.layer is not None:
        _refuse_beyond(loaded, hook.layer)
    if hook.module is not None:
        return _named(loaded, hook.module), hook.side
    if hook.point == "embedding":
        return loaded.model.get_input_embeddings(), "output"
    if hook.layer is None:
        raise ConfigError(
            "the SAE does not tell which layer it reads", remedy="say so with --layer."
        )
    block = blocks(loaded)[hook.layer]
    if hook.point in ("resid_post", "resid_pre"):
        return block, "output" if hook.point == "resid_post" else "input"
    if hook.point == "resid_mid":
        return _inside(block, ("post_attention_layernorm", "ln_2"), hook), "input"
    if hook.point in ("mlp_in", "mlp_out"):
        return _inside(block, FEED_FORWARD, hook), "output" if hook.point == "mlp_out" else "input"
    attention = _inside(block, ATTENTION, hook)
    if hook.point == "attn_out":
        return attention, "output"
    return _inside(attention, PROJECTION, hook), "input"


def _refuse_beyond(loaded: Loaded, layer: int) -> None:
    count = len(blocks(loaded))
    if not 0 <= layer < count:
        raise ConfigError(
            f"layer {layer} is asked for, and the model has layers 0 to {count - 1}",
            where=loaded.reference or str(loaded.folder),
            remedy="is the SAE of another model?",
        )


def _named(loaded: Loaded, name: str) -> Any:
    for root in (loaded.model, loaded.model.base_model):
        try:
            return root.get_submodule(name)
        except AttributeError:
            continue
    raise ConfigError(
        f"the model has no module {name!r}, which the SAE reads",
        where=loaded.reference or str(loaded.folder),
        remedy="is the SAE of another model?",
    )


def _inside(module: Any, names: tuple[str, ...], hook: Hook) -> Any:
    found = next((m for name in names if (m := getattr(module, name, None)) is not None), None)
    if found is None:
        raise ConfigError(f"{type(module).__name__} has no part that is read at {hook}")
    return found
