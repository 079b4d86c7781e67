"""What a restoration did to each tensor, as tables."""

from __future__ import annotations

from typing import Any

import polars as pl

from imprint.checkpoints import place
from imprint.executors import Executor
from imprint.restoration.parts import Part
from imprint.restoration.restore import Plan
from imprint.restoration.spectral import Repair

ABOUT = {"tensor": pl.String, "layer": pl.Int64, "module": pl.String}


def tensors(plan: Plan, executor: Executor | None = None) -> pl.DataFrame:
    """Count the weights put back in every tensor of the region, for each share (or strength).

    Columns: ``top`` or ``strength``, ``tensor``, ``layer`` (null outside the blocks), ``module``,
    ``parameters``, ``restored``, ``share`` (restored over parameters). Weights that are only moved
    towards base do not count.
    """
    axis = plan.config.axis
    rows = []
    for at, level in enumerate(plan.config.levels):
        counted = plan.restored(at, executor)
        for part in plan.parts:
            size, restored = part.pair.elements, counted[part.number]
            share = restored / size if size else None
            rows.append((level, *_about(part), size, restored, share))
    counts = {"parameters": pl.Int64, "restored": pl.Int64, "share": pl.Float64}
    return pl.DataFrame(rows, {axis: pl.Float64, **ABOUT, **counts}, orient="row")


def spectra(plan: Plan) -> pl.DataFrame:
    """List the matrices whose change was decomposed, for each strength.

    Columns: ``strength``, ``tensor``, ``matrix`` (its number in a stack of experts), ``layer``,
    ``module``, ``rows``, ``columns``, ``rank`` (singular values kept), ``full_rank``,
    ``threshold``, ``noise`` (standard deviation per weight), ``change_norm`` and ``removed_norm``
    (Frobenius).
    """
    rows = [
        _spectrum(repair, at, level)
        for at, level in enumerate(plan.config.strength)
        for repair in plan.repairs
    ]
    return pl.DataFrame(rows, {"strength": pl.Float64, **ABOUT, **SPECTRUM})


SPECTRUM = {
    **dict.fromkeys(("matrix", "rows", "columns", "rank", "full_rank"), pl.Int64),
    **dict.fromkeys(("threshold", "noise", "change_norm", "removed_norm"), pl.Float64),
}


def by_place(frame: pl.DataFrame, key: str) -> pl.DataFrame:
    """Sum a table over layers or modules.

    Args:
        frame: from ``tensors``, or from ``spectra`` for the share of ‖Δ‖² that is removed.
        key: ``layer`` or ``module``.

    Returns:
        The level, ``key`` and ``share``, in the order of the model.
    """
    level = frame.columns[0]
    if "restored" in frame.columns:
        share = pl.col("restored").sum() / pl.col("parameters").sum()
    else:
        share = pl.col("removed_norm").pow(2).sum() / pl.col("change_norm").pow(2).sum()
    return frame.group_by(level, key, maintain_order=True).agg(share=share)


def _spectrum(repair: Repair, at: int, strength: float) -> dict[str, Any]:
    return {
        "strength": strength,
        **dict(zip(ABOUT, _about(repair.part), strict=True)),
        "matrix": repair.matrix,
        "rows": repair.shape[0],
        "columns": repair.shape[1],
        "rank": repair.ranks[at],
        "full_rank": min(repair.shape),
        "threshold": strength * repair.threshold,
        "noise": repair.noise,
        "change_norm": repair.norm,
        "removed_norm": repair.removed[at],
    }


def _about(part: Part) -> tuple[str, int | None, str]:
    where = place(part.pair.name)
    return part.pair.name, where.layer, where.module
