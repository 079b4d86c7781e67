"""A world on disk: plain JSON lines that every other command reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from imprint.lab.world.tasks import benchmarks_table, task_files
from imprint.lab.world.world import Quality, Register, World, WorldConfig, make_world
from imprint.progress import Bar, Silent

VERSION = 1  # of what a seed stands for: another number, another world
CORPORA: dict[str, tuple[Register, Quality | None]] = {
    "web_raw": ("web", "raw"),
    "web_filtered": ("web", "filtered"),
    "web_scored": ("web", "scored"),
    "code": ("code", None),
    "curated": ("curated", None),
}
Writer = Callable[[Path], None]
Row = Mapping[str, Any]


def write_world(config: WorldConfig, out: Path, bar: Bar | None = None) -> World:
    """Make a world and write all of its files into a folder.

    Args:
        config: seed, size and documents.
        out: the folder; made if absent. Written in place: give a folder of your own and rename it.
        bar: counts documents.

    Returns:
        The world.
    """
    world = make_world(config)
    for name, write in contents(world, bar).items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    return world


def contents(world: World, bar: Bar | None = None) -> dict[str, Writer]:
    """Give the files of a world: name → what writes it, the same bytes on every machine.

    Args:
        world: the world.
        bar: counts documents.
    """
    files: dict[str, Writer] = {
        f"corpora/{name}.jsonl": partial(_write_corpus, world, name, bar or Silent())
        for name in CORPORA
    }
    files["facts.jsonl"] = _rows(fact_rows, world)
    files["templates.json"] = _text(lambda: _json(templates(world)))
    files["held_out.jsonl"] = _rows(held_out_rows, world)
    files["benchmarks.json"] = _text(lambda: _json(benchmarks_table()))
    for name, rows in task_files(world):
        files[name] = _text(partial(_lines, rows))
    files["world.json"] = _text(lambda: _json(about(world)))
    files["README.md"] = _text(lambda: README)
    return files


def fact_rows(world: World) -> list[Row]:
    """Give the facts as ``imprint mastery --facts`` reads them, with their frequency.

    ``frequency`` is the number of mentions to expect among 10,000 statements of facts in web_raw
    or curated.
    """
    relations = {relation.id: relation for relation in world.relations}
    total = sum(fact.frequency for fact in world.facts)
    return [
        {
            "fact": fact.id,
            "relation": fact.relation,
            "subject": fact.subject,
            "answers": [fact.answer],
            "question": relations[fact.relation].question.replace("{subject}", fact.subject),
            "split": fact.split,
            "frequency": round(fact.frequency * 10_000 / total, 2),
        }
        for fact in world.facts
    ]


def templates(world: World) -> dict[str, Any]:
    """Give question and statements of every relation, for ``imprint mastery --templates``."""
    return {
        "relations": {
            one.id: {"question": one.question, "statements": list(one.statements)}
            for one in world.relations
        }
    }


def about(world: World) -> dict[str, Any]:
    """Describe a world in numbers."""
    held = world.held_out
    return {
        "version": VERSION,
        "seed": world.config.seed,
        "size": world.config.size,
        "words": len(world.lexicon),
        "facts": len(world.facts),
        "entities": {kind: len(names) for kind, names in world.entities.items()},
        "relations": {
            one.id: {"counterpart": one.counterpart, "group": one.group, "domain": one.topic}
            for one in world.relations
        },
        "documents": world.config.counts,
        "held_out": {name: len(getattr(held, name)) for name in held.__slots__},
    }


def held_out_rows(world: World) -> list[Row]:
    """Give what no corpus says: ``kind`` of pair, ``first`` and ``second``."""
    held = world.held_out
    return [
        {"kind": kind, "first": first, "second": second}
        for kind in held.__slots__
        for first, second in sorted(getattr(held, kind))
    ]


def _write_corpus(world: World, name: str, bar: Bar, path: Path) -> None:
    register, quality = CORPORA[name]
    count = world.config.counts[name]
    bar.describe(name)
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for text, domain in world.documents(register, quality, count):
            row = {"text": text, "register": register, "domain": domain}
            out.write(json.dumps(row) + "\n")
            bar.advance()


def _rows(make: Callable[[World], Iterable[Row]], world: World) -> Writer:
    return _text(lambda: _lines(make(world)))


def _lines(rows: Iterable[Row]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _text(make: Callable[[], str]) -> Writer:
    def write(path: Path) -> None:
        path.write_bytes(make().encode())

    return write


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"


README = """# A generated world

Written by `imprint world`; the same seed and size give the same bytes on every machine.

- `corpora/*.jsonl`: `text`, `register`, `domain`; five corpora that tell one truth.
- `facts.jsonl`, `templates.json`: what is true, and how it is asked (`imprint mastery`).
- `held_out.jsonl`: pairs that no text puts together, though what texts say tells how they would go.
- `benchmarks/*.jsonl`: twenty benchmarks; `benchmarks.json`: their category, options, chance and
  what they need (`imprint evaluate`).
- `sft.jsonl`, `sft_sets/*.jsonl`: dialogues of all domains, and of some each.
- `domains.jsonl`: `domain`, `prompt`, `answer`, none of them in a dialogue (`imprint forecast`).
- `rl.jsonl`: prompts with one right answer, by `skill` and `level`
  (`imprint evaluate --prompts rl.jsonl --verify exact`).
- `world.json`: seed, size and counts.
"""
