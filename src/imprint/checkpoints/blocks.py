"""A tensor's bytes as they are stored, through one small buffer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from imprint.checkpoints.adapters import Merged
from imprint.checkpoints.checkpoint import Checkpoint
from imprint.checkpoints.dtypes import Array
from imprint.checkpoints.header import AGAIN, TensorInfo
from imprint.errors import CheckpointError

# stays in the processor's cache between reading and use: faster than a copy within the kernel,
# which goes through pipes of 64 KB, and than a memory map, which takes a fault for every page
BLOCK = 1 << 20


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


def bytes_of(values: Array) -> memoryview:
    """See values as bytes; copied only where they do not lie in one piece."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def _from_file(info: TensorInfo) -> Iterator[memoryview]:
    left = info.bytes
    buffer = memoryview(bytearray(min(left, BLOCK)))
    try:
        with info.file.open("rb", buffering=0) as handle:
            handle.seek(info.start)
            while left:
                got = handle.readinto(buffer[:left])
                if not got:
                    raise CheckpointError("ends before its data", where=info.where, remedy=AGAIN)
                yield buffer[:got]
                left -= got
    except OSError as failed:
        raise CheckpointError(f"cannot be read: {failed.strerror}", where=info.where) from failed
