"""Whoever writes the tensors, the files are the same; a worker that fails leaves nothing behind."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imprint.checkpoints import Checkpoint, open_checkpoint, weights_hash, write_checkpoint
from imprint.errors import CheckpointError, DataError, ImprintError
from imprint.executors import Executor, Ray, Threads
from imprint.restoration.restore import RestoreConfig, plan
from weights_support import GOLDEN, Make, llama

THIRD = "model-00003-of-00003.safetensors"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Ray]:
    pytest.importorskip("ray")
    with Ray(2) as found:
        yield found


@pytest.fixture(params=["threads", "ray"])
def some(request: pytest.FixtureRequest) -> Executor:
    return request.getfixturevalue("cluster") if request.param == "ray" else Threads(2)


@pytest.fixture
def like(make: Make) -> Checkpoint:
    return open_checkpoint(make("m", llama(layers=3), shards=3))


@dataclass
class Counted:
    """A bar that remembers."""

    done: float = 0
    files: list[str] = field(default_factory=list)

    def advance(self, steps: float = 1) -> None:
        self.done += steps

    def describe(self, text: str) -> None:
        if text not in self.files:
            self.files.append(text)


def write(out: Path, like: Checkpoint, tensor: Any = None, **options: Any) -> Path:
    tensor = tensor or (lambda _: None)  # not of this module, which workers cannot import
    return write_checkpoint(out, like, tensor, card="# a card\n", fingerprint="f", **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize(
    "settings",
    [
        {"by": "relative"},
        {"by": "random", "seed": 3},
        {"by": "fapm"},
        {"by": "interpolate"},
        {"by": "dare", "region": "all"},
        {"by": "absolute", "order": "bottom", "scope": "layer"},
        {"by": "relative", "compat": "paramrestore"},
        {"by": "random", "compat": "paramrestore", "seed": 32},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_a_restoration_written_by_a_cluster(
    make: Make, tmp_path: Path, cluster: Ray, settings: dict[str, Any]
) -> None:
    base = open_checkpoint(make("base", llama(head=True, layers=3), shards=2))
    tuned = open_checkpoint(make("tuned", llama(head=True, layers=3, seed=1), shards=4))
    found = plan(base, tuned, RestoreConfig(top=(0.3,), **settings))
    tensor = partial(found.tensor, 0)
    serial, bar = write(tmp_path / "serial", tuned, tensor), Counted()
    assert contents(write(tmp_path / "out", tuned, tensor, executor=cluster, bar=bar)) == contents(
        serial
    )
    assert weights_hash(open_checkpoint(serial)) != weights_hash(tuned)
    assert bar.done == sum(info.bytes for info in tuned.stored.values())
    assert bar.files == list(tuned.layout)


def test_an_adapter_written_by_a_cluster(tmp_path: Path, cluster: Ray) -> None:
    merged = open_checkpoint(f"{GOLDEN}/hf_tiny_tie1+{GOLDEN}/peft_lora/adapter")
    serial = write(tmp_path / "serial", merged)
    assert contents(write(tmp_path / "out", merged, executor=cluster)) == contents(serial)
    assert weights_hash(open_checkpoint(serial)) == weights_hash(merged)
    assert weights_hash(merged, cluster) == weights_hash(merged, Threads(1))


def test_paths_may_be_relative(
    make: Make, tmp_path: Path, some: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("m", llama(), shards=2)
    monkeypatch.chdir(tmp_path)
    like = open_checkpoint("m")
    out = write(Path("out"), like, executor=some)
    assert weights_hash(open_checkpoint(out)) == weights_hash(like)


def test_a_disk_that_fails_where_the_work_is(
    like: Checkpoint, tmp_path: Path, some: Executor
) -> None:
    third = set(like.layout[THIRD])

    def full(name: str) -> None:
        if name in third:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match="No space left on device") as caught:
        write(tmp_path / "out", like, full, executor=some)
    assert THIRD in str(caught.value)
    assert (socket.gethostname() in str(caught.value)) == some.remote
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("*.part"))
    finished(like, tmp_path, some)


def finished(like: Checkpoint, tmp_path: Path, some: Executor) -> None:
    """Finish the work with a cluster or threads, asking only for the third file's tensors."""
    log = tmp_path / "asked"
    log.mkdir()

    def ask(name: str) -> None:
        (log / name).touch()

    out = write(tmp_path / "out", like, ask, executor=some)
    assert {p.name for p in log.iterdir()} == set(like.layout[THIRD])
    assert contents(out) == contents(write(tmp_path / "undisturbed", like))
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_worker_that_dies(like: Checkpoint, tmp_path: Path, cluster: Ray) -> None:
    third = like.layout[THIRD]

    def die(name: str) -> None:
        if name == third[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ImprintError, match="a Ray worker failed") as caught:
        write(tmp_path / "out", like, die, executor=cluster)
    assert caught.value.where == f"tensor {third[0]!r} of {THIRD}"
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("*.part"))
    finished(like, tmp_path, cluster)


def test_values_that_do_not_fit(like: Checkpoint, tmp_path: Path, some: Executor) -> None:
    values = np.zeros(8, np.float32)

    def wrong(name: str) -> Any:
        return values if name == "model.norm.weight" else None

    with pytest.raises(CheckpointError, match="came as float32") as caught:
        write(tmp_path / "out", like, wrong, executor=some)
    assert "model.norm.weight" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_input_that_became_shorter(like: Checkpoint, tmp_path: Path, some: Executor) -> None:
    source = like.path / THIRD
    os.truncate(source, source.stat().st_size - 1)
    with pytest.raises(CheckpointError, match="ends before its data") as caught:
        write(tmp_path / "out", like, executor=some)
    assert THIRD in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_merged_tensor_is_computed_once_for_many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    merged = open_checkpoint(f"{GOLDEN}/hf_tiny_tie1+{GOLDEN}/peft_lora/adapter")
    name = next(iter(merged.computed))
    size, whole = merged.info(name).elements, merged.raw(name).reshape(-1)
    calls = []
    compute = merged.computed[name]
    monkeypatch.setitem(merged.computed, name, lambda: calls.append(1) or compute())
    pieces = [merged.read(name, at, min(at + 7, size)) for at in range(0, size, 7)]
    assert np.array_equal(np.concatenate(pieces), whole)
    assert len(calls) == 1
    with pytest.raises(ValueError, match="read-only"):
        merged.read(name)[0] = 0
