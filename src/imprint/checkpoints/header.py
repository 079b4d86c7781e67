"""The header of a safetensors file, read strictly; no weights are touched.

Layout: 8 bytes with the header's length N (little-endian), N bytes of JSON, then the data. Every
tensor names its type, its shape and its range of data; the ranges must tile the data exactly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprint.checkpoints.dtypes import STORAGE
from imprint.errors import CheckpointError

LARGEST_HEADER = 25_000_000
AGAIN = "the file is damaged: download or save it again."


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies on disk.

    Attributes:
        name, dtype, shape: as the file has them; ``dtype`` is a safetensors name (``BF16``).
        file: the file.
        start: position of the first byte, counted from the beginning of the file.
        bytes: length of the data.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    bytes: int

    @property
    def elements(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    @property
    def where(self) -> str:
        """File and name, for messages."""
        return f"{self.file}, tensor {self.name!r}"


@dataclass(frozen=True, slots=True)
class Header:
    """A safetensors header.

    Attributes:
        tensors: in the order of their data.
        metadata: the ``__metadata__`` of the file.
        length: bytes before the data, the 8 of the length included.
    """

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    length: int


def read_header(file: Path) -> Header:
    """Read and check the header of a safetensors file.

    Raises:
        CheckpointError: the file is cut short, is not safetensors, or its header does not describe
            its data exactly: overlap, gap, wrong size, unknown type, a name that stands twice.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as handle:
            length = _length(handle.read(8), size, file)
            raw = handle.read(length)
    except OSError as failed:
        raise CheckpointError(f"cannot be read: {failed.strerror}", where=str(file)) from failed
    entries = _parse(raw, file)
    metadata = _metadata(entries.pop("__metadata__", None), file)
    infos = [_tensor(name, entry, file, 8 + length) for name, entry in entries.items()]
    infos.sort(key=lambda info: (info.start, info.bytes))
    _refuse_holes(infos, 8 + length, size, file)
    return Header({info.name: info for info in infos}, metadata, 8 + length)


def _length(prefix: bytes, size: int, file: Path) -> int:
    if len(prefix) < 8:
        raise CheckpointError(f"is cut short: {size} bytes", where=str(file), remedy=AGAIN)
    length = int.from_bytes(prefix, "little")
    if length > LARGEST_HEADER:
        raise CheckpointError(
            f"claims a header of {length:,} bytes; {LARGEST_HEADER:,} is the limit "
            "of huggingface_hub, which imprint keeps",
            where=str(file),
            remedy="is it a safetensors file? If so, save it in more shards.",
        )
    if 8 + length > size:
        raise CheckpointError(
            f"is cut short: its header has {length:,} bytes, the file {size:,}",
            where=str(file),
            remedy=AGAIN,
        )
    return length


def _parse(raw: bytes, file: Path) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise CheckpointError(
                f"{twice!r} stands twice in the header",
                where=f"{file}, tensor {twice!r}",
                remedy=AGAIN,
            )
        return found

    try:
        entries = json.loads(raw.decode("utf-8"), object_pairs_hook=once)
        _refuse_half_characters(entries)
    except (ValueError, RecursionError) as failed:
        raise CheckpointError(
            f"its header is not JSON: {failed}", where=str(file), remedy=AGAIN
        ) from failed
    if not isinstance(entries, dict):
        raise CheckpointError("its header is not a JSON object", where=str(file), remedy=AGAIN)
    return entries


def _refuse_half_characters(entries: object) -> None:
    """Refuse an escape like ``\\ud800`` alone, which is no character and cannot be written."""
    json.dumps(entries, ensure_ascii=False).encode()


def _metadata(entry: Any, file: Path) -> dict[str, str]:
    if entry is None:
        return {}
    if not isinstance(entry, dict) or not all(isinstance(v, str) for v in entry.values()):
        raise CheckpointError(
            "its __metadata__ is not an object of texts",
            where=str(file),
            remedy="save the file again with text values.",
        )
    return dict(entry)


def _tensor(name: str, entry: Any, file: Path, data: int) -> TensorInfo:
    where = f"{file}, tensor {name!r}"
    if not isinstance(entry, Mapping) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(
            "its entry does not hold dtype, shape and data_offsets", where=where, remedy=AGAIN
        )
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in STORAGE:
        raise CheckpointError(
            f"has the type {dtype!r}, which imprint does not read",
            where=where,
            remedy=f"save it as one of {', '.join(STORAGE)}.",
        )
    if not _counts(shape) or not _counts(offsets) or len(offsets) != 2 or _too_large(shape):
        raise CheckpointError(
            f"shape {_short(shape)} or data_offsets {_short(offsets)} are not whole numbers "
            "from 0, or are larger than any file",
            where=where,
            remedy=AGAIN,
        )
    begin, end = offsets
    expected = math.prod(shape) * STORAGE[dtype].itemsize
    if end - begin != expected:
        raise CheckpointError(
            f"data_offsets [{begin}, {end}] span {end - begin} bytes, "
            f"but {dtype} of shape {shape} takes {expected}",
            where=where,
            remedy=AGAIN,
        )
    return TensorInfo(name, dtype, tuple(shape), file, data + begin, expected)


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and v >= 0 for v in value)


def _too_large(shape: list[int]) -> bool:
    """Whether a size overflows although there are no values: numpy multiplies the others."""
    return math.prod(max(n, 1) for n in shape) >= 1 << 60


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 200 else f"{text[:200]}…"


def _refuse_holes(infos: list[TensorInfo], data: int, size: int, file: Path) -> None:
    at = data
    for info in infos:
        if info.start != at:
            what = "overlaps the one before it" if info.start < at else "leaves a gap before it"
            raise CheckpointError(
                f"its data {what} (begins at byte {info.start - data} of the data, "
                f"expected {at - data})",
                where=info.where,
                remedy=AGAIN,
            )
        at += info.bytes
    if at > size:
        last = next(info for info in infos if info.start + info.bytes > size)
        raise CheckpointError(
            f"is cut short: its data end at byte {at:,}, the file at {size:,}",
            where=last.where,
            remedy=AGAIN,
        )
    if at < size:
        raise CheckpointError(
            f"has {size - at:,} bytes after its last tensor", where=str(file), remedy=AGAIN
        )
