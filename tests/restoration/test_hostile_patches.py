"""Patches that are damaged or were made for something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from imprint.checkpoints import open_checkpoint, read_header
from imprint.checkpoints.dtypes import STORAGE, Array
from imprint.checkpoints.reading import read_values
from imprint.errors import CheckpointError
from imprint.restoration.patch import apply_patch
from imprint.restoration.restore import RestoreConfig, plan, write
from weights_support import Make, file_bytes, llama

Q = "model.layers.0.self_attn.q_proj.weight"
Tensors = dict[str, tuple[str, Array]]


@pytest.fixture
def patch(make: Make, tmp_path: Path) -> Path:
    base, tuned = make("base", llama("BF16")), make("tuned", llama("BF16", seed=1))
    made = plan(open_checkpoint(base), open_checkpoint(tuned), RestoreConfig(top=(0.3,)))
    (file,) = write(made, tmp_path / "p.safetensors", patch=True)
    return file


def parts(file: Path) -> tuple[Tensors, dict[str, str]]:
    header = read_header(file)
    return {n: (i.dtype, read_values(i)) for n, i in header.tensors.items()}, header.metadata


def rewritten(file: Path, tensors: Tensors, metadata: Mapping[str, str] | None) -> Path:
    file.write_bytes(file_bytes(tensors, metadata))
    return file


def apply(patch: Path, out: str = "out") -> Path:
    tuned = open_checkpoint(patch.parent / "tuned")
    return apply_patch(tuned, patch, patch.parent / out, command="test")


def refused(patch: Path, *said: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        apply(patch)
    for text in (str(patch), *said):
        assert text in str(caught.value)
    assert {p.name for p in patch.parent.iterdir()} == {"base", "tuned", patch.name}


def last(values: Array, value: int) -> Array:
    return np.append(values[:-1], np.array([value], values.dtype))


Change = tuple[str, Callable[[Array], Array]]


@pytest.mark.parametrize(
    ("ending", "dtype", "change", "said"),
    [
        ("indices", "U32", lambda v: v[::-1], "not ascending indices"),
        ("indices", "U32", lambda v: np.zeros_like(v), "holds 0 before 0"),
        ("indices", "U32", lambda v: last(v, 64), "holds the index 64, beyond the 64 values"),
        ("indices", "U64", lambda v: last(v.astype(np.uint64), 2**63), "beyond"),
        ("indices", "I64", lambda v: v.astype(np.int64), "is I64"),
        ("indices", "F32", lambda v: v.astype(np.float32), "is F32"),
        ("indices", "U32", lambda v: v[:-1], "has the shape"),
        ("values", "BF16", lambda v: v[:-1], "has the shape"),
        ("values", "BF16", lambda v: v[None], "has the shape"),
        ("values", "F16", lambda v: v.view(np.float16), "is F16"),
        ("values", "F32", lambda v: v.astype(np.float32), "is F32"),
        ("values", "BF16", lambda v: last(v, 0x7FC1), "holds nan at flat index"),
        ("values", "BF16", lambda v: last(v, 0xFF80), "holds -inf at flat index"),
    ],
)
def test_damaged_parts_are_named(
    patch: Path, ending: str, dtype: str, change: Callable[[Array], Array], said: str
) -> None:
    tensors, metadata = parts(patch)
    name = f"{Q}.{ending}"
    changed = np.ascontiguousarray(change(tensors[name][1]))
    assert changed.dtype == STORAGE[dtype]
    rewritten(patch, {**tensors, name: (dtype, changed)}, metadata)
    refused(patch, said, f"tensor '{Q}.")


@pytest.mark.parametrize("name", ["zz.indices", "zz", ".values", f"{Q}.other", Q])
def test_strangers_are_named(patch: Path, name: str) -> None:
    tensors, metadata = parts(patch)
    rewritten(patch, {**tensors, name: tensors[f"{Q}.indices"]}, metadata)
    refused(patch, "names no tensor of the checkpoint", f"tensor '{name}'")


def test_a_part_without_its_partner(patch: Path) -> None:
    tensors, metadata = parts(patch)
    del tensors[f"{Q}.values"]
    rewritten(patch, tensors, metadata)
    refused(patch, f"'{Q}.values' is missing")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "2"}, "no patch of version 1 (format 'imprint-patch', version '2')"),
        ({"format": "pt"}, "no patch of version 1"),
        ({"tuned": "0" * 64}, "was made for other weights"),
    ],
)
def test_metadata_must_be_right(patch: Path, change: dict[str, str], said: str) -> None:
    tensors, metadata = parts(patch)
    rewritten(patch, tensors, {**metadata, **change})
    refused(patch, said)
    rewritten(patch, tensors, {k: v for k, v in metadata.items() if k not in change})
    refused(patch, "was made for other" if "tuned" in change else said[:21])
    rewritten(patch, tensors, None)
    refused(patch, "no patch of version 1")


def test_truncated_anywhere(patch: Path) -> None:
    whole = patch.read_bytes()
    for at in (*range(0, len(whole), 211), len(whole) - 1):
        patch.write_bytes(whole[:at])
        refused(patch)


def test_what_says_nothing_and_wider_indices_do_no_harm(patch: Path) -> None:
    expected = (apply(patch) / "model.safetensors").read_bytes()
    tensors, metadata = parts(patch)
    name = "model.norm.weight"
    empty = {f"{name}.indices": ("U32", np.empty(0, np.uint32))}
    empty |= {f"{name}.values": ("BF16", np.empty(0, np.uint16))}
    wide = ("U64", tensors[f"{Q}.indices"][1].astype(np.uint64))
    rewritten(patch, {**tensors, **empty, f"{Q}.indices": wide}, metadata)
    assert (apply(patch, "again") / "model.safetensors").read_bytes() == expected


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000, "../..", "---\n- [x: |\n`<script>"])
def test_names_in_the_metadata_are_only_shown(patch: Path, name: str) -> None:
    tensors, metadata = parts(patch)
    out = apply(rewritten(patch, tensors, {**metadata, "base_name": name, "command": "```\n# x"}))
    about: dict[str, Any] = yaml.safe_load((out / "README.md").read_text().split("\n---\n")[0][4:])
    assert about["base_model"][1] == "tuned"
