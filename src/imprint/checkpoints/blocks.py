"""A tensor's bytes as they are stored, through one small buffer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from imprint.checkpoints.adapters import Merged
from imprint.checkpoints.checkpoint import Checkpoint
from imprint.checkpoints.dtypes import STORAGE, Array, to_float32
from imprint.checkpoints.header import AGAIN, TensorInfo
from imprint.checkpoints.regions import is_buffer
from imprint.errors import CheckpointError

# stays in the processor's cache between reading and use: faster than a copy within the kernel,
# which goes through pipes of 64 KB, and than a memory map, which takes a fault for every page
BLOCK = 1 << 20
# all bits of the exponent are set in NaN and infinity alone
EXPONENTS: dict[str, np.unsignedinteger[Any]] = {
    "F64": np.uint64(0x7FF0_0000_0000_0000),
    "F32": np.uint32(0x7F80_0000),
    "F16": np.uint16(0x7C00),
    "BF16": np.uint16(0x7F80),
}


def blocks(checkpoint: Checkpoint, name: str) -> Iterator[memoryview]:
    """Give a tensor's bytes in order; each block holds until the next one is asked for.

    Raises:
        CheckpointError: the file has become shorter or unreadable since its header was read.
    """
    info = checkpoint.info(name)
    if isinstance(checkpoint, Merged) and info.name in checkpoint.computed:
        yield bytes_of(checkpoint.raw(name))
    else:
        yield from _from_file(info)


def finite_blocks(checkpoint: Checkpoint, name: str) -> Iterator[memoryview]:
    """Give a tensor's bytes as ``blocks``, NaN and infinity refused.

    Raises:
        CheckpointError: as ``blocks``; naming file, tensor and the first such value.
    """
    info, at = checkpoint.info(name), 0
    exponent = EXPONENTS.get("" if is_buffer(info.name) else info.dtype)
    for block in blocks(checkpoint, name):
        if exponent is not None:
            values: npt.NDArray[np.unsignedinteger[Any]] = np.frombuffer(block, exponent.dtype)
            if len(values) and (values & exponent).max() == exponent:
                stored = values.view(STORAGE[info.dtype])
                checkpoint.refuse_not_finite(name, to_float32(stored, info.dtype), at)
            at += len(values)
        yield block


def bytes_of(values: Array) -> memoryview:
    """See values as bytes; copied only where they do not lie in one piece."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def _from_file(info: TensorInfo) -> Iterator[memoryview]:
    left = info.bytes
    buffer = memoryview(bytearray(min(left, BLOCK)))
    try:
        with info.file.open("rb") as handle:
            handle.seek(info.start)
            while left:
                block = buffer[:left]
                if handle.readinto(block) < len(block):
                    raise CheckpointError("ends before its data", where=info.where, remedy=AGAIN)
                yield block
                left -= len(block)
    except OSError as failed:
        raise CheckpointError(f"cannot be read: {failed.strerror}", where=info.where) from failed
