"""A comparison that was cut short goes on where it stopped, to the very same numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imprint.checkpoints.dtypes import from_float32, to_float32
from imprint.executors import Threads
from imprint.restoration import counting, spectrum
from imprint.restoration.concentration import Counter
from imprint.restoration.config import DiffConfig
from imprint.restoration.counting import Counting
from imprint.restoration.diff import diff, open_inputs
from imprint.restoration.kept_counts import filled, tables
from imprint.restoration.sections import Ahead, sections
from weights_support import Make, Tensors, llama

CONFIG = DiffConfig(workers=1, quiet=True, spectrum=True)


def moved(tensors: Tensors, seed: int) -> Tensors:
    draw = np.random.default_rng(seed)
    found = {}
    for name, (dtype, raw) in tensors.items():
        step = draw.normal(size=raw.shape) * 0.01 * (draw.random(raw.shape) > 0.3)
        values = to_float32(raw, dtype) + step.astype(np.float32)
        found[name] = dtype, from_float32(values, dtype)
    return found


@pytest.fixture
def pair(make: Make) -> tuple[Path, list[Path]]:
    base = llama("BF16", layers=2)
    return make("base", base), [make(f"tuned-{n}", moved(base, n)) for n in (1, 2)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "BATCH", 100)
    monkeypatch.setattr(counting, "SECTION", 400)
    monkeypatch.setattr(spectrum, "SECTION", 300)
    # every threshold is missed at first, so that there are further passes
    monkeypatch.setattr(counting, "likely_windows", lambda *_: {})


def stop_after(monkeypatch: pytest.MonkeyPatch, where: object, name: str, calls: int) -> list[int]:
    """Interrupt a function after a number of calls; gives a list that grows with each."""
    made: list[int] = []
    real = getattr(where, name)

    def stopping(*args: object) -> object:
        made.append(1)
        if len(made) > calls:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(where, name, stopping)
    return made


@pytest.mark.parametrize(
    ("where", "name", "calls"),
    [(Counter, "count", 3), (Counter, "count", 9), (spectrum, "_row", 9)],
    ids=["first pass", "second pass", "spectrum"],
)
def test_stopped_and_asked_for_the_same(
    pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: object, name: str, calls: int
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        every = stop_after(patched, where, name, 10**9)
        expected = diff(*pair, CONFIG, out=tmp_path / "undisturbed")
        assert len(every) > calls
    with monkeypatch.context() as patched:
        stop_after(patched, where, name, calls)
        with pytest.raises(KeyboardInterrupt):
            diff(*pair, CONFIG, out=out)
    assert not (out / "result.json").exists()
    with monkeypatch.context() as patched:
        again = stop_after(patched, where, name, 10**9)
        found = diff(*pair, CONFIG, out=out)
    # what had been done in a section that was not whole is done again, and no more
    assert len(again) <= len(every) - calls + 6
    assert len(again) < len(every)
    assert found.data == expected.data
    for key, table in expected.tables.items():
        assert found.tables[key].equals(table)
    resumed = json.loads((out / "manifest.json").read_text())["resumed"]
    assert resumed
    assert all(name.startswith(("counts", "spectrum")) for name in resumed)
    assert not (out / ".work").exists()


def test_numbers_are_the_same_without_a_run_folder(pair, tmp_path: Path) -> None:
    kept = diff(*pair, CONFIG, out=tmp_path / "out").data
    kept.pop("fingerprint")
    assert diff(*pair, CONFIG).data == kept
    assert diff(*pair, replace(CONFIG, workers=3)).data == kept


def test_counts_survive_their_tables(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    inputs = open_inputs(pair[0], pair[1], CONFIG)
    counter = Counter(inputs.base, inputs.tuned, CONFIG)
    asked = Counting(counter, inputs.groups, Threads(1), None, None)  # type: ignore[arg-type]
    wanted = [asked._likely(0), asked._likely(1)]
    found = counter.count(inputs.groups, wanted, 2)
    read = filled(counter.empty(wanted, 2), tables(found))
    assert (read.products == found.products).all()
    assert found.products[0, 1] != 0
    for one, other in zip(found.tallies, read.tallies, strict=True):
        assert one.tensors == other.tensors
        for mine, theirs in (
            (one.relative, other.relative),
            (one.absolute, other.absolute),
            *zip(one.permuted, other.permuted, strict=True),
        ):
            assert mine.elements == theirs.elements > 0
            for name in ("count", "low", "weight"):
                assert (getattr(mine, name) == getattr(theirs, name)).all()
            for array, twin in zip(mine.fine.arrays, theirs.fine.arrays, strict=True):
                assert (array == twin).all()
        for part, twin in zip(one.parts, other.parts, strict=True):
            assert part.parameters == twin.parameters
            assert list(part.profiles) == list(twin.profiles)
            for coarse, profile in part.profiles.items():
                assert profile.above == twin.profiles[coarse].above
                assert (profile.keys == twin.profiles[coarse].keys).all()
                assert (profile.counts == twin.profiles[coarse].counts).all()


def test_sections_cover_everything_once() -> None:
    assert list(sections([], 3)) == []
    assert list(sections([1, 1, 1, 9, 1], 3)) == [range(3), range(3, 4), range(4, 5)]


def test_work_ahead_starts_with_the_first_that_is_asked_for() -> None:
    done: list[int] = []
    ahead = Ahead(Threads(1), lambda item: done.append(item) or item * item, [*range(6)])
    assert list(ahead.take(range(2, 4))) == [4, 9]
    assert list(ahead.take(range(4, 6))) == [16, 25]
    assert done == [2, 3, 4, 5]
