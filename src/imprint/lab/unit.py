"""A unit of work in its folder: it appears there whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imprint.errors import DataError
from imprint.lab.memory import peak_bytes, reset_peak
from imprint.runs import dump_json, write_atomic

Build = Callable[[Path], None]
FULL = ("No space left on device", "Disk quota exceeded")  # as libraries pass it on
USED = ".used"  # folder of empty files named like the units that were made or found


@dataclass(frozen=True, slots=True)
class Unit:
    """A finished unit of work.

    Attributes:
        name, key: what it is called, and the hash of what it is made of.
        path: its folder.
        seconds: that building it took.
        peak_bytes: most memory that its process held meanwhile.
    """

    name: str
    key: str
    path: Path
    seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Work:
    """A unit that may still have to be built; its folder is known already.

    Attributes:
        name, key, path: as of the unit that it becomes.
        settings: everything that changes what it holds, apart from its needs.
        needs: keys of the units that must be there first.
        build: fills the folder it is given; picklable, so that another process can call it.
        weight: expected seconds, for the time left and the order.
        resumable: the build goes on from what a killed one left in its folder.
    """

    name: str
    key: str
    path: Path
    settings: Mapping[str, Any]
    needs: tuple[str, ...]
    build: Build = field(repr=False)
    weight: float = 1.0
    resumable: bool = False


def make(work: Work) -> Unit:
    """Build a unit unless it is there; a second builder of the same waits for the first."""
    if (unit := done(work)) is not None:
        return unit
    part = work.path.with_name(f".{work.path.name}.part")
    with _writable(work.path.parent), _alone(work.path):
        if (unit := done(work)) is not None:
            return unit
        if not work.resumable:
            shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True, exist_ok=True)
        reset_peak()
        begun = time.perf_counter()
        with _room(part):
            work.build(part)
        told = {
            "name": work.name,
            "key": work.key,
            "settings": work.settings,
            "needs": work.needs,
            "seconds": round(time.perf_counter() - begun, 3),
            "peak_bytes": peak_bytes(),
        }
        write_atomic(part / "unit.json", dump_json(told))
        shutil.rmtree(work.path, ignore_errors=True)
        part.replace(work.path)
    unit = done(work)
    assert unit is not None  # noqa: S101 (it was just put there)
    return unit


def done(work: Work) -> Unit | None:
    """Find a finished unit."""
    try:
        told = json.loads((work.path / "unit.json").read_text())
    except (OSError, ValueError):
        return None
    with suppress(OSError):
        used = work.path.parent / USED
        used.mkdir(exist_ok=True)
        (used / work.path.name).touch()
    return Unit(work.name, work.key, work.path, told["seconds"], told["peak_bytes"])


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failed:
        remedy = "choose another --out."
        raise DataError(
            f"cannot be written: {failed.strerror}", where=str(folder), remedy=remedy
        ) from failed
    yield


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """Tell a full disk from our own mistakes, however deep in a library it was met."""
    try:
        yield
    except Exception as failed:
        if not _is_full(failed):
            raise
        remedy = "make room; the same command goes on from what is finished."
        raise DataError("the disk is full", where=str(folder.parent), remedy=remedy) from failed


def _is_full(failed: BaseException | None) -> bool:
    while failed is not None:
        if isinstance(failed, OSError) and failed.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(failed) for words in FULL):
            return True
        failed = failed.__cause__ or failed.__context__
    return False


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    locks = path.parent / ".locks"
    locks.mkdir(exist_ok=True)
    with (locks / path.name).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # let go when closed, also by a killed process
        yield
