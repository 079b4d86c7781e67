"""A LoRA adapter merged over a base, tensor by tensor, in float32."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imprint.checkpoints.checkpoint import Checkpoint, carried_files
from imprint.checkpoints.dtypes import STORAGE, Array, Float32, from_float32, to_float32
from imprint.checkpoints.header import Header, TensorInfo, read_header
from imprint.checkpoints.index import read_object
from imprint.checkpoints.lora import (
    CONFIG,
    MERGE,
    pattern,
    refuse_odd_values,
    refuse_unknown_kinds,
    scale_of,
)
from imprint.checkpoints.names import plain
from imprint.checkpoints.pickled import read_pickled
from imprint.checkpoints.reading import read_values
from imprint.checkpoints.reference import Reference
from imprint.errors import CheckpointError

MergeIn = Literal["float32", "stored"]
MERGED_TYPES = ("F64", "F32", "F16", "BF16")
PREFIX = "base_model.model."
FACTOR = re.compile(r"(.+)\.lora_(embedding_)?([AB])(\.weight)?")
FITS = "is this the base that the adapter was trained on?"
_READ = threading.local()  # what each thread read last: checkpoint, name, flat values


@dataclass(frozen=True, slots=True)
class Change:
    """What an adapter adds to one tensor of the base.

    Attributes:
        weight: what it is added to: the base's tensor, or the adapter's own copy of it.
        a, b: the two factors, [r, in] and [out, r].
        scale: what their product is multiplied by.
        transposed: the base stores the matrix as [in, out].
    """

    weight: TensorInfo
    a: TensorInfo
    b: TensorInfo
    scale: float
    transposed: bool

    def merged(self) -> Float32:
        """Give the changed tensor in the base's shape: product, scale and sum in float32."""
        a, b = _finite(self.a), _finite(self.b)
        with np.errstate(over="ignore", invalid="ignore"):  # the sum is looked at where it is used
            merged, product = _values(self.weight), b @ a
            product *= np.float32(self.scale)
            merged += product.T if self.transposed else product
        return merged


@dataclass(frozen=True, eq=False)
class Merged(Checkpoint):
    """A base with an adapter merged into it, seen as a checkpoint.

    Tensors that the adapter touches are computed when they are asked for, a whole tensor at once,
    and each thread keeps the one that it read a range of last; all others come from the base's
    files.

    Attributes:
        computed: touched tensor → the way to its values [its shape], float32.
    """

    computed: dict[str, Callable[[], Float32]] = field(default_factory=dict)

    def raw(self, name: str) -> Array:
        """Give a tensor in its shape and storage type; computed where the adapter touches it."""
        info = self.info(name)
        if info.name not in self.computed:
            return super().raw(name)
        values = self.computed[info.name]()
        self.refuse_not_finite(info.name, values)
        stored = from_float32(values, info.dtype)
        if info.dtype in ("F16", "BF16"):
            self.refuse_not_finite(info.name, to_float32(stored, info.dtype))
        return stored

    def _reader(self, name: str) -> Callable[[int, int], Array]:
        if self.info(name).name not in self.computed:
            return super()._reader(name)
        whole = self._last(name)
        return lambda start, stop: whole[start:stop]

    def _last(self, name: str) -> Array:
        """Give a computed tensor, flat and read-only; the same as before where it was the last."""
        checkpoint, known, whole = getattr(_READ, "last", (None, "", None))
        if whole is None or checkpoint is not self or known != name:
            _READ.last = None, "", None  # so that two tensors are never held at once
            whole = self.raw(name).reshape(-1)
            whole.flags.writeable = False
            _READ.last = self, name, whole
        found: Array = whole
        return found


def merge(
    base: Checkpoint,
    folder: Path,
    *,
    merge_in: MergeIn = "float32",
    reference: Reference | None = None,
) -> Merged:
    """Show a base with the adapter of a folder merged into it.

    Args:
        base: the model that the adapter was trained on.
        folder: holds ``adapter_config.json`` and ``adapter_model.safetensors`` (or ``.bin``).
        merge_in: ``float32`` gives touched tensors exactly, ``stored`` rounded to the base's type.
        reference: how the two were named.

    Raises:
        CheckpointError: no adapter, a kind that is not understood, or one that does not fit.
    """
    config = read_object(folder / CONFIG)
    refuse_unknown_kinds(config, folder)
    refuse_odd_values(config, folder)
    header = _header(folder)
    target = _Targets(base)
    whole = _replaced(header.tensors, target)
    # peft saves an embedding that it changes by factors whole as well: they are added to that
    under = {name: info for name, info in whole.items() if ".base_layer." in info.name}
    changes = _changes(header.tensors, config, target, under)
    replaced = {n: info for n, info in whole.items() if n not in changes or n not in under}
    if twice := sorted(changes.keys() & replaced.keys()):
        raise CheckpointError(
            "is both changed by factors and saved whole",
            where=f"{folder}, tensor {twice[0]!r}",
            remedy=MERGE,
        )
    if not changes and not replaced:
        raise CheckpointError("holds no LoRA factors", where=str(folder), remedy=MERGE)
    computed: dict[str, Callable[[], Float32]] = {
        **{name: change.merged for name, change in changes.items()},
        **{name: partial(_finite, info) for name, info in replaced.items()},
    }
    tensors = {
        name: _touched(info, whole.get(name, info).shape, merge_in) if name in computed else info
        for name, info in base.tensors.items()
    }
    return Merged(
        path=base.path,
        reference=reference or replace(base.reference, adapter=Reference(str(folder))),
        config=_with_vocabulary(base, tensors),
        tensors=tensors,
        stored={name: tensors.get(name, info) for name, info in base.stored.items()},
        aliases=base.aliases,
        scales=base.scales,
        layout=base.layout,
        headers=base.headers,
        index_file=base.index_file,
        index_metadata=base.index_metadata,
        extra_files={**base.extra_files, **carried_files(folder)},
        computed=computed,
    )


def _header(folder: Path) -> Header:
    safe, pickled = folder / "adapter_model.safetensors", folder / "adapter_model.bin"
    if not safe.is_file() and not pickled.is_file():
        raise CheckpointError(
            f"holds no {safe.name}", where=str(folder), remedy="save the adapter with peft."
        )
    header = read_header(safe) if safe.is_file() else read_pickled(pickled)
    for info in header.tensors.values():
        if info.dtype not in MERGED_TYPES:
            raise CheckpointError(
                f"is stored as {info.dtype}, not as one of {', '.join(MERGED_TYPES)}",
                where=info.where,
                remedy="save the adapter with peft in one of these types.",
            )
    return header


def _changes(
    tensors: Mapping[str, TensorInfo],
    config: Mapping[str, Any],
    target: _Targets,
    under: Mapping[str, TensorInfo],
) -> dict[str, Change]:
    found = {}
    factors = {name: match for name in tensors if (match := FACTOR.fullmatch(name))}
    for name, match in factors.items():
        stem, embedding, letter, ending = match[1], match[2] or "", match[3], match[4] or ""
        other = f"{stem}.lora_{embedding}{'B' if letter == 'A' else 'A'}{ending}"
        if other not in tensors:
            raise CheckpointError(
                f"has no partner {other!r}", where=tensors[name].where, remedy=MERGE
            )
        if letter == "A":
            module = stem.removeprefix(PREFIX)
            weight = target(f"{module}.weight", tensors[name])
            change = Change(
                under.get(weight.name, weight),
                tensors[name],
                tensors[other],
                scale_of(module, config),
                bool(embedding) or bool(config.get("fan_in_fan_out")),
            )
            _refuse_misfit(change, pattern(config.get("rank_pattern"), module, config.get("r", 8)))
            found[weight.name] = change
    return found


def _replaced(tensors: Mapping[str, TensorInfo], target: _Targets) -> dict[str, TensorInfo]:
    found = {}
    for name, info in tensors.items():
        if FACTOR.fullmatch(name):
            continue
        if re.search(r"\.lora_|token_adapter", name):
            raise CheckpointError(
                "is a part of an adapter that imprint does not know", where=info.where, remedy=MERGE
            )
        saved = re.sub(r"\.(modules_to_save|base_layer)\.", ".", name.removeprefix(PREFIX))
        stored = target(saved, info)
        if not info.shape or info.shape[1:] != stored.shape[1:]:
            raise CheckpointError(
                f"has the shape {info.shape}, the base's {stored.name!r} {stored.shape}",
                where=info.where,
                remedy=FITS,
            )
        found[stored.name] = info
    return found


class _Targets:
    """The base's tensors as an adapter names them."""

    def __init__(self, base: Checkpoint):
        self.base = base
        names = (*base.aliases, *base.tensors)
        self.names = {plain(name): name for name in names} | {name: name for name in names}

    def __call__(self, name: str, part: TensorInfo) -> TensorInfo:
        """Find what a part of the adapter changes.

        Raises:
            CheckpointError: not in the base, shared by embedding and head, or not stored as floats.
        """
        found = self.names.get(name) or self.names.get(plain(name))
        if found is None:
            problem = f"{name!r}, which the base {str(self.base.path)!r} does not have"
            raise CheckpointError(f"belongs to {problem}", where=part.where, remedy=FITS)
        if found in self.base.aliases or found in self.base.aliases.values():
            raise CheckpointError(
                f"changes {found!r}, which the base shares between embedding and head; "
                "whether both move depends on how it is merged",
                where=part.where,
                remedy=MERGE,
            )
        info = self.base.tensors[found]
        if info.dtype not in MERGED_TYPES:
            raise CheckpointError(
                f"belongs to {found!r}, which the base stores as {info.dtype}",
                where=part.where,
                remedy="dequantise the base with transformers and save it.",
            )
        return info


def _refuse_misfit(change: Change, rank: int) -> None:
    a, b = change.a.shape, change.b.shape
    for factor, axis in ((change.a, 0), (change.b, 1)):
        if len(factor.shape) != 2:
            raise CheckpointError(
                f"has {len(factor.shape)} dimensions, not two", where=factor.where, remedy=MERGE
            )
        if factor.shape[axis] != rank:
            raise CheckpointError(
                f"has rank {factor.shape[axis]}, but adapter_config.json says {rank}",
                where=factor.where,
                remedy="the settings and the weights are of different adapters.",
            )
    product = (a[1], b[0]) if change.transposed else (b[0], a[1])
    if product != change.weight.shape:
        raise CheckpointError(
            f"its change has the shape {product}, "
            f"the base's {change.weight.name!r} {change.weight.shape}",
            where=change.a.where,
            remedy=FITS,
        )


def _touched(info: TensorInfo, shape: tuple[int, ...], merge_in: MergeIn) -> TensorInfo:
    dtype = "F32" if merge_in == "float32" else info.dtype
    return replace(info, dtype=dtype, shape=shape, bytes=math.prod(shape) * STORAGE[dtype].itemsize)


def _with_vocabulary(base: Checkpoint, tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """Give the config with the number of rows that a replaced embedding brings."""
    size = base.config.get("vocab_size")
    for name, info in tensors.items():
        before = base.tensors[name].shape
        if info.shape != before and before[:1] == (size,):
            return {**base.config, "vocab_size": info.shape[0]}
    return base.config


def _values(info: TensorInfo) -> Float32:
    return to_float32(read_values(info).reshape(info.shape), info.dtype)


def _finite(info: TensorInfo) -> Float32:
    """Read a part of an adapter.

    Raises:
        CheckpointError: it holds NaN or infinity.
    """
    values = _values(info)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise CheckpointError(
            f"holds {values.reshape(-1)[wrong[0]]} at flat index {wrong[0]}",
            where=info.where,
            remedy="the training diverged or the file is damaged; use another adapter.",
        )
    return values
