"""Units of work named by what they are made of, so that nothing is done twice.

A unit's key is the hash of its name, its settings, the keys of the units it needs and the code that
builds it. Its folder, ``units/NAME-KEY16``, is known before it is built: it appears whole or not at
all. A killed study finds what was finished; a changed setting rebuilds what depends on it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from imprint.errors import DataError
from imprint.lab.pool import Executor, Pool, open_pool
from imprint.progress import Bar, Silent
from imprint.runs import dump_json, write_atomic

Build = Callable[[Path], None]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
FULL = ("No space left on device", "Disk quota exceeded")  # as libraries pass it on
USED = ".used"  # folder of empty files named like the units that were made or found
LIBRARIES = ("numpy", "polars", "tokenizers", "torch", "transformers", "trl", "peft")


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


class Ledger:
    """The folder of units, and how many are built at a time.

    Args:
        folder: of the study; units lie in ``units`` below it.
        workers: units built at a time, each in a process of its own if more than one.
        executor: ``processes`` of this machine, or ``ray``.
        threads: of each worker; by default the processors shared out among the workers.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 1,
        executor: Executor = "processes",
        threads: int | None = None,
    ):
        self.folder, self.workers, self.executor, self.threads = folder, workers, executor, threads

    def __getstate__(self) -> dict[str, Any]:
        # a worker that needs further units builds them itself
        return {**self.__dict__, "workers": 1, "executor": "processes", "threads": None}

    def work(
        self,
        name: str,
        settings: Mapping[str, Any],
        needs: Sequence[Work | Unit],
        build: Build,
        *,
        code: Sequence[str] = (),
        weight: float = 1.0,
        resumable: bool = False,
    ) -> Work:
        """Describe a unit; nothing is built yet.

        Args:
            name: letters, digits, ``.``, ``-`` and ``_``.
            settings: JSON-serialisable; all that changes the content, apart from ``needs``.
            needs: units it reads.
            build: fills the folder it is given (which exists); a function of a module, or a
                ``functools.partial`` of one where other processes are to build it.
            code: modules or packages whose source enters the key, beside that of ``build``.
            weight: expected seconds.
            resumable: keep what a killed build left, for ``build`` to go on from.
        """
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a unit")
        plain = json.loads(dump_json(dict(settings)))
        sources = sorted({_module(build), *code})
        parts = [name, plain, [need.key for need in needs], code_version(*sources)]
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        path = self.folder / "units" / f"{name}-{key[:16]}"
        ids = tuple(need.key for need in needs)
        return Work(name, key, path, plain, ids, build, weight, resumable)

    def unit(
        self,
        name: str,
        settings: Mapping[str, Any],
        needs: Sequence[Work | Unit],
        build: Build,
        *,
        code: Sequence[str] = (),
        resumable: bool = False,
    ) -> Unit:
        """Build a unit now, in this process, unless it is there; arguments as of :meth:`work`.

        The units that it needs must be there.

        Raises:
            DataError: the folder cannot be written.
        """
        return make(self.work(name, settings, needs, build, code=code, resumable=resumable))

    def run(self, works: Sequence[Work], bar: Bar | None = None) -> list[Unit]:
        """Build units, each after those it needs, several at a time.

        Args:
            works: in any order; what they need is among them or there already.
            bar: advances by the weight of each finished unit.

        Returns:
            The units, in the order given.

        Raises:
            ImprintError: a unit failed; the same call goes on from what is finished.
        """
        bar = bar or Silent()
        found: dict[str, Unit] = {}
        left = {work.key: work for work in works}
        for work in works:
            if (unit := done(work)) is not None:
                found[work.key] = unit
                left.pop(work.key, None)
                bar.advance(work.weight)
        if left:
            with open_pool(self.executor, self.workers, self.threads) as pool:
                self._drain(left, found, pool, bar)
        return [found[work.key] for work in works]

    def forget_use(self) -> None:
        """Begin to note anew which units are used."""
        shutil.rmtree(self.folder / "units" / USED, ignore_errors=True)

    def prune(self) -> list[str]:
        """Remove finished units that nothing has used since :meth:`forget_use`; name them."""
        units = self.folder / "units"
        found = [path.parent for path in sorted(units.glob("*/unit.json"))]
        unused = [path for path in found if not (units / USED / path.name).exists()]
        for path in unused:
            # without its unit.json a folder counts as none, should the rest be left behind
            (path / "unit.json").unlink()
            shutil.rmtree(path, ignore_errors=True)
        return [path.name for path in unused]

    def _drain(self, left: dict[str, Work], found: dict[str, Unit], pool: Pool, bar: Bar) -> None:
        running: dict[Any, Work] = {}
        rank = _urgency(left)
        while left or running:
            ready = [w for w in left.values() if not any(need in left for need in w.needs)]
            ready = [w for w in ready if not any(r.key in w.needs for r in running.values())]
            ready.sort(key=lambda work: -rank[work.key])
            for work in ready[: pool.workers - len(running)]:
                bar.describe(work.name)
                running[pool.submit(partial(make, work))] = left.pop(work.key)
            if not running:
                raise ValueError("units need one another in a circle")
            for future in pool.wait(list(running)):
                work = running.pop(future)
                found[work.key] = pool.result(future)
                bar.advance(work.weight)


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


@cache
def code_version(*modules: str) -> str:
    """Hash the source of modules (packages whole) and the versions of what computes."""
    digest = hashlib.sha256()
    for name in sorted(set(modules)):
        for source in _sources(name):
            digest.update(source.name.encode() + source.read_bytes())
    for name in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            digest.update(f"{name} {importlib.metadata.version(name)}".encode())
    return digest.hexdigest()


def peak_bytes() -> int:
    """Most memory that this process held since :func:`reset_peak` (or ever, where not Linux)."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def reset_peak() -> None:
    """Begin to count the peak anew, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _sources(name: str) -> list[Path]:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return []
    origin = Path(spec.origin)
    return sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]


def _module(build: Any) -> str:
    while isinstance(build, partial):
        build = build.func
    return str(getattr(build, "__module__", "") or "imprint.lab.ledger")


def _urgency(works: Mapping[str, Work]) -> dict[str, float]:
    """Rank by the work that waits behind each unit: the longest chain is begun first."""
    after: dict[str, list[str]] = {key: [] for key in works}
    for work in works.values():
        for need in set(work.needs) & set(works):
            after[need].append(work.key)

    @cache
    def chain(key: str) -> float:
        return works[key].weight + max((chain(k) for k in after[key]), default=0.0)

    return {key: chain(key) for key in works}


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
