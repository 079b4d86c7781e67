"""The world's questions as files: benchmarks, domains, SFT dialogues, RL prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imprint.lab.world.benchmarks import BENCHMARKS
from imprint.lab.world.dialogues import GROUPS, sft_rows
from imprint.lab.world.domains import deal, domain_rows
from imprint.lab.world.rewards import rl_rows
from imprint.lab.world.world import World

Rows = Sequence[Mapping[str, Any]]


def task_files(world: World) -> Iterator[tuple[str, Rows]]:
    """Give every file of questions as path within the world's folder, and rows for JSON lines.

    ``benchmarks/NAME.jsonl`` for all twenty, ``domains.jsonl``, ``sft.jsonl``,
    ``sft_sets/GROUP.jsonl``, ``rl.jsonl``.
    """
    for benchmark in BENCHMARKS:
        yield f"benchmarks/{benchmark.name}.jsonl", benchmark.rows(world)
    dealt = deal(world)
    yield "domains.jsonl", list(domain_rows(dealt))
    yield "sft.jsonl", sft_rows(world, dealt)
    for group in GROUPS:
        yield f"sft_sets/{group}.jsonl", sft_rows(world, dealt, group)
    yield "rl.jsonl", rl_rows(world, dealt)


def benchmarks_table() -> dict[str, dict[str, Any]]:
    """Give ``benchmarks.json``: name → category, options, chance, about."""
    return {
        one.name: {
            "category": one.category,
            "options": one.options,
            "chance": one.chance,
            "about": one.about,
        }
        for one in BENCHMARKS
    }
