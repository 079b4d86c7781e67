"""Stretches of files written past the page cache."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imprint.checkpoints import direct
from imprint.checkpoints.direct import BLOCK, BUFFER, Stretch

SIZE = 3 * BUFFER + 12_345


def _made(path: Path, size: int) -> Path:
    path.write_bytes(bytes(size))
    return path


@pytest.mark.parametrize("at", [0, 1, BLOCK, BLOCK + 7])
@pytest.mark.parametrize("piece", [1_000_003, BUFFER, SIZE])
def test_bytes_come_to_their_places(tmp_path: Path, at: int, piece: int) -> None:
    data = np.random.default_rng(0).bytes(SIZE)
    path = _made(tmp_path / "file", SIZE + at + 5)
    with Stretch(path, at, SIZE) as stretch:
        for begin in range(0, SIZE, piece):
            stretch.put(memoryview(data)[begin : begin + piece])
    assert path.read_bytes() == bytes(at) + data + bytes(5)


def test_neighbours_share_a_block(tmp_path: Path) -> None:
    sizes = [SIZE, SIZE - 999, SIZE + 1, 17, SIZE]
    parts = [np.random.default_rng(i).bytes(n) for i, n in enumerate(sizes)]
    places = np.cumsum([11, *sizes[:-1]]).tolist()
    path = _made(tmp_path / "file", 11 + sum(sizes))

    def fill(number: int) -> None:
        with Stretch(path, places[number], sizes[number]) as stretch:
            stretch.put(memoryview(parts[number]))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, range(len(sizes))))
    assert path.read_bytes() == bytes(11) + b"".join(parts)


@pytest.mark.parametrize("when", ["open", "write"])
def test_file_systems_that_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    data = np.random.default_rng(0).bytes(SIZE)
    path = _made(tmp_path / "file", SIZE)
    if when == "open":
        monkeypatch.setattr(direct, "DIRECT", 0)
    else:
        real = direct._put

        def put(file: int, piece: memoryview, at: int, **how: Any) -> int:
            if how.get("aligned"):
                raise OSError(errno.EINVAL, "no direct writes here")
            return real(file, piece, at)

        monkeypatch.setattr(direct, "_put", put)
    with Stretch(path, 0, SIZE) as stretch:
        for begin in range(0, SIZE, BUFFER // 3):
            stretch.put(memoryview(data)[begin : begin + BUFFER // 3])
    assert path.read_bytes() == data


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Stretch(tmp_path / "gone", 0, SIZE)
    assert not list(tmp_path.iterdir())


def test_a_failed_stretch_writes_no_more(tmp_path: Path) -> None:
    path = _made(tmp_path / "file", SIZE)

    def fail() -> None:
        with Stretch(path, 0, SIZE) as stretch:
            stretch.put(memoryview(b"x" * 100))
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail()
    assert path.read_bytes() == bytes(SIZE)
