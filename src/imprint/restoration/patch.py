"""Sparse patches: what a repaired checkpoint changes in the tuned one, and no more.

A patch is a safetensors file. For a tensor NAME of which any bit changes it holds ``NAME.indices``
(flat, ascending, U32, or U64 for tensors beyond 2³² values) and ``NAME.values`` in the tuned type.
Its metadata names the format, both parents by the hash of their weights, and the settings.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from imprint.checkpoints import Checkpoint, read_header, weights_hash, write_checkpoint
from imprint.checkpoints.card import model_card
from imprint.checkpoints.dtypes import FLOATS, STORAGE, Array, to_float32
from imprint.checkpoints.header import Header, TensorInfo
from imprint.checkpoints.reading import read_values
from imprint.checkpoints.reference import Reference
from imprint.checkpoints.shards import build_header
from imprint.checkpoints.writer import LONGEST, resolved
from imprint.errors import CheckpointError, ConfigError, DataError
from imprint.progress import Bar, Silent
from imprint.runs import file_hash

FORMAT, VERSION = "imprint-patch", "1"
Pieces = Iterable[tuple[int, Array, Array]]


def write_patch(
    file: Path,
    names: Iterable[str],
    pieces: Callable[[str], Pieces],
    tuned: Checkpoint,
    metadata: Mapping[str, str],
    *,
    overwrite: bool = False,
) -> int:
    """Write a patch; it appears whole or not at all.

    Args:
        file: where to.
        names: tuned tensors that may change, in the order to write them.
        pieces: gives (flat start, tuned values, new values) of a tensor, both as stored.
        tuned: the checkpoint that the patch is for.
        metadata: facts to store; the hashes of the parents among them.
        overwrite: replace an earlier file.

    Returns:
        How many values it changes.

    Raises:
        ConfigError: the file exists.
        DataError: it cannot be written.
    """
    refuse_existing(file, overwrite=overwrite)
    whole = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=file.parent) as data, whole.open("wb") as target:
            infos = _write_data(data, file, names, pieces, tuned)
            about = {"format": FORMAT, "version": VERSION, **metadata}
            target.write(build_header(infos, about))
            data.seek(0)
            shutil.copyfileobj(data, target, 1 << 24)
        whole.replace(file)
    except OSError as failed:
        problem = f"cannot be written: {failed.strerror or failed}"
        raise DataError(problem, where=str(file)) from failed
    finally:
        with suppress(OSError):
            whole.unlink()
    return sum(info.elements for info in infos if info.name.endswith(".indices"))


def refuse_existing(file: Path, inputs: Iterable[Path] = (), *, overwrite: bool) -> None:
    """Refuse to replace a file, unless asked to, and to write into an input.

    Raises:
        ConfigError: it exists, is a folder, lies in one of the inputs, or has a name that leaves
            no room for a temporary one.
    """
    if any(resolved(file).is_relative_to(folder.resolve()) for folder in inputs):
        raise ConfigError(
            "lies in one of the inputs", where=str(file), remedy="write it somewhere else."
        )
    if len(os.fsencode(file.name)) > LONGEST:
        raise ConfigError(
            f"its name is longer than {LONGEST} bytes", where=str(file), remedy="shorten it."
        )
    if file.is_dir() or (file.exists() and not overwrite):
        raise ConfigError(
            "exists", where=str(file), remedy="choose another name, or pass --overwrite."
        )


def apply_patch(
    tuned: Checkpoint,
    patch: Path,
    out: Path,
    *,
    command: str,
    overwrite: bool = False,
    workers: int = 2,
    bar: Bar | None = None,
) -> Path:
    """Write the checkpoint that a patch and its parent make.

    Raises:
        CheckpointError: the file is no patch, is damaged, or was made for other weights.
        ConfigError: ``out`` holds something else.
    """
    header = read_patch(patch)
    found, expected = weights_hash(tuned), header.metadata.get("tuned")
    if found != expected:
        raise CheckpointError(
            f"was made for other weights: {str(expected)[:16]}…, these are {found[:16]}…",
            where=str(patch),
            remedy="apply it to the tuned checkpoint that it was made from.",
        )
    _refuse_misfit(header, tuned, patch)

    def tensor(name: str) -> Array | None:
        return _patched(header, tuned, name)

    about = {k: v for k, v in header.metadata.items() if k != "format"}
    base = Reference(header.metadata.get("base_name", "base"))
    return write_checkpoint(
        out,
        tuned,
        tensor,
        card=model_card(base, tuned.reference, command=command, counts=about, like=tuned.path),
        fingerprint=f"apply {dict(sorted(header.metadata.items()))} {file_hash(patch)}",
        record={"job": "apply", "patch": about},
        inputs=(patch,),
        overwrite=overwrite,
        workers=workers,
        bar=bar or Silent(),
    )


def read_patch(patch: Path) -> Header:
    """Read and check the header of a patch.

    Raises:
        CheckpointError: no patch, of another version, or parts that do not match.
    """
    header = read_header(patch)
    kind, version = header.metadata.get("format"), header.metadata.get("version")
    if (kind, version) != (FORMAT, VERSION):
        raise CheckpointError(
            f"is no patch of version {VERSION} (format {kind!r}, version {version!r})",
            where=str(patch),
            remedy="write one with `imprint restore … --patch`.",
        )
    return header


def _write_data(
    data: IO[bytes],
    file: Path,
    names: Iterable[str],
    pieces: Callable[[str], Pieces],
    tuned: Checkpoint,
) -> list[TensorInfo]:
    infos: list[TensorInfo] = []
    at = 0
    for name in names:
        info = tuned.info(name)
        kind = "U32" if info.elements <= 1 << 32 else "U64"
        places, values = _changed(pieces(name), STORAGE[kind], STORAGE[info.dtype])
        for ending, dtype, array in (("indices", kind, places), ("values", info.dtype, values)):
            if len(array):
                shape, key = (len(array),), f"{name}.{ending}"
                infos.append(TensorInfo(key, dtype, shape, file, at, array.nbytes))
                data.write(array.tobytes())
                at += array.nbytes
    return infos


def _changed(
    pieces: Pieces, kind: np.dtype[np.generic], dtype: np.dtype[np.generic]
) -> tuple[Array, Array]:
    places: list[Array] = [np.empty(0, kind)]
    values: list[Array] = [np.empty(0, dtype)]
    bits = f"u{dtype.itemsize}"
    for start, before, after in pieces:
        moved = np.flatnonzero(before.view(bits) != after.view(bits))
        places.append((moved + start).astype(kind))
        values.append(after[moved])
    return np.concatenate(places), np.concatenate(values)


def _patched(header: Header, tuned: Checkpoint, name: str) -> Array | None:
    info = tuned.info(name)
    places = header.tensors.get(f"{info.name}.indices")
    if places is None:
        return None
    result = np.array(tuned.raw(info.name)).reshape(-1)
    result[read_values(places)] = read_values(header.tensors[f"{info.name}.values"])
    return result


def _refuse_misfit(header: Header, tuned: Checkpoint, patch: Path) -> None:
    for key, info in header.tensors.items():
        problem = _misfit(key, info, header, tuned)
        if problem:
            raise CheckpointError(
                problem,
                where=f"{patch}, tensor {key!r}",
                remedy="the file is damaged: write the patch again.",
            )


def _misfit(key: str, info: TensorInfo, header: Header, tuned: Checkpoint) -> str | None:
    name, _, ending = key.rpartition(".")
    stored = tuned.tensors.get(name)
    if ending not in ("indices", "values") or stored is None:
        return "names no tensor of the checkpoint"
    other = f"{name}.{'values' if ending == 'indices' else 'indices'}"
    partner = header.tensors.get(other)
    if partner is None or partner.shape != info.shape:
        return f"has the shape {info.shape}, {other!r} {partner.shape if partner else 'is missing'}"
    expected = (stored.dtype,) if ending == "values" else ("U32", "U64")
    if info.dtype not in expected or len(info.shape) != 1:
        return (
            f"is {info.dtype} of {len(info.shape)} dimensions, not {' or '.join(expected)} of one"
        )
    return _disorder(info, stored) if ending == "indices" else _not_finite(info)


def _disorder(indices: TensorInfo, stored: TensorInfo) -> str | None:
    found = read_values(indices).astype(np.uint64)
    wrong = np.flatnonzero(found[1:] <= found[:-1])
    if len(wrong):
        return f"holds {found[wrong[0]]} before {found[wrong[0] + 1]}, not ascending indices"
    if len(found) and found[-1] >= stored.elements:
        return f"holds the index {found[-1]}, beyond the {stored.elements} values of the tensor"
    return None


def _not_finite(values: TensorInfo) -> str | None:
    if values.dtype not in FLOATS:
        return None
    found = to_float32(read_values(values), values.dtype)
    wrong = np.flatnonzero(~np.isfinite(found))
    return f"holds {found[wrong[0]]} at flat index {wrong[0]}" if len(wrong) else None
