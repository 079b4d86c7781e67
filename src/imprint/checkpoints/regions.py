"""Where a tensor sits in the model, read from its name: layer, module, and named regions.

The names of GPT-2, GPT-NeoX, Llama, Qwen, Gemma, Phi, Mixtral, DeepSeek and their kin are known.
``transformer`` is what arXiv 2509.16596 counts: the linear matrices of every block, without norms,
biases, embeddings and head.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from imprint.errors import ConfigError, nearest

Part = Literal["attention", "mlp", "norm", "embedding", "head", "other"]
Chooses = Callable[[str], bool]

MODULES: dict[str, str] = {
    **dict.fromkeys(("q_proj", "query", "q_a_proj", "q_b_proj", "wq"), "q"),
    **dict.fromkeys(("k_proj", "key", "wk"), "k"),
    **dict.fromkeys(("v_proj", "value", "wv"), "v"),
    **dict.fromkeys(("o_proj", "out_proj", "wo"), "o"),
    **dict.fromkeys(("qkv_proj", "query_key_value", "c_attn", "Wqkv", "wqkv", "qkv"), "qkv"),
    **dict.fromkeys(("kv_a_proj_with_mqa", "kv_b_proj"), "kv"),
    **dict.fromkeys(("gate_proj", "w1"), "gate"),
    **dict.fromkeys(("up_proj", "w3", "c_fc", "dense_h_to_4h", "fc1", "fc_in"), "up"),
    **dict.fromkeys(("down_proj", "w2", "dense_4h_to_h", "fc2", "fc_out"), "down"),
    "gate_up_proj": "gate_up",
}
PARTS: dict[str, Part] = {  # module type → part
    **dict.fromkeys(("q", "k", "v", "o", "qkv", "kv"), "attention"),
    **dict.fromkeys(("gate", "up", "down", "gate_up", "router"), "mlp"),
    "norm": "norm",
    "embedding": "embedding",
    "head": "head",
    "other": "other",
}
TYPES = tuple(PARTS)
LAYERS = frozenset({"layers", "h", "blocks", "block", "layer"})
EMBEDDINGS = frozenset(
    {"embed_tokens", "wte", "wpe", "embed_in", "word_embeddings", "tok_embeddings"}
    | {"embed_positions", "embeddings", "embed_tokens_per_layer", "token_embd"}
)
HEADS = frozenset({"lm_head", "embed_out"})
FOREIGN = re.compile(r"vision|visual|audio|image|multi_modal|mm_proj")
NORM = re.compile(r"norm|^ln(_|\d|$)|_ln$")
BUFFER = re.compile(r"(^|\.)(attn|attention)\.(masked_)?bias$|rotary_emb\.inv_freq$")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor sits.

    Attributes:
        layer: number of its block, ``None`` outside the blocks.
        module: one of ``TYPES``.
        part: the larger part that the module belongs to.
        bias: it is a bias, not a matrix.
    """

    layer: int | None
    module: str
    part: Part
    bias: bool

    @property
    def is_matrix(self) -> bool:
        """Whether it is a linear matrix of a block."""
        return self.layer is not None and self.part in ("attention", "mlp") and not self.bias


@lru_cache(maxsize=65536)
def place(name: str) -> Place:
    """Read a tensor's place from its name.

    >>> place("model.layers.3.self_attn.q_proj.weight")
    Place(layer=3, module='q', part='attention', bias=False)
    """
    steps = name.split(".")
    bias = steps[-1] == "bias" or steps[-1].endswith("_bias")
    if BUFFER.search(name) or any(FOREIGN.search(step) for step in steps[:-1]):
        return Place(None, "other", "other", bias)
    layer = _layer(steps)
    module = _module(steps, layer)
    return Place(layer, module, PARTS[module], bias)


def layer(name: str) -> int | None:
    """Give the number of a tensor's block, ``None`` outside the blocks."""
    return place(name).layer


def module_type(name: str) -> str:
    """Give a tensor's module type, one of ``TYPES``.

    >>> module_type("transformer.h.0.mlp.c_fc.weight"), module_type("lm_head.weight")
    ('up', 'head')
    """
    return place(name).module


def is_buffer(name: str) -> bool:
    """Whether the tensor is a constant that some checkpoints store (masks, rotary frequencies)."""
    return BUFFER.search(name) is not None


def region(text: str, *, compat: Literal["paramrestore"] | None = None) -> Chooses:
    """Read a region and give the test of a tensor's name.

    Args:
        text: ``transformer``, ``embedding``, ``attention``, ``mlp``, ``all``; a module type
            (``q``, ``down``, …); ``layers 0-3,8``; or a regular expression that is searched for in
            the name.
        compat: ``paramrestore`` reads the five named regions by the fragments of names that the
            authors' code looks for (they fit Llama's names only; biases count in).

    Raises:
        ConfigError: no such region, or an expression that does not compile.
    """
    if compat == "paramrestore":
        if text not in AUTHORS:
            raise ConfigError(f"no region {text!r} of the authors; {nearest(text, AUTHORS)}")
        return AUTHORS[text]
    if text in OURS:
        return OURS[text]
    if text in TYPES:
        return lambda name: place(name).module == text and not place(name).bias
    if re.match(r"layers?\s+\d", text):
        numbers = _numbers(text)
        return lambda name: _within(place(name).layer, numbers)
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as wrong:
        raise ConfigError(
            f"{text!r} is no regular expression: {wrong}",
            remedy=f"or name a region: {', '.join(OURS)}, {', '.join(TYPES)}, layers 0-3.",
        ) from None
    return lambda name: pattern.search(name) is not None


def select(
    text: str, names: Iterable[str], *, compat: Literal["paramrestore"] | None = None
) -> list[str]:
    """Give the names in a region, in their order.

    Raises:
        ConfigError: as ``region``, and where no name lies in it.
    """
    names = list(names)
    inside = region(text, compat=compat)
    found = [name for name in names if inside(name)]
    if not found:
        known = (*OURS, *TYPES)
        hint = nearest(text, known) if re.fullmatch(r"\w+", text) else ""
        shown = ", ".join(names[:3])
        raise ConfigError(
            f"no tensor lies in the region {text!r}" + (f"; {hint}" if hint else ""),
            remedy=f"the names look like {shown}.",
        )
    return found


OURS: dict[str, Chooses] = {
    "transformer": lambda name: place(name).is_matrix,
    "embedding": lambda name: place(name).part in ("embedding", "head"),
    "attention": lambda name: place(name).is_matrix and place(name).part == "attention",
    "mlp": lambda name: place(name).is_matrix and place(name).part == "mlp",
    "all": lambda _: True,
}
AUTHORS: dict[str, Chooses] = {
    "transformer": lambda name: "layers" in name and "norm" not in name,
    "embedding": lambda name: "embed_tokens" in name or "lm_head" in name,
    "attention": lambda name: "self_attn." in name,
    "mlp": lambda name: "mlp." in name,
    "all": lambda _: True,
}


def _layer(steps: list[str]) -> int | None:
    for before, step in pairwise(steps):
        if before in LAYERS and step.isdecimal() and len(step) < 10:
            return int(step)
    return None


def _module(steps: list[str], layer: int | None) -> str:
    inner = steps[:-1] if steps[-1] in ("weight", "bias", "weight_scale_inv") else steps
    if any(NORM.search(step) for step in inner):
        return "norm"
    if layer is None:
        return _outside(inner)
    for step in reversed(inner):
        if step in MODULES:
            return MODULES[step]
        if step in ("gate", "router", "shared_expert_gate"):
            return "router"
        if step in ("dense", "c_proj"):  # one name for two places: its parent tells
            return "o" if _attention(inner) else "down" if step == "c_proj" else "other"
    return "other"


def _outside(steps: list[str]) -> str:
    if steps and steps[-1] in HEADS:
        return "head"
    return "embedding" if any(step in EMBEDDINGS for step in steps) else "other"


def _attention(steps: list[str]) -> bool:
    return any("attn" in step or "attention" in step for step in steps)


def _within(layer: int | None, numbers: Iterable[range]) -> bool:
    # a range looks for what is no integer by going through all of it
    return layer is not None and any(layer in some for some in numbers)


def _numbers(text: str) -> list[range]:
    body = re.sub(r"^layers?\s+", "", text).replace(" ", "")
    found: list[range] = []
    for piece in body.split(","):
        ends = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", piece)
        if ends is None or (ends[2] and int(ends[2]) < int(ends[1])):
            raise ConfigError(f"{text!r} is no range of layers", remedy="write: layers 0-3,8.")
        found.append(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
    return found
