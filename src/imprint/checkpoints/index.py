"""What a folder of weights holds: which files, which tensor in which file.

Hugging Face folders are read: one safetensors file, shards with an index, or ``pytorch_model.bin``.
Layouts of training frameworks and of quantisers are refused by name, with the way to convert them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprint.checkpoints.header import AGAIN, Header, TensorInfo, read_header
from imprint.checkpoints.pickled import read_pickled
from imprint.errors import CheckpointError

SINGLE, SHARDED = "model.safetensors", "model.safetensors.index.json"
BIN, BIN_SHARDED = "pytorch_model.bin", "pytorch_model.bin.index.json"

FOREIGN: dict[str, tuple[str, str]] = {
    "*.distcp": (
        "a distributed checkpoint (DCP) of torch",
        "convert it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch, then save "
        "the model with save_pretrained.",
    ),
    "pytorch_model_fsdp*": (
        "a sharded FSDP checkpoint",
        "convert it: accelerate merge-weights FOLDER OUT.",
    ),
    "*/*.distcp": (
        "a sharded FSDP checkpoint",
        "convert it: accelerate merge-weights FOLDER OUT.",
    ),
    "latest_checkpointed_iteration.txt": (
        "a Megatron checkpoint",
        "convert it with Megatron's or its model's own converter to Hugging Face format.",
    ),
    "mp_rank_*": (
        "a Megatron or DeepSpeed checkpoint of model-parallel ranks",
        "convert it to Hugging Face format with the converter of the framework that wrote it.",
    ),
    "iter_*/mp_rank_*": (
        "a Megatron checkpoint",
        "convert it with Megatron's or its model's own converter to Hugging Face format.",
    ),
    "zero_to_fp32.py": (
        "a DeepSpeed ZeRO checkpoint",
        "convert it: python zero_to_fp32.py . OUT --safe_serialization.",
    ),
    "*.gguf": (
        "GGUF weights",
        "give the Hugging Face folder they were made from.",
    ),
    "consolidated*": (
        "weights in their author's own layout",
        "convert them with the conversion script of transformers for the model.",
    ),
    "tf_model.h5": ("TensorFlow weights", "load with from_tf=True in an older transformers."),
    "flax_model.msgpack": ("Flax weights", "load with from_flax=True in an older transformers."),
}


@dataclass(frozen=True, slots=True)
class Index:
    """The tensors of a folder.

    Attributes:
        stored: every tensor on disk, in order of files and of data within a file.
        layout: file name → names in it.
        headers: file name → its header; for ``.bin`` without metadata and of length 0.
        metadata: what the index says besides the map; empty for a single file.
        file: name of the index file, ``None`` for a single file.
    """

    stored: dict[str, TensorInfo]
    layout: dict[str, tuple[str, ...]]
    headers: dict[str, Header]
    metadata: dict[str, Any]
    file: str | None


def read_index(folder: Path) -> Index:
    """Find and check all weights of a folder by their headers.

    Raises:
        CheckpointError: no weights, damaged ones, or a layout that is not read, each by name.
    """
    for single, sharded in ((SINGLE, SHARDED), (BIN, BIN_SHARDED)):
        if (folder / single).exists() and (folder / sharded).exists():
            raise CheckpointError(
                f"holds both {single} and {sharded}, which may be different weights",
                where=str(folder),
                remedy="remove the one that is not meant.",
            )
        if (folder / sharded).exists():
            return _sharded(folder, folder / sharded)
        if (folder / single).exists():
            header = _read(folder / single)
            return Index(
                dict(header.tensors), {single: tuple(header.tensors)}, {single: header}, {}, None
            )
    raise _nothing(folder)


def trainer_checkpoints(folder: Path) -> list[Path]:
    """Give the ``checkpoint-N`` folders of a training run's output, in order of steps."""
    found = [p for p in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", p.name)]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def read_object(file: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        CheckpointError: the file cannot be read, or holds something else.
    """
    try:
        found = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            "is missing", where=str(file), remedy="copy or download it beside the weights."
        ) from None
    except (OSError, ValueError, RecursionError) as failed:
        said = failed.strerror if isinstance(failed, OSError) else failed
        raise CheckpointError(f"cannot be read: {said}", where=str(file), remedy=AGAIN) from None
    if not isinstance(found, dict):
        raise CheckpointError("is not a JSON object", where=str(file), remedy=AGAIN)
    return found


def _read(file: Path) -> Header:
    return read_pickled(file) if file.suffix == ".bin" else read_header(file)


def _sharded(folder: Path, file: Path) -> Index:
    index = read_object(file)
    mapped = _weight_map(index, file)
    shards = sorted(set(mapped.values()))
    for shard in shards:
        if not os.path.isfile(folder / shard):  # noqa: PTH113 - false for a name too long
            lost = next(name for name, at in mapped.items() if at == shard)
            raise CheckpointError(
                f"the shard {shard!r} is missing (it holds {lost!r})",
                where=str(file),
                remedy="download or copy the missing file.",
            )
    headers = {shard: _read(folder / shard) for shard in shards}
    _refuse_disagreement(mapped, headers, file)
    stored = {name: info for header in headers.values() for name, info in header.tensors.items()}
    layout = {shard: tuple(header.tensors) for shard, header in headers.items()}
    metadata = index.get("metadata")
    return Index(
        stored, layout, headers, dict(metadata) if isinstance(metadata, dict) else {}, file.name
    )


def _weight_map(index: Mapping[str, Any], file: Path) -> dict[str, str]:
    mapped = index.get("weight_map")
    if not isinstance(mapped, dict) or not mapped:
        raise CheckpointError("has no weight_map", where=str(file), remedy=AGAIN)
    for name, shard in mapped.items():
        if not isinstance(shard, str) or not shard or Path(shard).name != shard or "\\" in shard:
            raise CheckpointError(
                f"its weight_map sends the tensor to {shard!r}, outside the folder",
                where=f"{file}, tensor {name!r}",
                remedy="shards lie beside their index, named without a path.",
            )
        if Path(shard).suffix not in (".safetensors", ".bin"):
            raise CheckpointError(
                f"its weight_map names {shard!r}, which is neither safetensors nor .bin",
                where=f"{file}, tensor {name!r}",
                remedy=AGAIN,
            )
    return mapped


def _refuse_disagreement(mapped: dict[str, str], headers: dict[str, Header], file: Path) -> None:
    held: dict[str, str] = {}
    for shard, header in headers.items():
        for name in header.tensors:
            if name in held:
                raise CheckpointError(
                    f"stands also in {held[name]!r}",
                    where=f"{file.parent / shard}, tensor {name!r}",
                    remedy="remove one copy.",
                )
            held[name] = shard
    for name, shard in held.items():
        if mapped.get(name) != shard:
            expected = f"{file.name} expects it in {mapped[name]!r}" if name in mapped else ""
            raise CheckpointError(
                expected or f"is not in {file.name}",
                where=f"{file.parent / shard}, tensor {name!r}",
                remedy=AGAIN,
            )
    for name, shard in mapped.items():
        if name not in held:
            raise CheckpointError(
                f"is in no shard; {file.name} expects it in {shard!r}",
                where=f"{file}, tensor {name!r}",
                remedy=AGAIN,
            )


def _nothing(folder: Path) -> CheckpointError:
    lost = [name for name in (SINGLE, SHARDED, BIN, BIN_SHARDED) if (folder / name).is_symlink()]
    if lost:
        return CheckpointError(
            f"its {lost[0]} is a link to a file that is not there",
            where=str(folder),
            remedy="download it again, or copy the file itself.",
        )
    for pattern, (what, remedy) in FOREIGN.items():
        if any(folder.glob(pattern)):
            return CheckpointError(f"holds {what}", where=str(folder), remedy=remedy)
    kinds = ("*.safetensors", "pytorch_model*.bin")
    loose = [path.name for kind in kinds for path in sorted(folder.glob(kind))]
    if "adapter_model.safetensors" in loose or (folder / "adapter_config.json").is_file():
        return CheckpointError(
            "holds an adapter, not a model", where=str(folder), remedy="write BASE+ADAPTER."
        )
    if loose:
        one, many = (BIN, BIN_SHARDED) if loose[0].endswith(".bin") else (SINGLE, SHARDED)
        return CheckpointError(
            f"holds {loose[0]!r} but neither {one} nor {many}",
            where=str(folder),
            remedy="add the index, or rename a single file.",
        )
    steps = [path.name for path in trainer_checkpoints(folder)]
    return CheckpointError(
        "holds no weights" + (f" itself, only {', '.join(steps[:5])}" if steps else ""),
        where=str(folder),
        remedy=f"name one of them: {folder / steps[-1]}." if steps else f"expected {SINGLE}.",
    )
