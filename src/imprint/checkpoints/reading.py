"""Reading ranges of a tensor from its file, without loading the rest."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

from imprint.checkpoints.dtypes import STORAGE, Array
from imprint.checkpoints.header import AGAIN, TensorInfo
from imprint.errors import CheckpointError


def read_values(info: TensorInfo, start: int = 0, stop: int | None = None) -> Array:
    """Read values ``start`` to ``stop`` of a tensor's flat order into new memory.

    Unlike a memory map this leaves no pages of the file in the process, so the peak memory of a
    pass over a model is that of its chunks.

    Returns:
        One dimension, in the storage type.

    Raises:
        CheckpointError: the file has become shorter or unreadable since its header was read.
    """
    dtype = STORAGE[info.dtype]
    stop = info.elements if stop is None else stop
    found = np.empty(stop - start, dtype)
    try:
        if _fill(info.file, found, info.start + start * dtype.itemsize):
            return found
    except OSError as failed:
        raise CheckpointError(f"cannot be read: {failed.strerror}", where=info.where) from failed
    raise CheckpointError("ends before its data", where=info.where, remedy=AGAIN)


def _fill(file: Path, values: Array, offset: int) -> bool:
    """Read into an array from a place in a file; whether the file is long enough."""
    left = values.view(np.uint8).data
    handle = os.open(file, os.O_RDONLY)
    try:
        while left and (count := os.preadv(handle, [left], offset)):
            left, offset = left[count:], offset + count
    finally:
        os.close(handle)
    return not left


def map_values(info: TensorInfo) -> Array:
    """Map a tensor's data into memory, read-only, in its shape and storage type.

    Raises:
        CheckpointError: as ``read_values``.
    """
    dtype = STORAGE[info.dtype]
    if not info.bytes:
        return np.empty(info.shape, dtype)
    try:
        return np.memmap(
            info.file, dtype, "r", offset=info.start, shape=info.shape or (1,)
        ).reshape(info.shape)
    except (OSError, ValueError) as failed:
        raise CheckpointError(
            f"cannot be mapped: {failed}", where=info.where, remedy=AGAIN
        ) from failed


def same_values(one: TensorInfo, other: TensorInfo, *, chunk: int = 1 << 20) -> bool:
    """Whether two tensors agree in type, shape and every bit."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    if (one.file, one.start) == (other.file, other.start):
        return True
    return all(
        read_values(one, at, min(at + chunk, one.elements)).tobytes()
        == read_values(other, at, min(at + chunk, one.elements)).tobytes()
        for at in range(0, math.prod(one.shape), chunk)
    )
