"""What builds units in tests of the ledger; a module that worker processes can import."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path


def write(text: str, log: Path, folder: Path) -> None:
    with log.open("a") as handle:
        handle.write(text + "\n")
    (folder / "content.txt").write_text(text)


def full(folder: Path) -> None:
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as failed:
        raise ValueError("cannot save") from failed


def gpu_of_worker() -> tuple[int, str | None]:
    time.sleep(0.3)  # so that each worker takes one
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")
