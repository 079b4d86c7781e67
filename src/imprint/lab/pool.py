"""Workers that build units: this process, processes of this machine, or a Ray cluster."""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from imprint.errors import ImprintError
from imprint.executors import Ray

Found = TypeVar("Found")
Executor = Literal["processes", "ray"]


class Pool(Protocol):
    """Does work elsewhere, several pieces at a time."""

    @property
    def workers(self) -> int:
        """Pieces worked on at a time."""

    def submit(self, function: Callable[[], Any]) -> Any:
        """Hand out a piece of work."""

    def wait(self, futures: Sequence[Any]) -> Sequence[Any]:
        """Wait until at least one is finished, and give those that are."""

    def result(self, future: Any) -> Any:
        """Take the result of a finished one, or raise what it raised."""


class Here:
    """The calling process."""

    workers = 1

    def submit(self, function: Callable[[], Found]) -> Future[Found]:
        """Do it at once."""
        future: Future[Found] = Future()
        future.set_result(function())
        return future

    def wait(self, futures: Sequence[Future[Found]]) -> Sequence[Future[Found]]:
        """All are finished."""
        return futures

    def result(self, future: Future[Found]) -> Found:
        """Take it."""
        return future.result()


class Processes:
    """Processes of this machine, each started once; what they load they keep."""

    def __init__(self, workers: int, gpus_apart: bool):
        self.workers = workers
        context = multiprocessing.get_context("spawn")
        places = context.SimpleQueue() if gpus_apart and workers > 1 else None
        if places is not None:
            for place in range(workers):
                places.put(place)
        self._pool = ProcessPoolExecutor(
            workers,
            mp_context=context,
            initializer=_begin,
            initargs=(os.getpid(), places),
        )

    def submit(self, function: Callable[[], Found]) -> Future[Found]:
        """Hand it to a process."""
        return self._pool.submit(function)

    def wait(self, futures: Sequence[Future[Found]]) -> Sequence[Future[Found]]:
        """Wait for the first."""
        return list(wait(futures, return_when=FIRST_COMPLETED).done)

    def result(self, future: Future[Found]) -> Found:
        """Take it.

        Raises:
            ImprintError: a process was killed, mostly for memory.
        """
        try:
            return future.result()
        except BrokenProcessPool as broken:
            raise ImprintError(
                "a worker was killed, perhaps because memory ran out",
                remedy="take fewer --workers; the same command goes on from what is finished.",
            ) from broken

    def close(self, *, now: bool) -> None:
        """Stop the processes: at once, or when they are finished."""
        if now:
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
        self._pool.shutdown(cancel_futures=True)


class Cluster:
    """Workers of a Ray cluster; every machine sees the study's folder under the same path."""

    def __init__(self, cluster: Ray, ray: Any, threads: int, gpus_apart: bool):
        self.workers, self._ray = cluster.workers, ray
        options = {"num_cpus": 1, "runtime_env": {"env_vars": dict(environment(threads))}}
        if gpus_apart and self.workers > 1 and (gpus := ray.cluster_resources().get("GPU", 0)):
            options["num_gpus"] = 1 / math.ceil(self.workers / gpus)
        self._task = ray.remote(**options)(_call)

    def submit(self, function: Callable[[], Any]) -> Any:
        """Hand it to the cluster."""
        return self._task.remote(function, Path.cwd())

    def wait(self, futures: Sequence[Any]) -> Sequence[Any]:
        """Wait for the first."""
        ready: Sequence[Any] = self._ray.wait(list(futures))[0]
        return ready

    def result(self, future: Any) -> Any:
        """Take it.

        Raises:
            ImprintError: a worker died, or what the work raised.
        """
        try:
            return self._ray.get(future)
        except self._ray.exceptions.RayError as failed:
            cause = getattr(failed, "cause", None)
            if isinstance(cause, Exception):
                raise cause from None
            first = str(failed).strip().splitlines()[0]
            raise ImprintError(f"a Ray worker failed: {first}") from failed


@contextmanager
def open_pool(
    executor: Executor, workers: int, threads: int | None = None, *, gpus_apart: bool = False
) -> Iterator[Pool]:
    """Start workers and stop them when the block ends.

    Args:
        executor: ``processes`` or ``ray``.
        workers: at a time; one process is this one.
        threads: of each; by default the processors shared out. One worker without it is the
            calling process itself.
        gpus_apart: where there are several GPUs, each worker sees one.
    """
    each = threads or max(1, (os.cpu_count() or 1) // workers)
    if executor == "ray":
        with Ray(workers) as cluster:
            import ray

            yield Cluster(cluster, ray, each, gpus_apart)
    elif workers < 2 and threads is None:
        yield Here()
    else:
        yield from _processes(workers, each, gpus_apart)


def environment(threads: int) -> Mapping[str, str]:
    """Give the environment in which small models train fastest on a few processors.

    Threads that wait must not spin, and large temporaries must not be mapped anew each time.
    """
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "NUMBA_NUM_THREADS": str(threads),
        "POLARS_MAX_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
        "MALLOC_TOP_PAD_": str(1 << 26),
    }


def _processes(workers: int, threads: int, gpus_apart: bool) -> Iterator[Processes]:
    before = {name: os.environ.get(name) for name in environment(threads)}
    os.environ.update(environment(threads))
    pool, whole = Processes(workers, gpus_apart), False
    try:
        yield pool
        whole = True
    finally:
        pool.close(now=not whole)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def own_gpu(place: int) -> Mapping[str, str]:
    """Give the environment in which a worker sees one GPU of several: they take turns.

    A trainer that sees several would spread each small batch over all of them.
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = len(list(Path("/dev").glob("nvidia[0-9]*")))
    seen = [str(k) for k in range(there)] if given is None else list(filter(None, given.split(",")))
    return {"CUDA_VISIBLE_DEVICES": seen[place % len(seen)]} if len(seen) > 1 else {}


def end_with_parent(parent: int | None = None) -> None:
    """Let this process not live beyond the one that started it."""
    watched = parent or os.getppid()
    threading.Thread(target=_watch, args=(watched,), daemon=True).start()


def _begin(parent: int, places: Any) -> None:
    end_with_parent(parent)
    if places is not None:
        os.environ.update(own_gpu(places.get()))


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _call(function: Callable[[], Any], here: Path) -> Any:
    os.chdir(here)
    return function()
