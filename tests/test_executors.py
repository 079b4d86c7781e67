"""Ordered maps on threads and on a Ray cluster give the same, fail the same, and stop."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from imprint.errors import CheckpointError, ConfigError, DependencyError, ImprintError
from imprint.executors import Executor, Ray, Threads, executor


@pytest.fixture(scope="module")
def cluster() -> Iterator[Ray]:
    pytest.importorskip("ray")
    with Ray(2) as found:
        yield found


@pytest.fixture(params=["one thread", "three threads", "ray"])
def some(request: pytest.FixtureRequest) -> Executor:
    if request.param == "ray":
        return request.getfixturevalue("cluster")
    return Threads(1 if request.param == "one thread" else 3)


def test_results_come_in_order(some: Executor) -> None:
    factor = 3

    def slow_first(item: int) -> int:
        time.sleep(0.05 if item % 4 == 0 else 0)
        return factor * item

    assert list(some.map_in_order(slow_first, range(12))) == [3 * n for n in range(12)]
    assert list(some.map_in_order(slow_first, [])) == []


def test_items_are_taken_as_needed(some: Executor) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    results = some.map_in_order(abs, items())
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 3 + 2 * some.workers
    results.close()
    assert len(taken) < 20


def test_an_exception_comes_as_it_was_raised(some: Executor) -> None:
    def stop(item: int) -> int:
        if item == 2:
            raise CheckpointError("damaged", where="tensor 'w'", remedy="another one.")
        return item

    results = some.map_in_order(stop, range(50))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(CheckpointError) as caught:
        next(results)
    assert type(caught.value) is CheckpointError
    found = caught.value
    assert (found.problem, found.where, found.remedy) == ("damaged", "tensor 'w'", "another one.")
    assert str(found) == "tensor 'w': damaged\n  another one."


def test_a_system_error_keeps_its_number(some: Executor) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        list(some.map_in_order(full, range(3)))
    assert caught.value.errno == errno.ENOSPC


def test_an_exception_of_the_items_is_raised_too(some: Executor) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ConfigError("no more")

    with pytest.raises(ConfigError, match="no more"):
        list(some.map_in_order(abs, items()))


def test_one_worker_is_the_calling_thread() -> None:
    found = Threads(1).map_in_order(lambda _: threading.get_ident(), range(3))
    assert set(found) == {threading.get_ident()}
    many = set(Threads(2).map_in_order(lambda _: threading.get_ident(), range(3)))
    assert threading.get_ident() not in many


class TestRay:
    """What only other processes can get wrong."""

    def test_work_is_elsewhere_in_the_same_folder(
        self, cluster: Ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("file").write_text("here")
        found = list(cluster.map_in_order(lambda _: (os.getpid(), Path("file").read_text()), [0]))
        assert found[0][1] == "here"
        assert found[0][0] != os.getpid()
        assert cluster.remote

    def test_no_more_run_than_asked_for(self, cluster: Ray, tmp_path: Path) -> None:
        one = Ray(1)
        with one:

            def alone(item: int) -> int:
                (tmp_path / "busy").touch(exist_ok=False)
                time.sleep(0.02)
                (tmp_path / "busy").unlink()
                return item

            assert list(one.map_in_order(alone, range(6))) == list(range(6))

    def test_a_worker_that_dies_is_named_by_its_work(self, cluster: Ray) -> None:
        def die(_: str) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        with pytest.raises(ImprintError, match="a Ray worker failed") as caught:
            list(cluster.map_in_order(die, ["tensor 'w' of model.safetensors"]))
        assert caught.value.where == "tensor 'w' of model.safetensors"
        assert "fewer --workers" in str(caught.value)
        assert list(cluster.map_in_order(abs, [-1])) == [1]

    def test_a_package_that_workers_lack_is_named(
        self, cluster: Ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "only_here.py").write_text("def work(item): return item")
        monkeypatch.syspath_prepend(tmp_path)
        work = importlib.import_module("only_here").work
        with pytest.raises(ImprintError, match="No module named 'only_here'") as caught:
            list(cluster.map_in_order(work, [1]))
        assert "every machine needs imprint" in str(caught.value)

    def test_a_cluster_that_was_there_stays(self, cluster: Ray) -> None:
        with executor("ray", 2) as inner:
            assert list(inner.map_in_order(abs, [-1])) == [1]
        assert list(cluster.map_in_order(abs, [-2])) == [2]

    def test_workers_are_those_of_the_cluster(self, cluster: Ray) -> None:
        with executor("ray") as found:
            assert found.workers == 2

    def test_interrupted_it_leaves_nothing_running(self, tmp_path: Path) -> None:
        pytest.importorskip("ray")
        program = f"""
import time
from pathlib import Path
from imprint.executors import executor
def slow(item):
    Path({str(tmp_path)!r}, str(item)).touch()
    time.sleep(600)
with executor("ray", 2) as found:
    list(found.map_in_order(slow, range(9)))
"""
        # started in the background a shell would have it ignore the signal
        running = subprocess.Popen(
            [sys.executable, "-c", program],
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        for _ in range(600):
            if (tmp_path / "1").exists():
                break
            time.sleep(0.1)
        started = psutil.Process(running.pid).children(recursive=True)
        assert started
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
        assert b"KeyboardInterrupt" in said
        _, left = psutil.wait_procs(started, timeout=30)
        assert not left
        assert {p.name for p in tmp_path.iterdir()} == {"0", "1"}


def test_by_name() -> None:
    with executor() as found:
        assert isinstance(found, Threads)
        assert found.workers == os.cpu_count()
    with executor("threads", 3) as found:
        assert found.workers == 3
        assert not found.remote


@pytest.mark.parametrize(
    ("name", "workers", "said"),
    [("rya", None, "did you mean 'ray'"), ("threads", 0, "less than 1"), ("ray", -1, "than 1")],
)
def test_mistakes(name: str, workers: int | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said), executor(name, workers):  # type: ignore[arg-type]
        pass


def test_ray_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DependencyError, match=r'pip install "imprint\[ray\]"'), executor("ray"):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense"])
def test_nobody_at_the_address(address: str) -> None:
    ray = pytest.importorskip("ray")
    if ray.is_initialized():
        ray.shutdown()
    with pytest.raises(ConfigError, match="no Ray cluster answers") as caught, Ray(2, address):
        pass
    assert address in str(caught.value)
