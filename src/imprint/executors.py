"""Ordered parallel maps: on threads of this process, or on the workers of a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeVar, get_args

from imprint.errors import ConfigError, ImprintError, nearest, require

Item = TypeVar("Item")
Found = TypeVar("Found")
Job = TypeVar("Job")
Name = Literal["threads", "ray"]


class Executor(Protocol):
    """Does work on several items at a time."""

    @property
    def workers(self) -> int:
        """Items worked on at the same time."""

    @property
    def remote(self) -> bool:
        """Whether items are worked on in other processes, perhaps on other machines."""

    def map_in_order(
        self, function: Callable[[Item], Found], items: Iterable[Item]
    ) -> Iterator[Found]:
        """Give the results in the order of the items, which are taken as they are needed.

        At most two results per worker wait to be taken. An exception of the function is raised
        where its result would come, when nothing is worked on any more; later items are given up.
        """


@dataclass(frozen=True, slots=True)
class Threads:
    """Threads of this process; one worker is the calling thread itself."""

    workers: int = 2

    @property
    def remote(self) -> bool:
        """Always false: memory is shared."""
        return False

    def map_in_order(
        self, function: Callable[[Item], Found], items: Iterable[Item]
    ) -> Iterator[Found]:
        """As `Executor.map_in_order`."""
        if self.workers < 2:
            yield from map(function, items)
            return
        pool = ThreadPoolExecutor(self.workers)
        try:
            yield from _in_order(
                lambda item: pool.submit(function, item),
                lambda future: future.result(),
                items,
                2 * self.workers,
            )
        finally:
            pool.shutdown(cancel_futures=True)


class Ray:
    """Workers of a Ray cluster; a context manager that stops what it started.

    Each item is a task on one processor. Functions and items are pickled; every machine must have
    imprint installed and see the files under the same paths.

    Args:
        workers: tasks that run at the same time; by default one per processor of the cluster.
        address: of the cluster, by default that in ``RAY_ADDRESS``; without either one is started
            on this machine. A script that has called ``ray.init`` keeps its own.

    Raises:
        DependencyError: Ray is not installed.
        ConfigError: no cluster answers at the address.
    """

    def __init__(self, workers: int | None = None, address: str | None = None):
        self._ray: Any = None
        self._wanted, self._started = workers, False
        self._address = address or os.environ.get("RAY_ADDRESS") or "local"

    @property
    def workers(self) -> int:
        """Tasks that run at the same time."""
        return self._wanted or max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    @property
    def remote(self) -> bool:
        """Always true."""
        return True

    def __enter__(self) -> Self:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of tasks that were given up
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        self._ray = require("ray", "ray")
        self._started = not self._ray.is_initialized()
        if self._started:
            self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            self._ray.shutdown()

    def map_in_order(
        self, function: Callable[[Item], Found], items: Iterable[Item]
    ) -> Iterator[Found]:
        """As `Executor.map_in_order`.

        Raises:
            ImprintError: a worker died and Ray's own attempts to repeat its task failed, or
                something is not installed there.
        """
        ray, workers = self._ray, self.workers
        shared, task, here = ray.put(function), ray.remote(num_cpus=1)(_apply), str(Path.cwd())
        running: list[Any] = []

        def submit(item: Item) -> tuple[Item, Any]:
            nonlocal running
            if len(running) >= workers:
                running = ray.wait(running)[1]
            running.append(task.remote(shared, item, here))
            return item, running[-1]

        # tasks are never cancelled: Ray (2.60) can abort when one ends at that moment, and only as
        # many were handed out as run
        try:
            yield from _in_order(submit, lambda job: _result(ray, *job), items, 2 * workers)
        except Exception:
            if running:
                ray.wait(running, num_returns=len(running))
            raise

    def _connect(self) -> None:
        local = {"num_cpus": self._wanted, "include_dashboard": False}
        try:
            _knock(self._address)
            self._ray.init(
                address=self._address,
                logging_level=logging.ERROR,
                log_to_driver=False,
                **(local if self._address == "local" else {}),
            )
        except (OSError, ValueError) as failed:
            raise ConfigError(
                f"no Ray cluster answers at {self._address!r}: {str(failed).splitlines()[0]}",
                remedy="start one with `ray start --head`, or unset RAY_ADDRESS.",
            ) from failed


@contextmanager
def executor(name: Name = "threads", workers: int | None = None) -> Iterator[Executor]:
    """Give an executor by its name, and stop what it started when the block ends.

    Args:
        name: ``threads``, or ``ray`` for the cluster in ``RAY_ADDRESS`` or one on this machine.
        workers: items worked on at a time; by default one per processor.

    Raises:
        ConfigError: another name, fewer than one worker, or no cluster at the address.
        DependencyError: Ray is not installed.
    """
    if name not in get_args(Name):
        raise ConfigError(f"no executor {name!r}: {nearest(name, get_args(Name))}")
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers {workers} is less than 1")
    if name == "ray":
        with Ray(workers) as cluster:
            yield cluster
    else:
        yield Threads(workers or os.cpu_count() or 1)


def _in_order(
    submit: Callable[[Item], Job], take: Callable[[Job], Found], items: Iterable[Item], most: int
) -> Iterator[Found]:
    waiting: deque[Job] = deque()
    for item in items:
        if len(waiting) >= most:
            yield take(waiting.popleft())
        waiting.append(submit(item))
    while waiting:
        yield take(waiting.popleft())


def _knock(address: str) -> None:
    """Meet a closed port at once; Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _apply(function: Callable[[Item], Found], item: Item, here: str) -> Found:
    with suppress(OSError):  # relative paths mean what they mean to the caller
        os.chdir(here)
    return function(item)


def _result(ray: Any, item: object, job: Any) -> Any:
    try:
        return ray.get(job)
    except ray.exceptions.RayError as failed:
        cause = getattr(failed, "cause", None)
        if isinstance(cause, Exception) and not isinstance(cause, ray.exceptions.RayError):
            raise cause from None
        raise ImprintError(
            f"a Ray worker failed: {str(cause or failed).strip().splitlines()[0]}",
            where=str(item),
            remedy="where memory ran out, take fewer --workers; every machine needs imprint and "
            "the packages used here. The same command goes on.",
        ) from failed
