"""What a checkpoint's weights are, whatever files they lie in."""

from __future__ import annotations

import hashlib
from functools import partial

from imprint.checkpoints.blocks import blocks
from imprint.checkpoints.checkpoint import Checkpoint
from imprint.executors import Executor, Threads


def tensor_hash(checkpoint: Checkpoint, name: str) -> str:
    """Give the sha256 of a tensor's type, shape and bytes, in hexadecimal."""
    info = checkpoint.info(name)
    digest = hashlib.sha256(f"{info.dtype} {info.shape} ".encode())
    for block in blocks(checkpoint, name):
        digest.update(block)
    return digest.hexdigest()


def weights_hash(checkpoint: Checkpoint, executor: Executor | None = None) -> str:
    """Give one sha256 for all weights.

    It depends on names, types, shapes and values, tied weights once; not on shards, on order, on
    metadata, or on the form in which ties are stored.

    Args:
        checkpoint: what to hash.
        executor: hashes its tensors, by default two threads.
    """
    names = {name: {name} for name in checkpoint.tensors}
    for alias, name in checkpoint.aliases.items():
        names[name].add(alias)
    # the largest first, so that no worker is left with one of them at the end
    order = sorted(names, key=lambda name: -checkpoint.tensors[name].bytes)
    found = (executor or Threads(2)).map_in_order(partial(tensor_hash, checkpoint), order)
    hashes = dict(zip(order, found, strict=True))
    lines = sorted(f"{' '.join(sorted(names[n]))} {hashes[n]}" for n in names)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
