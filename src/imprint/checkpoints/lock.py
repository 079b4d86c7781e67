"""One writer at a time: a folder that a living process holds."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imprint.errors import ConfigError


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder; the lock goes when the process ends, however it ends.

    Where the file system knows no locks, nothing is held and nothing is refused.

    Raises:
        ConfigError: another process holds it, or has just moved it.
        OSError: the folder cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not _lock(handle) or not _same(handle, folder):
            raise ConfigError(
                "another process is writing to the same target",
                where=str(folder),
                remedy="wait until it has finished, or choose another target.",
            )
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here
        return True
    return True


def _same(handle: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except FileNotFoundError:
        return False
