"""What base models know of facts: levels of mastery by scale, and mastery against frequency."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from imprint.lab.chapters.chapter import Material
from imprint.lab.checkpoint import plain
from imprint.lab.identity import identity
from imprint.lab.unit import Unit

PROMPT = "{question}"  # the world's questions end by themselves
TOKENS = 6  # names are two tokens
BINS = 5
CODE = ("imprint.mastery", "imprint.models", "imprint.formats.facts")
COLUMNS = ("fact", "relation", "split", "hits", "total", "score", "level")


def scale_name(row: dict[str, Any]) -> str:
    """Give the scale of a checkpoint, or its name where it has none."""
    return str(row.get("scale") or row["unit"])


def master(material: Material, row: dict[str, Any]) -> Unit:
    """Sample a base model's mastery of every fact, in a unit."""
    budget = material.budget
    settings = {
        "limit": budget.facts,
        "samples": budget.samples,
        "max_new_tokens": TOKENS,
        "sizes": [0, *budget.sizes],
        "set_seeds": budget.seeds,
        "sft_prompt": PROMPT,
        "seed": material.seed,
        "device": material.device,
        "templates": str(material.templates) if material.templates else None,
    }
    material.report(f"knowledge: mastery of {scale_name(row)}")
    read = {"model": row["model"], "facts": material.facts, "templates": material.templates}
    keyed = settings | {name: identity(path) for name, path in read.items()}
    build = partial(_build_mastery, settings, str(row["model"]), str(material.facts))
    return material.ledger.unit(
        f"knowledge-mastery-{plain(scale_name(row))}", keyed, [], build, code=CODE
    )


def _build_mastery(settings: dict[str, Any], model: str, facts: str, out: Path) -> None:
    from imprint.configuration import build
    from imprint.mastery import MasteryConfig, mastery

    mastery(model, facts, build(MasteryConfig, settings), out=out / "run")


def known(runs: dict[str, Unit], facts: Path | None) -> dict[str, pl.DataFrame]:
    """Put the tables of levels together: by fact, by level, by frequency where it is told.

    Args:
        runs: scale → the unit of its mastery.
        facts: the file that was asked about.
    """
    frames = []
    for name, unit in runs.items():
        frame = pl.read_parquet(unit.path / "run" / "tables" / "mastery.parquet")
        frames.append(frame.select(pl.lit(name).alias("scale"), *COLUMNS))
    mastery = pl.concat(frames)
    tables = {"knowledge_mastery": mastery, "knowledge_levels": level_shares(mastery)}
    frequencies = _frequencies(facts)
    if frequencies is not None:
        tables["knowledge_frequency"] = by_frequency(mastery.join(frequencies, on="fact"))
    return tables


def level_shares(mastery: pl.DataFrame) -> pl.DataFrame:
    """Give the share of facts at each level, by scale, with Wilson intervals."""
    from imprint.mastery.levels import LEVELS, rate_interval

    rows = []
    for (scale,), group in mastery.group_by("scale", maintain_order=True):
        for level in range(LEVELS):
            rows.append((scale, level, int((group["level"] == level).sum()), len(group)))
    found = pl.DataFrame(rows, schema=["scale", "level", "facts", "of"], orient="row")
    low, high = rate_interval(found["facts"].to_numpy(), found["of"].to_numpy())
    return found.with_columns(
        share=pl.col("facts") / pl.col("of"), low=pl.Series(low), high=pl.Series(high)
    )


def _frequencies(facts: Path | None) -> pl.DataFrame | None:
    from imprint.tables import load_frame

    if facts is None or not facts.is_file() or facts.suffix == ".json":  # LRE tells none
        return None
    frame = load_frame(facts)
    if not {"fact", "frequency"} <= set(frame.columns):
        return None
    return frame.select("fact", pl.col("frequency").cast(pl.Float64))


def by_frequency(mastery: pl.DataFrame) -> pl.DataFrame:
    """Give the mean score by scale and fifth of the facts by frequency, with normal intervals."""
    rank = (pl.col("frequency").rank("ordinal").over("scale") - 1) * BINS // pl.len().over("scale")
    found = (
        mastery.with_columns(fifth=rank.cast(pl.Int64) + 1)
        .group_by("scale", "fifth", maintain_order=True)
        .agg(
            pl.len().alias("facts"),
            pl.col("frequency").mean(),
            pl.col("score").mean(),
            (pl.col("score").std() / pl.len().sqrt()).alias("se"),
        )
        .sort("scale", "fifth", maintain_order=True)
    )
    return found.with_columns(
        low=pl.col("score") - 1.96 * pl.col("se"), high=pl.col("score") + 1.96 * pl.col("se")
    )
