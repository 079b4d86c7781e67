"""SFT sets of one level or of all, balanced over relations, and the test sets of each level.

Written as JSON lines with ``prompt`` and ``completion``, which TRL's ``SFTTrainer`` reads; the
trainer adds the end-of-text token. Columns beside them say which fact a row is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from imprint.findings import Finding
from imprint.mastery.config import MasteryConfig
from imprint.mastery.levels import LEVELS
from imprint.models.inverse_cdf import key
from imprint.runs import dump_json

MIXED = "mixed"
TRAIN = "train"
PLACE = "tables/splits"
SETS: dict[str, Any] = {
    "file": pl.String,
    "role": pl.String,
    "split": pl.String,
    "level": pl.String,
    "asked": pl.Int64,
    "facts": pl.Int64,
    "seed": pl.Int64,
    "relation": pl.String,
    "share": pl.Int64,
    "taken": pl.Int64,
}


@dataclass(frozen=True)
class Splits:
    """What is written.

    Attributes:
        files: path in the run folder → content.
        sets: a row per file and relation: what was its share, and how many were taken.
        findings: shortages.
    """

    files: dict[str, str]
    sets: pl.DataFrame
    findings: list[Finding]


def write_splits(mastery: pl.DataFrame, config: MasteryConfig) -> Splits:
    """Make all sets.

    SFT sets are drawn from the split ``train``, or from all facts where there is none; within a
    seed the smaller set of a level lies inside the larger. Where a relation has too few facts of a
    level, the others fill up evenly; arXiv 2509.16596 states no rule for that.

    Args:
        mastery: the table; facts without a question are left out, and where no fact has one there
            are no sets.
        config: sizes, seeds and prompt.
    """
    usable = mastery.filter(pl.col("question").is_not_null())
    findings = _without_question(len(mastery) - len(usable))
    if usable.is_empty():
        return Splits({}, pl.DataFrame(schema=SETS), findings)
    trained = (usable["split"] == TRAIN).any()
    pool = usable.filter(pl.col("split") == TRAIN) if trained else usable
    files: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for level, size, seed in _asked(config):
        kept = pool if level == MIXED else pool.filter(pl.col("level") == int(level))
        chosen, shares = _balanced(kept, size or len(kept), pool["relation"], seed, config)
        name = f"{PLACE}/sft-{_named(level)}-{size or 'all'}-seed{seed}.jsonl"
        files[name] = _lines(chosen, config)
        rows += _set_rows(name, TRAIN if trained else None, level, size, seed, chosen, shares)
    for split, level, kept in _tests(usable, trained=bool(trained)):
        name = f"{PLACE}/{_safe(split)}-{_named(level)}.jsonl"
        files[name] = _lines(kept, config)
        rows += _set_rows(name, split, level, len(kept), None, kept, {})
    return Splits(files, pl.DataFrame(rows, schema=SETS), [*findings, *_moved(rows)])


def _asked(config: MasteryConfig) -> Iterator[tuple[str, int, int]]:
    for level in (*map(str, range(LEVELS)), MIXED):
        for size in config.sizes:
            # a set of all facts is the same for every seed
            yield from ((level, size, seed) for seed in range(config.set_seeds if size else 1))


def _safe(split: str) -> str:
    """Make a file name of a split's name, which comes from the user's file."""
    kept = re.sub(r"[^A-Za-z0-9_-]+", "_", split)[:40]
    return kept if kept == split else f"{kept}-{key(split):016x}"


def _named(level: str) -> str:
    return level if level == MIXED else f"level{level}"


def _balanced(
    facts: pl.DataFrame, size: int, relations: pl.Series, seed: int, config: MasteryConfig
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Take equally many facts of each relation, as far as they go; give facts and equal shares."""
    names = relations.unique(maintain_order=True).to_list()
    by = {n: facts.filter(pl.col("relation") == n) for n in names}
    taken = fill({name: len(frame) for name, frame in by.items()}, size)
    parts = []
    for name, count in taken.items():
        # the order depends on relation and seed alone, so that sizes nest
        random = np.random.default_rng(key(config.seed, seed, name, "set"))
        parts.append(by[name][random.permutation(len(by[name]))[:count].tolist()])
    shares = fill(dict.fromkeys(names, size), size)
    chosen = pl.concat(parts)
    random = np.random.default_rng(key(config.seed, seed, "order"))
    return chosen[random.permutation(len(chosen)).tolist()], shares


def fill(available: dict[str, int], size: int) -> dict[str, int]:
    """Divide a size evenly among names that have only so many; the first get what is left over.

    >>> fill({"a": 5, "b": 1, "c": 9}, 9)
    {'a': 4, 'b': 1, 'c': 4}
    >>> fill({"a": 2, "b": 2}, 9)
    {'a': 2, 'b': 2}
    """
    taken = dict.fromkeys(available, 0)
    left = min(size, sum(available.values()))
    while left:
        open_ = [name for name in available if taken[name] < available[name]]
        for name in open_[:left]:
            more = min(max(1, left // len(open_)), available[name] - taken[name])
            taken[name] += more
        left = min(size, sum(available.values())) - sum(taken.values())
    return taken


def _lines(facts: pl.DataFrame, config: MasteryConfig) -> str:
    return "".join(
        dump_json(
            {
                "prompt": config.sft_prompt.replace("{question}", row["question"]),
                "completion": f" {row['answers'][0]} ",
                **{name: row[name] for name in ("fact", "relation", "level", "answers")},
            },
            indent=None,
        )
        + "\n"
        for row in facts.rows(named=True)
    )


def _set_rows(
    name: str,
    split: str | None,
    level: str,
    size: int,
    seed: int | None,
    chosen: pl.DataFrame,
    shares: dict[str, int],
) -> list[dict[str, Any]]:
    counts: dict[str, int] = dict(chosen["relation"].value_counts().iter_rows())
    return [
        {
            "file": name.removeprefix("tables/"),
            "role": "test" if seed is None else "sft",
            "split": split,
            "level": level,
            "asked": size,
            "facts": len(chosen),
            "seed": seed,
            "relation": relation,
            "share": shares.get(relation),
            "taken": counts.get(relation, 0),
        }
        for relation in (shares or counts)
    ]


def _tests(facts: pl.DataFrame, *, trained: bool) -> Iterator[tuple[str, str, pl.DataFrame]]:
    splits = facts["split"].unique(maintain_order=True).drop_nulls().to_list()
    for split in [s for s in splits if s != TRAIN] if trained else []:
        for level in range(LEVELS):
            kept = facts.filter(pl.col("split") == split, pl.col("level") == level)
            if len(kept):
                yield split, str(level), kept


def _without_question(count: int) -> list[Finding]:
    detail = f"{count:,} facts have no question and are in no set"
    return [Finding("no_question", detail, count=count)] if count else []


def _moved(rows: list[dict[str, Any]]) -> list[Finding]:
    """Say where facts ran short; the table ``splits`` has every number."""
    sets = {row["file"]: row for row in rows if row["role"] == "sft"}
    small = [row for row in sets.values() if row["facts"] < row["asked"]]
    short = [row for row in rows if row["share"] is not None and row["taken"] < row["share"]]
    filled = {row["file"] for row in short} - {row["file"] for row in small}
    found = []
    if small:
        levels = ", ".join(sorted({_named(row["level"]) for row in small}))
        detail = f"{len(small)} SFT sets are smaller than asked for: too few facts of {levels}"
        found.append(Finding("shortage", detail, count=len(small)))
    if filled:
        named = ", ".join(sorted({r["relation"] for r in short if r["file"] in filled})[:10])
        detail = f"in {len(filled)} SFT sets {named} had too few facts; other relations fill up"
        found.append(Finding("filled_up", detail, count=len(filled)))
    return found
