"""Units of work named by what they are made of, so that nothing is done twice.

A unit's key is the hash of its name, its settings, the keys of the units it needs and the code that
builds it. Its folder, ``units/NAME-KEY16``, is known before it is built: it appears whole or not at
all. A killed study finds what was finished; a changed setting rebuilds what depends on it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from imprint.lab.pool import Executor, Pool, open_pool
from imprint.lab.unit import USED, Build, Unit, Work, done, make
from imprint.progress import Bar, Silent
from imprint.runs import dump_json

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
LIBRARIES = ("numpy", "polars", "tokenizers", "torch", "transformers", "trl", "peft")


class Ledger:
    """The folder of units, and how many are built at a time.

    Args:
        folder: of the study; units lie in ``units`` below it.
        workers: units built at a time, each in a process of its own if more than one.
        executor: ``processes`` of this machine, or ``ray``.
        threads: of each worker; by default the processors shared out among the workers.
        gpus_apart: each worker sees one GPU of several.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 1,
        executor: Executor = "processes",
        threads: int | None = None,
        gpus_apart: bool = False,
    ):
        self.gpus_apart = gpus_apart
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
            with self.pool() as pool:
                self._drain(left, found, pool, bar)
        return [found[work.key] for work in works]

    def pool(self) -> AbstractContextManager[Pool]:
        """Start its workers, which stop when the block ends."""
        return open_pool(self.executor, self.workers, self.threads, gpus_apart=self.gpus_apart)

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


@cache
def code_version(*modules: str) -> str:
    """Hash the source of modules (packages whole) and the versions of what computes."""
    digest = hashlib.sha256()
    for name in sorted(set(modules)):
        for source in _sources(name):
            digest.update(source.name.encode() + source.read_bytes())
    for name, version in computed_by().items():
        digest.update(f"{name} {version}".encode())
    return digest.hexdigest()


@cache
def computed_by() -> dict[str, str]:
    """Give the versions of the libraries that compute, of those that are installed."""
    found = {}
    for name in LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


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
