"""Scores before and after post-training: the transfer analysis of the study's own items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

BEFORE = "pretrained"
REPLICATES = "replicates"


def relate(settings: Mapping[str, Any], items: Sequence[Path], out: Path) -> None:
    """Join the items of all evaluations and run ``transfer`` on them; a run folder in ``transfer``.

    Args:
        settings: ``stages`` (compared with the pretrained one), ``factors``, ``share``,
            ``categories``, ``resamples``, ``seed``.
        items: Parquet files of item tables.
        out: gets ``items.parquet`` and, where two stages have models, ``transfer/``.
    """
    from imprint.transfer import TransferConfig, transfer

    joined = out / "items.parquet"
    # never whole in memory: the analysis that follows needs the room
    pl.concat([pl.scan_parquet(path) for path in items], how="diagonal_relaxed").sink_parquet(
        joined
    )
    wanted = {"stage", "scale", *settings["factors"], settings["share"]}
    there = [name for name in pl.read_parquet_schema(joined) if name in wanted]
    design = design_of(settings, pl.scan_parquet(joined).select(there).unique().collect())
    if design is None:
        return
    draws = max(100, int(settings["resamples"]))
    config = TransferConfig(draws, draws, seed=int(settings["seed"]), quiet=True)
    transfer([joined], design=design, out=out / "transfer", config=config)


def design_of(settings: Mapping[str, Any], items: pl.DataFrame) -> Any:
    """Declare the design: comparisons, factors, the share that moves; ``None`` with one stage.

    Stages are compared where a scale has models of both.
    """
    from imprint.transfer.design import Compare, Design

    scales = {stage: _scales(items, stage) for stage in (BEFORE, *settings["stages"])}
    stages = [stage for stage in settings["stages"] if scales[stage] & scales[BEFORE]]
    if not stages:
        return None
    factors = tuple(name for name in settings["factors"] if _varies(items, name))
    share = settings["share"] if _varies(items, settings["share"]) else None
    return Design(
        compare=tuple(Compare(BEFORE, stage) for stage in stages),
        factors=factors,
        share=share,
        categories={k: tuple(v) for k, v in settings["categories"].items()},
    )


def _scales(items: pl.DataFrame, stage: str) -> set[str | None]:
    kept = items.filter(pl.col("stage") == stage)
    if "scale" not in items.columns:
        return {None} if len(kept) else set()
    return set(kept["scale"].unique())


def _varies(items: pl.DataFrame, column: str | None) -> bool:
    return column in items.columns and items[column].drop_nulls().n_unique() > 1
