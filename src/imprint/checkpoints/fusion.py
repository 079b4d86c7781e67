"""Matrices stored as one tensor by some tools and as several by others.

Rows that lie one after the other are found again exactly: q, k, v in ``qkv_proj``; gate and up in
``gate_up_proj``; experts in a tensor of three dimensions. Interleaved or transposed layouts are
not: they are refused by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from imprint.checkpoints.header import TensorInfo
from imprint.errors import CheckpointError

CONVERT = "save both with the same version of transformers, or the same conversion script."
SPLITS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"(.*\.)qkv_proj\.(weight|bias)", ("q_proj", "k_proj", "v_proj")),
    (r"(.*\.)gate_up_proj\.(weight|bias)", ("gate_proj", "up_proj")),
)
EXPERTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"(.*\.experts\.)gate_up_proj", ("gate_proj", "up_proj")),
    (r"(.*\.experts\.)down_proj", ("down_proj",)),
)
INTERLEAVED = ("query_key_value", "wqkv", "Wqkv", "c_attn")


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a fused tensor: the other side's name, and the flat range it fills."""

    part: str
    start: int
    stop: int


def slices(
    fused: TensorInfo, key: str, find: Callable[[str], TensorInfo | None]
) -> list[Slice] | None:
    """Find the tensors that a fused one is made of.

    Args:
        fused: the fused tensor.
        key: its plain name.
        find: gives the other side's tensor by its plain name, or ``None``.

    Returns:
        The parts in the order of their rows; ``None`` where the other side has no such parts.

    Raises:
        CheckpointError: some parts are missing, or the rows do not follow each other.
    """
    keys = list(_part_keys(key, fused.shape))
    parts = [find(k) for k in keys]
    if not any(parts):
        return None
    missing = [k for k, part in zip(keys, parts, strict=True) if part is None]
    if missing:
        raise CheckpointError(
            f"is fused, and the other checkpoint lacks its part {missing[0]!r}",
            where=fused.where,
            remedy=CONVERT,
        )
    found = [part for part in parts if part is not None]
    _refuse_other_order(fused, found)
    return list(_consecutive(found))


def interleaved(names: Mapping[str, object]) -> str | None:
    """Find a fused tensor whose rows are interleaved by head, for the message about it."""
    return next((n for n in names if any(step in INTERLEAVED for step in n.split("."))), None)


def _part_keys(key: str, shape: tuple[int, ...]) -> Iterator[str]:
    for pattern, parts in SPLITS:
        if match := re.fullmatch(pattern, key):
            yield from (f"{match[1]}{part}.{match[2]}" for part in parts)
    for pattern, parts in EXPERTS:
        if (match := re.fullmatch(pattern, key)) and len(shape) == 3:
            for expert in range(shape[0]):
                yield from (f"{match[1]}{expert}.{part}.weight" for part in parts)


def _refuse_other_order(fused: TensorInfo, parts: list[TensorInfo]) -> None:
    if len(fused.shape) == 3 and fused.shape[1] == fused.shape[2]:
        raise CheckpointError(
            f"of shape {fused.shape} does not tell whether its experts are stored transposed",
            where=fused.where,
            remedy=CONVERT,
        )
    shape = fused.shape if len(fused.shape) < 3 else (math.prod(fused.shape[:2]), fused.shape[2])
    fits = all(part.shape and part.shape[1:] == shape[1:] for part in parts)
    if not fits or sum(part.shape[0] for part in parts) != shape[0]:
        shapes = sorted({part.shape for part in parts})
        raise CheckpointError(
            f"of shape {fused.shape} does not hold its {len(parts)} parts of shape "
            f"{', '.join(map(str, shapes))} row after row (transposed or interleaved)",
            where=fused.where,
            remedy=CONVERT,
        )


def _consecutive(parts: list[TensorInfo]) -> Iterator[Slice]:
    at = 0
    for part in parts:
        yield Slice(part.name, at, at + part.elements)
        at += part.elements
