"""Safetensors files written tensor by tensor: header first, each tensor to its place."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from imprint.checkpoints.blocks import bytes_of, finite_blocks
from imprint.checkpoints.checkpoint import Checkpoint
from imprint.checkpoints.direct import Stretch
from imprint.checkpoints.dtypes import STORAGE, Array
from imprint.checkpoints.header import TensorInfo
from imprint.errors import CheckpointError
from imprint.executors import Executor
from imprint.progress import Bar

Value = Array | Iterable[Array] | None
Tensors = Callable[[str], Value]
WRITTEN = 1 << 20  # bytes written at a time


@dataclass(frozen=True, slots=True)
class Shard:
    """A file to write.

    Attributes:
        name: its file name.
        header: its first bytes.
        places: tensor → position of its first byte in the file, in order.
        size: of the whole file, in bytes.
    """

    name: str
    header: bytes
    places: dict[str, int]
    size: int


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor goes.

    Attributes:
        name: the tensor.
        part: the file, under its name while it is unfinished.
        at: position of the tensor's first byte.
    """

    name: str
    part: Path
    at: int

    def __str__(self) -> str:
        return f"tensor {self.name!r} of {self.part.name[1:].removesuffix('.part')}"


def plan_shard(like: Checkpoint, source: str) -> Shard:
    """Plan a file with the tensors, order and metadata of an input file.

    The header's bytes are those of the input where its tensors keep their types and shapes.
    """
    infos = [like.stored[name] for name in like.layout[source]]
    header = _same_header(like, source, infos) or build_header(
        infos, like.headers[source].metadata or {"format": "pt"}
    )
    places, at = {}, len(header)
    for info in infos:
        places[info.name] = at
        at += info.bytes
    return Shard(safetensors_name(source), header, places, at)


def build_header(infos: Iterable[TensorInfo], metadata: Mapping[str, str]) -> bytes:
    """Write a safetensors header, length included, for tensors in the order of their data."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    at = 0
    for info in infos:
        offsets = [at, at + info.bytes]
        entries[info.name] = {
            "dtype": info.dtype,
            "shape": list(info.shape),
            "data_offsets": offsets,
        }
        at = offsets[1]
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def safetensors_name(source: str) -> str:
    """Name the output of an input file: ``.bin`` files become safetensors.

    >>> safetensors_name("pytorch_model-00001-of-00002.bin")
    'model-00001-of-00002.safetensors'
    """
    if not source.endswith(".bin"):
        return source
    return source.removesuffix(".bin").replace("pytorch_model", "model", 1) + ".safetensors"


def write_shards(
    folder: Path,
    shards: Sequence[Shard],
    like: Checkpoint,
    tensor: Tensors,
    executor: Executor,
    bar: Bar,
) -> None:
    """Write files beside their names, each renamed when it is whole and on disk.

    Raises:
        CheckpointError: a tensor came in another type or size.
        OSError: the disk is full or fails; only whole files are left behind.
    """
    write = partial(_write_tensor, like, tensor, executor.remote)
    order = ((shard, name) for shard in shards for name in (*shard.places, None))
    try:
        written = executor.map_in_order(write, _slots(folder, shards))
        for shard, name in order:
            if name is None:
                _finish(folder / shard.name)
            else:
                bar.describe(shard.name)
                bar.advance(next(written))
    finally:
        for unfinished in folder.glob(".*.part"):
            with suppress(OSError):
                unfinished.unlink()


def _slots(folder: Path, shards: Iterable[Shard]) -> Iterator[Slot]:
    """Make each file at its full size when its first tensor is due."""
    for shard in shards:
        part = _part(folder / shard.name)
        with part.open("wb") as handle:
            _reserve(handle.fileno(), shard.size)
            handle.write(shard.header)
        for name, at in shard.places.items():
            yield Slot(name, part.absolute(), at)


def _finish(target: Path) -> None:
    with _part(target).open("rb+") as handle:
        os.fsync(handle.fileno())
    _part(target).replace(target)


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _same_header(like: Checkpoint, source: str, infos: list[TensorInfo]) -> bytes | None:
    header = like.headers[source]
    if not header.length or infos != list(header.tensors.values()):
        return None
    with (like.path / source).open("rb") as handle:
        return handle.read(header.length)


def _write_tensor(like: Checkpoint, tensor: Tensors, remote: bool, slot: Slot) -> int:
    """Write one tensor to its place and give its bytes; runs on any worker."""
    try:
        # never made here: what a run that failed has removed must not come back
        with Stretch(slot.part, slot.at, like.stored[slot.name].bytes) as stretch:
            _fill(stretch, slot, like, tensor(slot.name))
            if remote:  # another machine's fsync would not put these bytes on disk
                stretch.sync()
    except OSError as failed:
        host = f" on {socket.gethostname()}" if remote else ""
        raise OSError(failed.errno, f"{failed.strerror or failed} ({slot}{host})") from failed
    return like.stored[slot.name].bytes


def _fill(stretch: Stretch, slot: Slot, like: Checkpoint, value: Value) -> None:
    info = like.stored[slot.name]
    at, end, dtype = slot.at, slot.at + info.bytes, STORAGE[info.dtype]
    if value is None:
        for block in finite_blocks(like, slot.name):
            stretch.put(block)
            at += block.nbytes
    for piece in _pieces(value):
        if piece.dtype != dtype or at + piece.nbytes > end:
            raise CheckpointError(
                f"came as {piece.dtype} with too many values or of another type; "
                f"expected {info.elements} of {dtype}",
                where=f"tensor {slot.name!r}",
            )
        stretch.put(bytes_of(piece))
        at += piece.nbytes
    if at != end:
        raise CheckpointError(
            f"came {end - at} bytes short of {info.bytes}", where=f"tensor {slot.name!r}"
        )


def _pieces(value: Value) -> Iterable[Array]:
    if value is None:
        return ()
    return (value,) if isinstance(value, np.ndarray) else _gathered(value)


def _gathered(pieces: Iterable[Array]) -> Iterator[Array]:
    """Join small pieces: a large write costs the kernel less than many small ones."""
    held: list[Array] = []
    for piece in pieces:
        if held and piece.dtype != held[0].dtype:
            yield np.concatenate(held)
            held = []
        held.append(piece.reshape(-1))
        if sum(one.nbytes for one in held) >= WRITTEN:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)


def _reserve(file: int, size: int) -> None:
    """Take the disk space at once, so that a full disk is met before the work, not after it."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.ftruncate(file, size)
