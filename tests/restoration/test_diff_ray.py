"""A comparison by the workers of a Ray cluster gives the tables that threads give."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imprint.executors import Ray, Threads
from imprint.restoration import counting
from imprint.restoration.config import DiffConfig
from imprint.restoration.diff import analyse, open_inputs
from weights_support import GOLDEN, Make, llama

CONFIG = DiffConfig(quiet=True, spectrum=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Ray]:
    pytest.importorskip("ray")
    with Ray(2) as found:
        yield found


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "BATCH", 300)
    monkeypatch.setattr(counting, "SECTION", 2000)


def test_the_same_tables(make: Make, cluster: Ray) -> None:
    base = make("base", llama(layers=3), shards=2)
    tuned = [make(f"tuned-{n}", llama(layers=3, seed=n), shards=3) for n in (1, 2)]
    inputs = open_inputs(base, tuned, CONFIG)
    found, expected = (analyse(inputs, CONFIG, crew) for crew in (cluster, Threads(2)))
    assert found.data == expected.data
    for key, table in expected.tables.items():
        assert found.tables[key].equals(table)


def test_an_adapter(cluster: Ray) -> None:
    base = f"{GOLDEN}/hf_tiny_tie1"
    inputs = open_inputs(base, [f"{base}+{GOLDEN}/peft_lora/adapter"], CONFIG)
    assert analyse(inputs, CONFIG, cluster).data == analyse(inputs, CONFIG, Threads(1)).data


def test_a_batch_is_named_in_messages(make: Make) -> None:
    inputs = open_inputs(make("base", llama()), [make("tuned", llama(seed=1))], CONFIG)
    first, *_ = counting.batches(inputs.groups)
    assert str(first) == "model.layers.0.self_attn.q_proj.weight and 5 more tensors"
