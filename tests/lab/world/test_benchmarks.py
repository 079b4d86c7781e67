"""Benchmarks of the world: balanced, readable, and asking what no corpus says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from imprint.formats.questions import read_benchmark
from imprint.lab.world import World, WorldConfig, make_world
from imprint.lab.world.benchmarks import BENCHMARKS, Asked, Benchmark, items
from imprint.lab.world.dice import Dice

REGISTERS = (
    ("web", "raw"),
    ("web", "filtered"),
    ("web", "scored"),
    ("code", None),
    ("curated", None),
)
EACH = pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda one: one.name)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


@pytest.fixture(scope="module")
def corpora(world: World) -> str:
    texts = [
        text
        for register, quality in REGISTERS
        for text, _ in world.documents(register, quality, 1500)
    ]
    return "\n".join(texts)


def test_twenty_in_four_categories() -> None:
    assert Counter(one.category for one in BENCHMARKS) == {
        "commonsense": 7,
        "science": 4,
        "nli": 4,
        "semantic": 5,
    }
    assert len({one.name for one in BENCHMARKS}) == 20


@EACH
def test_items_are_many_distinct_and_balanced(benchmark: Benchmark, world: World) -> None:
    rows = benchmark.rows(world)
    assert len(rows) >= 300
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({(row["prompt"], *sorted(row["choices"])) for row in rows}) == len(rows)
    assert {len(set(row["choices"])) for row in rows} == {benchmark.options}
    positions = Counter(row["answer"] for row in rows)
    assert max(positions.values()) - min(positions.values()) <= 1
    assert benchmark.chance == 1 / benchmark.options


@EACH
def test_options_alone_tell_nothing(benchmark: Benchmark, world: World, corpora: str) -> None:
    counts = Counter(corpora.split())
    rows = benchmark.rows(world)
    for favourite in (
        lambda text: (sum(counts[word] for word in text.split()), text),  # commonest words
        lambda text: (len(text), text),
        lambda text: (-len(text), text),
    ):
        right = [
            row["choices"][row["answer"]] == max(row["choices"], key=favourite) for row in rows
        ]
        assert sum(right) / len(right) == pytest.approx(benchmark.chance, abs=1e-9)


@EACH
def test_no_corpus_says_it(benchmark: Benchmark, world: World, corpora: str) -> None:
    said = [
        row["id"]
        for row in benchmark.rows(world)
        if f"{row['prompt']} {row['choices'][row['answer']]} " in corpora
    ]
    assert said == []


@EACH
def test_words_are_known(benchmark: Benchmark, world: World) -> None:
    known = set(world.lexicon)
    for row in benchmark.rows(world):
        assert set(" ".join((row["prompt"], *row["choices"])).split()) <= known


def test_same_seed_same_items_another_seed_others(world: World) -> None:
    other = make_world(WorldConfig(seed=1))
    for benchmark in BENCHMARKS[:4]:
        assert benchmark.rows(world) == benchmark.rows(make_world())
        assert benchmark.rows(world) != benchmark.rows(other)


def test_evaluation_reads_them(world: World, tmp_path: Path) -> None:
    for benchmark in BENCHMARKS:
        path = tmp_path / f"{benchmark.name}.jsonl"
        rows = benchmark.rows(world)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        read = read_benchmark(path)
        assert (read.name, read.layout, len(read.questions)) == (benchmark.name, "cloze", len(rows))
        first = read.questions[0]
        assert first.context == rows[0]["prompt"]
        assert first.golds == (rows[0]["answer"],)


def test_every_answer_of_a_group_is_right_once() -> None:
    groups = [
        [Asked("a", "x", ""), Asked("b", "y", "")],
        [Asked("c", "x", ""), Asked("d", "y", "")],
    ]
    rows = list(items("t", groups, 4, Dice(0)))
    assert [row["answer"] for row in rows] == [0, 1, 0, 1]
    assert {row["prompt"]: row["choices"][row["answer"]] for row in rows} == {
        "a": "x",
        "b": "y",
        "c": "x",
        "d": "y",
    }


def test_a_group_comes_once() -> None:
    group = [Asked("a", "x", ""), Asked("b", "y", "")]
    assert len(list(items("t", [group, group], 10, Dice(0)))) == 2


def test_answers_of_a_group_differ() -> None:
    with pytest.raises(ValueError, match="answers repeat"):
        list(items("t", [[Asked("a", "x", ""), Asked("b", "x", "")]], 2, Dice(0)))
