"""The ledger: nothing is built twice, nothing half, and a change rebuilds what depends on it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from imprint.errors import DataError
from imprint.lab.ledger import Ledger
from imprint.lab.unit import Work, done
from lab.builds import full, write


def fail(folder: Path) -> None:
    (folder / "half.txt").write_text("half")
    raise RuntimeError("no")


def count_up(folder: Path) -> None:
    state = folder / "state"
    reached = int(state.read_text()) + 1 if state.exists() else 1
    state.write_text(str(reached))
    if reached < 3:
        raise RuntimeError("killed")


def chain(ledger: Ledger, log: Path, first: int = 0, last: int = 0) -> list[Work]:
    a = ledger.work("a", {"x": first}, [], partial(write, "a", log))
    b = ledger.work("b", {}, [a], partial(write, "b", log))
    c = ledger.work("c", {"x": last}, [a, b], partial(write, "c", log))
    return [c, b, a]


@pytest.mark.parametrize("workers", [1, 2])
def test_units_are_built_once_and_in_order(tmp_path: Path, workers: int) -> None:
    log = tmp_path / "log"
    ledger = Ledger(tmp_path, workers=workers, threads=1 if workers > 1 else None)
    found = ledger.run(chain(ledger, log))
    assert [unit.name for unit in found] == ["c", "b", "a"]
    assert log.read_text().split() == ["a", "b", "c"]
    assert [unit.path.joinpath("content.txt").read_text() for unit in found] == ["c", "b", "a"]
    assert ledger.run(chain(ledger, log)) == found
    assert log.read_text().split() == ["a", "b", "c"]


def test_a_change_rebuilds_only_what_depends_on_it(tmp_path: Path) -> None:
    ledger, log = Ledger(tmp_path), tmp_path / "log"
    ledger.run(chain(ledger, log))
    ledger.run(chain(ledger, log, last=1))
    assert log.read_text().split() == ["a", "b", "c", "c"]
    ledger.run(chain(ledger, log, first=1, last=1))
    assert log.read_text().split() == ["a", "b", "c", "c", "a", "b", "c"]


def test_a_failed_unit_leaves_no_unit(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    work = ledger.work("a", {}, [], fail)
    with pytest.raises(RuntimeError, match="no"):
        ledger.run([work])
    assert done(work) is None
    assert not work.path.exists()


def test_a_resumable_unit_goes_on(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    work = ledger.work("a", {}, [], count_up, resumable=True)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="killed"):
            ledger.run([work])
    assert (ledger.run([work])[0].path / "state").read_text() == "3"


def test_keys_do_not_depend_on_the_order_of_settings(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    one = ledger.work("a", {"x": 1, "y": (2, 3)}, [], fail)
    other = ledger.work("a", {"y": [2, 3], "x": 1}, [], fail)
    assert one.key == other.key
    assert one.key != ledger.work("a", {"x": 1, "y": [3, 2]}, [], fail).key


def test_a_ray_cluster_builds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    pytest.importorskip("ray")
    log = tmp_path / "log"
    ledger = Ledger(tmp_path, workers=2, executor="ray", threads=1)
    found = ledger.run(chain(ledger, log))
    assert [unit.name for unit in found] == ["c", "b", "a"]
    assert log.read_text().split() == ["a", "b", "c"]
    assert [unit.path.joinpath("content.txt").read_text() for unit in found] == ["c", "b", "a"]


def test_prune_removes_what_is_no_longer_used(tmp_path: Path) -> None:
    ledger, log = Ledger(tmp_path), tmp_path / "log"
    old = ledger.run(chain(ledger, log))
    ledger.forget_use()
    new = ledger.run(chain(ledger, log, last=1))
    assert ledger.prune() == [old[0].path.name]
    assert not old[0].path.exists()
    assert all(unit.path.is_dir() for unit in new)
    assert ledger.prune() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_named(tmp_path: Path, workers: int) -> None:
    ledger = Ledger(tmp_path, workers=workers)
    with pytest.raises(DataError, match="the disk is full"):
        ledger.run([ledger.work(name, {}, [], full) for name in ("a", "b")])
    assert not list(tmp_path.glob("units/*/unit.json"))
