"""Workers: each sees a GPU of its own, and none outlives its parent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from imprint.lab.pool import open_pool, own_gpu
from lab.builds import gpu_of_worker

PARENT = """
import os, sys, time
from pathlib import Path
from imprint.lab.pool import open_pool

def busy():
    Path(sys.argv[1], f"{os.getpid()}.pid").touch()
    time.sleep(60)

if __name__ == "__main__":
    with open_pool("processes", 2, 1) as pool:
        pool.wait([pool.submit(busy) for _ in range(2)])
"""


def test_workers_take_turns_on_several_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    found = [own_gpu(place)["CUDA_VISIBLE_DEVICES"] for place in range(5)]
    assert found == ["4", "6", "7", "4", "6"]


@pytest.mark.parametrize("given", ["", "3"])
def test_one_gpu_or_none_is_left_alone(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert own_gpu(0) == {}


@pytest.mark.parametrize(("apart", "shown"), [(True, ["0", "1"]), (False, ["0,1", "0,1"])])
def test_each_worker_sees_one_gpu_if_asked(
    apart: bool, shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with open_pool("processes", 2, 1, gpus_apart=apart) as pool:
        futures = [pool.submit(gpu_of_worker) for _ in range(6)]
        seen = dict(future.result() for future in futures)
    assert sorted(str(gpu) for gpu in seen.values()) == shown


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, str(script), str(tmp_path)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONWARNINGS": "ignore"}) as parent:
        _until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
        parent.kill()
    workers = [path.stem for path in tmp_path.glob("*.pid")]
    _until(lambda: not any(Path("/proc", pid).exists() for pid in workers))


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
