"""Where in a model an SAE reads, from the names that its makers use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Side = Literal["output", "input"]

# what follows the block in a name of TransformerLens → point
LENS = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_mlp_in": "mlp_in",
    "ln2.hook_normalized": "mlp_in",
    "hook_mlp_out": "mlp_out",
    "hook_attn_out": "attn_out",
    "attn.hook_z": "attn_z",
}
# what follows the block in a name of a Hugging Face module → point
MODULES = {
    "": "resid_post",
    "mlp": "mlp_out",
    "attn": "attn_out",
    "self_attn": "attn_out",
    "attention": "attn_out",
    "post_feedforward_layernorm": "mlp_out",
    "pre_feedforward_layernorm": "mlp_in",
    "self_attn.o_proj": "attn_z",
}
EMBEDDINGS = ("hook_embed", "embed_tokens", "embed_in", "wte")
BLOCK = re.compile(r"(?:^|.*\.)(?:layers|h|blocks|block|layer)[._](\d+)(?:\.(.*))?$")


@dataclass(frozen=True, slots=True)
class Hook:
    """A place in a model.

    Attributes:
        layer: number of the block, from 0; ``None`` where the format does not tell.
        point: ``resid_post`` (output of the block), ``resid_pre`` (its input), ``resid_mid``,
            ``mlp_in``, ``mlp_out``, ``attn_out``, ``attn_z`` (head outputs side by side, what the
            output projection reads), ``embedding``, or ``other``.
        module: name of the Hugging Face module in the model or in its base model, where known.
        side: whether what is read is the module's output or its input.
    """

    layer: int | None = None
    point: str = "resid_post"
    module: str | None = None
    side: Side = "output"

    def __str__(self) -> str:
        if self.point == "embedding":
            return "the embedding"
        where = self.point if self.point != "other" or not self.module else self.module
        return f"layer {'?' if self.layer is None else self.layer}, {where}"


def parse_hook(name: str) -> Hook:
    """Read the name of a hook of TransformerLens, or of a module of transformers.

    >>> parse_hook("blocks.3.hook_resid_pre")
    Hook(layer=3, point='resid_pre', module=None, side='output')
    >>> parse_hook("model.layers.12.self_attn.o_proj.input")
    Hook(layer=12, point='attn_z', module='model.layers.12.self_attn.o_proj', side='input')
    """
    name, side = _side(name.strip())
    if name.rsplit(".", 1)[-1] in EMBEDDINGS:
        return Hook(None, "embedding", None if name.startswith("hook_") else name, side)
    found = BLOCK.match(name)
    if found is None:
        return Hook(None, "other", name or None, side)
    layer, rest = int(found[1]), found[2] or ""
    if name.startswith("blocks.") and rest in LENS:
        return Hook(layer, LENS[rest])
    point = MODULES.get(rest, "other")
    if side == "input":
        point = {"resid_post": "resid_pre", "mlp_out": "mlp_in"}.get(point, point)
    elif point == "attn_z":
        point = "attn_out"
    return Hook(layer, point, _module(name), side)


def _side(name: str) -> tuple[str, Side]:
    if name.endswith(".input"):
        return name.removesuffix(".input"), "input"
    return name.removesuffix(".output"), "output"


def _module(name: str) -> str:
    """Spell ``layer_10`` of old folders as the module that it means."""
    return re.sub(r"^layer_(\d+)", r"layers.\1", name)
