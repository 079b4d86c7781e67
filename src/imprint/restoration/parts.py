"""The weights that a restoration may touch, in an order that no shard layout changes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from imprint.checkpoints import Alignment, Checkpoint, Merged, Pair, place, select
from imprint.checkpoints.checkpoint import CHUNK
from imprint.checkpoints.dtypes import FLOATS, STORAGE, Array, Float32, from_float32, to_float32
from imprint.errors import CheckpointError, ConfigError

Scope = Literal["global", "layer", "module", "tensor"]
Read = Callable[[int, int], Array]


@dataclass(frozen=True, slots=True)
class Part:
    """A range of weights in the region.

    Attributes:
        number: its place in the flat order of the region, by which ties are broken.
        pair: where its weights lie in base and tuned.
        group: weights of one group compete with each other; one share is taken of each group.
    """

    number: int
    pair: Pair
    group: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some values of a part.

    Attributes:
        part: where they belong.
        start: flat index of the first within the part.
        base, tuned: as float32.
        original: the base's values in the tuned checkpoint's storage type.
        stored: the tuned values as they are stored.
    """

    part: Part
    start: int
    base: Float32
    tuned: Float32
    original: Array
    stored: Array


def parts_of(
    alignment: Alignment,
    region: str,
    scope: Scope = "global",
    *,
    compat: Literal["paramrestore"] | None = None,
    order: Callable[[str], tuple[object, ...]] | None = None,
) -> tuple[Part, ...]:
    """List the pairs in a region, by name with numbers in their order.

    Args:
        alignment: of base and tuned.
        region: as `imprint.checkpoints.region` reads it.
        scope: what competes: everything, or the weights of a layer, module type or tensor.
        compat: read the region as the authors do.
        order: key of another order of names.

    Raises:
        ConfigError: nothing lies in the region.
    """
    chosen = set(select(region, [pair.name for pair in alignment.pairs], compat=compat))
    key = order or natural
    pairs = sorted((p for p in alignment.pairs if p.name in chosen), key=lambda p: key(p.name))
    if not any(pair.elements for pair in pairs):
        raise ConfigError(
            f"the {len(pairs)} tensors in the region {region!r} hold no values",
            remedy="name another --region; are the checkpoints whole?",
        )
    return tuple(Part(n, pair, _group(pair.name, scope)) for n, pair in enumerate(pairs))


def natural(name: str) -> tuple[object, ...]:
    """Give a sorting key that puts layer 2 before layer 10.

    >>> sorted(["h.10.w", "h.2.w"], key=natural)
    ['h.2.w', 'h.10.w']
    """
    return (*re.sub(r"\d+", lambda m: m[0].zfill(12), name).split("."), name)


def groups(parts: Sequence[Part]) -> dict[str, list[Part]]:
    """Give the parts by group, in flat order."""
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(part.group, []).append(part)
    return found


def chunks(
    base: Checkpoint,
    tuned: Checkpoint,
    part: Part,
    elements: int = CHUNK,
    *,
    every: int | None = None,
) -> Iterator[Chunk]:
    """Read a part piece by piece, NaN and infinity refused.

    Args:
        base, tuned, part: what to read.
        elements: values per piece.
        every: distance between pieces, where only a sample is wanted.

    Raises:
        CheckpointError: values that are not finite, also where they do not fit the tuned type.
    """
    ours, theirs = part.pair.base, part.pair.tuned
    read_base, read_tuned = reader(base, ours.name), reader(tuned, theirs.name)
    for at in range(0, part.pair.elements, every or elements):
        stop = min(at + elements, part.pair.elements)
        raw = read_base(ours.start + at, ours.start + stop)
        stored = read_tuned(theirs.start + at, theirs.start + stop)
        before = base.to_float32(ours.name, raw, ours.start + at)
        after = tuned.to_float32(theirs.name, stored, theirs.start + at)
        base.refuse_not_finite(ours.name, before, ours.start + at)
        tuned.refuse_not_finite(theirs.name, after, theirs.start + at)
        kinds = base.info(ours.name).dtype, tuned.info(theirs.name).dtype
        original = raw if kinds[0] == kinds[1] else _cast(tuned, theirs.name, raw, before)
        yield Chunk(part, at, before, after, original, stored)


def reader(checkpoint: Checkpoint, name: str) -> Read:
    """Give the way to flat ranges of a tensor; one that an adapter changes is computed once."""
    if isinstance(checkpoint, Merged):
        whole = checkpoint.raw(name).reshape(-1)
        return lambda start, stop: whole[start:stop]
    return lambda start, stop: checkpoint.read(name, start, stop)


def _cast(tuned: Checkpoint, name: str, raw: Array, values: Float32) -> Array:
    dtype = tuned.info(name).dtype
    if dtype not in FLOATS:
        return raw.astype(STORAGE[dtype])
    cast = from_float32(values, dtype)
    tuned.refuse_not_finite(name, to_float32(cast, dtype))
    return cast


def refuse_float8(checkpoint: Checkpoint) -> None:
    """Refuse weights that cannot be written back as they were.

    Raises:
        CheckpointError: the checkpoint holds float8 weights.
    """
    for info in checkpoint.tensors.values():
        if info.dtype.startswith("F8") or not checkpoint.restorable:
            raise CheckpointError(
                "holds float8 weights, which are compared but never restored",
                where=info.where,
                remedy="dequantise the checkpoint with transformers and save it.",
            )


def _group(name: str, scope: Scope) -> str:
    found = place(name)
    if scope == "tensor":
        return name
    if scope == "layer":
        return "outside" if found.layer is None else f"layer {found.layer}"
    return found.module if scope == "module" else "all"


def same_bits(one: Array, other: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Compare values of one storage type bit by bit, so that -0 is not 0."""
    bits = f"u{one.dtype.itemsize}"
    return np.asarray(one.view(bits) == other.view(bits))
