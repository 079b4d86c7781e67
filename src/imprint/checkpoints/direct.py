"""Bytes written in order to a stretch of a file, past the page cache where that is possible.

A checkpoint is written once and is often larger than memory. Through the page cache the kernel
finds a page for every 4 KiB, which can take longer than the disk does, and pushes out the input
files that are still being read.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

BLOCK = 4096  # alignment in memory and on disk that every common disk accepts
BUFFER = 1 << 22  # bytes per write
LEAST = 1 << 23  # bytes; shorter stretches go through the cache
DIRECT = getattr(os, "O_DIRECT", 0)
REFUSED = (errno.EINVAL, errno.ENOTSUP)  # what file systems answer that cannot do it

_kept = threading.local()


class Stretch:
    """A stretch of an existing file, filled from its first byte on; a context manager.

    Whole blocks go straight to disk, the rest (before the first and after the last whole block,
    which neighbouring stretches may share) through the cache. Several threads may fill
    neighbouring stretches of a file at a time.

    Args:
        path: the file, which is never made here.
        at: position of the first byte.
        size: bytes that will come; decides whether going past the cache pays.

    Raises:
        OSError: the file is gone, the disk is full or fails.
    """

    def __init__(self, path: Path, at: int, size: int):
        self.at = at
        self._held = 0
        self._file = os.open(path, os.O_WRONLY)
        self._direct = _opened_direct(path) if size >= LEAST else None
        self._buffer = _buffer() if self._direct is not None else memoryview(b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._empty()
        finally:
            self.close()

    def put(self, data: memoryview) -> None:
        """Write bytes behind those written before."""
        if self._direct is None and not self._held:
            self.at = _put(self._file, data, self.at)
            return
        ahead = -self.at % BLOCK if not self._held else 0
        if ahead:
            self.at = _put(self._file, data[:ahead], self.at)
        while len(data := data[ahead:]):
            ahead = min(len(data), BUFFER - self._held)
            self._buffer[self._held : self._held + ahead] = data[:ahead]
            self._held += ahead
            if self._held == BUFFER:
                self._empty()

    def sync(self) -> None:
        """Wait until everything is on disk."""
        self._empty()
        os.fsync(self._file)

    def close(self) -> None:
        """Let go of the file."""
        for file in (self._file, self._direct):
            if file is not None:
                with suppress(OSError):
                    os.close(file)

    def _empty(self) -> None:
        whole = self._held - self._held % BLOCK
        data, self._held = self._buffer[: self._held], 0
        if whole and self._direct is not None:
            try:
                self.at = _put(self._direct, data[:whole], self.at, aligned=True)
                data = data[whole:]
            except OSError as failed:
                if failed.errno not in REFUSED:
                    raise
                self._buffer_no_more()
        self.at = _put(self._file, data, self.at)

    def _buffer_no_more(self) -> None:
        if self._direct is not None:
            os.close(self._direct)
        self._direct = None


def _opened_direct(path: Path) -> int | None:
    if not DIRECT:
        return None
    try:
        return os.open(path, os.O_WRONLY | DIRECT)
    except OSError as failed:
        if failed.errno in REFUSED:
            return None
        raise


def _buffer() -> memoryview:
    """Give this thread's buffer: an anonymous map begins at a page, as direct writes ask."""
    if not hasattr(_kept, "buffer"):
        _kept.buffer = memoryview(mmap.mmap(-1, BUFFER))
    return _kept.buffer  # type: ignore[no-any-return]


def _put(file: int, data: memoryview, at: int, *, aligned: bool = False) -> int:
    """Write bytes to a place and give the place behind them."""
    while data:
        written = os.pwrite(file, data, at)
        if aligned:  # a short write may end inside a block
            written -= written % BLOCK
            if not written:
                raise OSError(errno.EINVAL, "a direct write ended inside a block")
        data, at = data[written:], at + written
    return at
