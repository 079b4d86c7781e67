"""Quantised weights: float8 with block scales is read, everything else is refused by name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imprint.checkpoints.dtypes import Array, Float32, to_float32
from imprint.checkpoints.header import TensorInfo
from imprint.checkpoints.reading import read_values
from imprint.errors import CheckpointError

SCALE = "_scale_inv"
BLOCK = (128, 128)
ORIGINAL = "use the checkpoint it was quantised from."
REMEDIES = {
    "gptq": ORIGINAL,
    "awq": ORIGINAL,
    "mxfp4": "load it with Mxfp4Config(dequantize=True) of transformers and save the model.",
    "bitsandbytes": "load it with transformers, call model.dequantize() and save the model.",
}
SIGNS = {".qweight": "gptq or awq", ".qzeros": "gptq or awq", "_proj_blocks": "mxfp4"}


def block_scales(
    config: Mapping[str, Any], stored: Mapping[str, TensorInfo], folder: Path
) -> dict[str, str]:
    """Find the float8 weights with block scales.

    Returns:
        Weight → the tensor that holds its scales; empty for plain weights.

    Raises:
        CheckpointError: another way of quantising, or scales that do not fit their weight.
    """
    method = _method(config, stored)
    if method not in (None, "fp8"):
        raise CheckpointError(
            f"holds weights quantised by {method}, which cannot be compared or repaired",
            where=str(folder),
            remedy=REMEDIES.get(method.partition(" ")[0], ORIGINAL),
        )
    scales = {name.removesuffix(SCALE): name for name in stored if name.endswith(SCALE)}
    block = block_shape(config, folder)
    for weight, scale in scales.items():
        _refuse_misfit(stored, weight, scale, block)
    _refuse_unscaled(method, stored, scales)
    return scales


def block_shape(config: Mapping[str, Any], folder: Path | None = None) -> tuple[int, int]:
    """Give rows and columns of the block that one scale covers.

    Raises:
        CheckpointError: the config names something else than two sizes.
    """
    shape = _settings(config).get("weight_block_size") or BLOCK
    sizes = list(shape) if isinstance(shape, (list, tuple)) else []
    if len(sizes) != 2 or not all(type(size) is int and size > 0 for size in sizes):
        raise CheckpointError(
            f"weight_block_size is {shape!r}, not two whole numbers from 1",
            where=f"{(folder or Path()) / 'config.json'}, quantization_config",
            remedy="dequantise the checkpoint with transformers and save it.",
        )
    return sizes[0], sizes[1]


def dequantise(
    values: Array, info: TensorInfo, scale: TensorInfo, block: tuple[int, int], start: int
) -> Float32:
    """Give float32 values of a flat range: float8 value times the scale of its block.

    Args:
        values: storage values, one dimension, whose first has the flat index ``start``.
        info: the weight [rows, columns].
        scale: one scale per block, [ceil(rows / block rows), ceil(columns / block columns)].
        block: rows and columns of a block.
        start: flat index of the first value.
    """
    scales = to_float32(read_values(scale), scale.dtype).reshape(scale.shape)
    at = np.arange(start, start + len(values))
    rows, columns = np.divmod(at, info.shape[1])
    factors = scales[rows // block[0], columns // block[1]]
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later
        product: Float32 = to_float32(values, info.dtype) * factors
    return product


def _settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    text = config.get("text_config")
    for place in (config, text if isinstance(text, dict) else {}):
        found = place.get("quantization_config")
        if isinstance(found, dict):
            return found
    return {}


def _method(config: Mapping[str, Any], stored: Iterable[str]) -> str | None:
    settings = _settings(config)
    if settings:
        return str(settings.get("quant_method") or "an unnamed method").lower()
    names = list(stored)
    for ending, method in SIGNS.items():
        if any(name.endswith(ending) for name in names):
            return method
    return None


def _refuse_misfit(
    stored: Mapping[str, TensorInfo], weight: str, scale: str, block: tuple[int, int]
) -> None:
    info, scales = stored.get(weight), stored[scale]
    if info is None:
        raise CheckpointError(f"scales a weight {weight!r} that is not there", where=scales.where)
    expected = tuple(math.ceil(n / b) for n, b in zip(info.shape, block, strict=False))
    if not scales.dtype.startswith(("F", "BF")):
        raise CheckpointError(
            f"is stored as {scales.dtype}; scales are floating-point numbers", where=scales.where
        )
    if len(info.shape) != 2 or scales.shape != expected:
        raise CheckpointError(
            f"has the shape {scales.shape}; {weight!r} of shape {info.shape} in blocks of {block} "
            f"takes {expected}",
            where=scales.where,
            remedy="dequantise the checkpoint with transformers and save it.",
        )


def _refuse_unscaled(
    method: str | None, stored: Mapping[str, TensorInfo], scales: Mapping[str, str]
) -> None:
    for name, info in stored.items():
        if method and info.dtype == "F8_E4M3" and name not in scales:
            raise CheckpointError(
                "is float8 under quantization_config, but has no block scales beside it",
                where=info.where,
                remedy="dequantise the checkpoint with transformers and save it.",
            )
