"""The selection of the authors' published code (UmeanNever/ParamRestore), where it is defined.

Scores are computed in the model's dtype, every step rounded; weights are numbered in the order in
which a Llama registers them; ``random`` draws from NumPy's legacy generator. Of equal scores at the
threshold the number taken agrees; which ones is undefined there, and the first in order here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from imprint.checkpoints.dtypes import Float32, from_float32, to_float32
from imprint.errors import CheckpointError, ConfigError
from imprint.restoration.methods import Scorer
from imprint.restoration.parts import Chunk, Part

Dtype = Literal["bf16", "fp16", "fp32"]
DTYPES: dict[str, str] = {"bf16": "BF16", "fp16": "F16", "fp32": "F32"}
EPS = 1e-8
LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
MODULES = (
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
    "input_layernorm",
    "post_attention_layernorm",
)
OUTSIDE = {"model.embed_tokens.weight": 0, "model.norm.weight": 2, "lm_head.weight": 3}
FIRST = 0x00800000  # bits of the smallest normal float32; ranks are counted up from there
MOST = 0x7F800000 - FIRST


def registered(name: str) -> tuple[object, ...]:
    """Give a tensor's place in the order of registration.

    Raises:
        CheckpointError: not a name of a Llama.
    """
    if name in OUTSIDE:
        return (OUTSIDE[name], 0, 0, 0)
    match = LAYER.fullmatch(name)
    if match is None or match[2] not in MODULES:
        raise CheckpointError(
            f"{name!r} is not a name of a Llama, for which alone --compat paramrestore is defined",
            remedy="restore without --compat.",
        )
    return (1, int(match[1]), MODULES.index(match[2]), match[3] == "bias")


def refuse_other_names(names: Iterable[str]) -> None:
    """Refuse a model with names whose order of registration is not known.

    Raises:
        CheckpointError: naming the first.
    """
    for name in names:
        registered(name)


def by_rounded_change(dtype: Dtype) -> Scorer:
    """Score by the relative change with every intermediate rounded to a dtype.

    Raises:
        CheckpointError: on use, where float16 makes a score infinite or undefined.
    """

    def rounded(values: Float32) -> Float32:
        return to_float32(from_float32(values, DTYPES[dtype]), DTYPES[dtype])

    eps = rounded(np.array([EPS], np.float32))

    def scorer(chunk: Chunk) -> Float32:
        old, new = rounded(chunk.base), rounded(chunk.tuned)
        with np.errstate(all="ignore"):
            size = rounded(np.abs(old) + eps)
            found = rounded(rounded(np.abs(new - old)) / size)
        if not np.isfinite(found).all():
            raise CheckpointError(
                f"the authors' arithmetic in {dtype} gives infinite or undefined scores",
                where=f"tensor {chunk.part.pair.name!r}",
                remedy="use --dtype fp32 or bf16, or restore without --compat.",
            )
        return found

    return scorer


def by_legacy_choice(parts: Sequence[Part], seed: int) -> Scorer:
    """Score so that the top k are ``RandomState(seed).choice(n, k, replace=False)``, for every k.

    The legacy generator shuffles all n numbers and takes the first k; it needs 12 bytes per weight.

    Raises:
        ConfigError: more weights than a float32 can number.
    """
    starts = np.cumsum([0, *(part.pair.elements for part in parts)])
    total = int(starts[-1])
    if total >= MOST:
        raise ConfigError(
            f"{total:,} weights are too many for the authors' random choice",
            remedy="use --by random without --compat.",
        )
    order = np.random.RandomState(seed).permutation(total)
    ranks = np.empty(total, np.uint32)
    ranks[order] = np.arange(FIRST + total, FIRST, -1, dtype=np.uint32)

    def scorer(chunk: Chunk) -> Float32:
        at = int(starts[chunk.part.number]) + chunk.start
        return ranks[at : at + len(chunk.base)].view(np.float32)

    return scorer


def refuse_none(taken: Iterable[int]) -> None:
    """Refuse a share that takes no weight at all, as the authors do.

    Raises:
        ConfigError: one of the numbers is 0.
    """
    if 0 in taken:
        raise ConfigError("the share takes no weight at all", remedy="raise --top.")
