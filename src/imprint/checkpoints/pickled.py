"""Headers of ``pytorch_model.bin`` files: torch tells where each tensor lies, nothing is loaded.

A ``.bin`` file is a zip archive whose entries are not compressed, so its tensors can be read in
place like those of a safetensors file. Only the restricted unpickler (``weights_only``) is used.
"""

from __future__ import annotations

import bisect
import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from imprint.checkpoints.dtypes import STORAGE
from imprint.checkpoints.header import AGAIN, Header, TensorInfo
from imprint.errors import CheckpointError, require

NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
RESAVE = "load the model and save it with save_pretrained, which writes safetensors."
OTHERWISE = f"if it opens with torch.load, {RESAVE} Otherwise {AGAIN}"
BROKEN = (  # what zipfile raises for damaged archives
    *(zipfile.BadZipFile, NotImplementedError, EOFError, struct.error),
    *(RuntimeError, ValueError, AttributeError),
)


def read_pickled(file: Path) -> Header:
    """Find the tensors of a ``.bin`` file.

    Tensors that share their storage come out with equal ``start``: they are tied.

    Raises:
        CheckpointError: damaged, of the format before torch 1.6, holding more than tensors, or
            tensors that are not contiguous.
        DependencyError: torch is not installed.
    """
    torch = require("torch", "models")
    entries = _entries(file)
    try:
        state = torch.load(file, map_location="meta", weights_only=True, mmap=True)
    except pickle.UnpicklingError as failed:
        raise CheckpointError(
            f"holds more than tensors{_named(failed)}, and could run code when it is loaded",
            where=str(file),
            remedy=f"if you trust it, {RESAVE}",
        ) from None
    except Exception as failed:  # noqa: BLE001 - torch raises many kinds for a damaged file
        said = str(failed).strip().splitlines()
        raise CheckpointError(
            f"cannot be read as weights: {said[0] if said else type(failed).__name__}",
            where=str(file),
            remedy=OTHERWISE,
        ) from None
    if not isinstance(state, dict):
        raise CheckpointError("is not a dictionary of tensors", where=str(file), remedy=RESAVE)
    tensors = {name: _locate(name, value, file, entries) for name, value in state.items()}
    ordered = sorted(tensors.values(), key=lambda info: info.start)
    return Header({info.name: info for info in ordered}, {}, 0)


def _entries(file: Path) -> list[tuple[int, int]]:
    """Find where the archive's entries lie, [begin, end) in bytes, in order.

    torch trusts the archive: it would take compressed bytes, or those of a neighbour, for weights.
    """
    try:
        with zipfile.ZipFile(file) as archive, file.open("rb") as handle:
            order = next((n for n in archive.namelist() if n.endswith("/byteorder")), None)
            if order is not None and archive.read(order) != b"little":
                raise CheckpointError("holds big-endian numbers", where=str(file), remedy=RESAVE)
            return sorted(_extent(entry, handle, file) for entry in archive.infolist())
    except BROKEN as failed:
        raise CheckpointError(
            f"is no archive of torch 1.6 or later: {failed}",
            where=str(file),
            remedy=OTHERWISE,
        ) from None
    except OSError as failed:
        problem = f"cannot be read: {failed.strerror or failed}"
        raise CheckpointError(problem, where=str(file), remedy=AGAIN) from None


def _extent(entry: zipfile.ZipInfo, handle: BinaryIO, file: Path) -> tuple[int, int]:
    if entry.compress_type != zipfile.ZIP_STORED:
        raise CheckpointError(
            f"its entry {entry.filename!r} is compressed", where=str(file), remedy=RESAVE
        )
    handle.seek(entry.header_offset + 26)  # the local header ends with the lengths of two fields
    name, extra = struct.unpack("<HH", handle.read(4))
    begin = entry.header_offset + 30 + name + extra
    return begin, begin + entry.file_size


def _named(failed: Exception) -> str:
    found = re.search(r"(?:GLOBAL|Unsupported global:|global) (?:GLOBAL )?([\w.]+)", str(failed))
    return f" ({found[1]})" if found else ""


def _locate(name: Any, value: Any, file: Path, entries: list[tuple[int, int]]) -> TensorInfo:
    where = f"{file}, tensor {name!r}"
    dtype = NAMES.get(str(getattr(value, "dtype", "")).removeprefix("torch."))
    if not isinstance(name, str) or dtype is None:
        raise CheckpointError(
            f"is a {type(value).__name__} that imprint does not read", where=where, remedy=RESAVE
        )
    dense = str(value.layout) == "torch.strided"
    offset = getattr(value.untyped_storage(), "_checkpoint_offset", None) if dense else None
    if offset is None or not value.is_contiguous():
        raise CheckpointError("is not stored contiguously", where=where, remedy=RESAVE)
    width = STORAGE[dtype].itemsize
    start, length = offset + value.storage_offset() * width, value.numel() * width
    begin, end = entries[max(bisect.bisect_right(entries, (offset, 1 << 62)) - 1, 0)]
    if length and (offset != begin or start + length > end):
        raise CheckpointError("is not where the archive says", where=where, remedy=OTHERWISE)
    return TensorInfo(name, dtype, tuple(value.shape), file, start, length)
