"""``.bin`` files that are hostile or laid out in another way than torch assumes."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imprint.checkpoints import open_folder
from imprint.checkpoints.pickled import read_pickled
from imprint.checkpoints.reading import read_values
from imprint.errors import CheckpointError

torch = pytest.importorskip("torch")

Edit = Callable[[str, bytes], bytes | None]


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


def saved(tmp_path: Path, state: Any, **how: Any) -> Path:
    file = tmp_path / "pytorch_model.bin"
    torch.save(state, file, **how)
    return file


def state() -> dict[str, Any]:
    torch.manual_seed(0)
    return {f"w{n}": torch.randn(3 + n, 5).to(torch.bfloat16) for n in range(4)}


def repacked(raw: bytes, edit: Edit, how: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(made, "w", how) as new:
        for entry in old.infolist():
            content = edit(entry.filename, old.read(entry))
            if content is not None:
                new.writestr(entry.filename, content)
    return made.getvalue()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("inside", ["whole", "value", "key"])
def test_nothing_is_run(tmp_path: Path, inside: str, legacy: bool) -> None:
    canary = tmp_path / "canary"
    evil = Evil(canary)
    content = {"whole": evil, "value": {**state(), "x": evil}, "key": {evil: 1}}[inside]
    file = saved(tmp_path, content, _use_new_zipfile_serialization=not legacy)
    said = "no archive" if legacy else r"holds more than tensors \(posix.mkdir\)"
    with pytest.raises(CheckpointError, match=said) as caught:
        read_pickled(file)
    assert "weights_only" not in str(caught.value)
    file.write_bytes(pickle.dumps(evil))
    with pytest.raises(CheckpointError, match="no archive"):
        read_pickled(file)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("edit", "how", "said"),
    [
        (lambda name, raw: raw, zipfile.ZIP_DEFLATED, "is compressed"),
        (lambda name, raw: raw, zipfile.ZIP_STORED, "tensor 'w1': is not where"),
        (lambda name, raw: raw[:-2] if name.endswith("data/1") else raw, 0, "is not where"),
        (lambda name, raw: None if name.endswith("data/1") else raw, 0, "is not where"),
        (lambda name, raw: b"big" if name.endswith("byteorder") else raw, 0, "big-endian"),
    ],
)
def test_an_archive_that_torch_would_misread(
    tmp_path: Path, edit: Edit, how: int, said: str
) -> None:
    file = saved(tmp_path, state())
    file.write_bytes(repacked(file.read_bytes(), edit, how))
    with pytest.raises(CheckpointError, match=said):
        read_pickled(file)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.randn(4, 6).T, "contiguous"),
        (torch.randn(4, 6)[:, ::2], "contiguous"),
        (torch.randn(1, 6).expand(4, 6), "contiguous"),
        (torch.eye(4).to_sparse(), "contiguous"),
        (torch.empty(4, 6, device="meta"), "contiguous"),
        (torch.zeros(4, dtype=torch.complex64), "is a Tensor"),
        ({"inner": torch.zeros(2)}, "is a dict"),
        (3, "is a int"),
    ],
)
def test_what_is_no_plain_tensor_is_named(tmp_path: Path, value: Any, said: str) -> None:
    file = saved(tmp_path, {**state(), "odd": value})
    with pytest.raises(CheckpointError, match=f"tensor 'odd': .*{said}"):
        read_pickled(file)


def test_views_and_shared_storage_are_read_where_they_lie(tmp_path: Path) -> None:
    whole = torch.randn(6, 5)
    tensors = {"a": whole[2:4], "b": whole[3:], "c": whole, "z": torch.empty(0, 3)}
    tensors |= {"one": torch.tensor(3.0), "p": torch.nn.Parameter(whole[1:2])}
    found = read_pickled(saved(tmp_path, tensors)).tensors
    for name, value in tensors.items():
        got = read_values(found[name]).reshape(found[name].shape)
        np.testing.assert_array_equal(got, value.detach().numpy())


def test_both_a_single_file_and_an_index(tmp_path: Path) -> None:
    saved(tmp_path, state())
    (tmp_path / "pytorch_model.bin.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds both pytorch_model"):
        open_folder(tmp_path)


def test_a_changed_byte_is_refused_or_leaves_tensors_inside_the_file(tmp_path: Path) -> None:
    file = saved(tmp_path, state())
    raw, rng = file.read_bytes(), np.random.default_rng(0)
    refused = 0
    for at, byte in zip(rng.integers(len(raw), size=150), rng.bytes(150), strict=True):
        file.write_bytes(raw[:at] + bytes([byte]) + raw[at + 1 :])
        try:
            found = read_pickled(file).tensors
        except CheckpointError:
            refused += 1
        else:
            assert all(info.start + info.bytes <= len(raw) for info in found.values())
    assert 0 < refused < 150


@pytest.mark.parametrize("at", [0, 1, 10, 0.3, 0.6, 0.99])
def test_truncated(tmp_path: Path, at: float) -> None:
    file = saved(tmp_path, state())
    raw = file.read_bytes()
    file.write_bytes(raw[: at if isinstance(at, int) else int(at * len(raw))])
    with pytest.raises(CheckpointError, match="no archive"):
        read_pickled(file)
