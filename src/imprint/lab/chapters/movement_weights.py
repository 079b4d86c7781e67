"""Where the change sits in the weights, beside what chance gives."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from scipy.special import stdtrit

from imprint.lab.chapters.chapter import Agreement, Material
from imprint.lab.chapters.part import Part, interval, stance
from imprint.lab.chapters.units import Frames, tables
from imprint.report import Section
from imprint.report.figures import curve
from imprint.restoration.diff import diff

CODE = ("imprint.restoration",)
PAPER_TOP = {0.01: (0.7056, 0.7113), 0.2: (0.9176, 0.9231)}  # weights, table 3: min and max
DRAWS = 5  # of the permuted null


def changes(material: Material, base: str, tuned: Mapping[str, str]) -> Part:
    """Tell how concentrated the change of the weights is, beside what chance gives.

    Args:
        material: with the ledger.
        base: a checkpoint.
        tuned: name → checkpoint.
    """
    models = list(tuned.values())
    settings = {"names": list(tuned), "permutations": DRAWS, "seed": material.seed}
    frames, _ = tables(
        material,
        "movement-diff",
        settings,
        partial(_diff, base, dict(tuned), material.seed),
        models=(base, *models),
        code=CODE,
    )
    found = Part(tables={f"movement_{name}": frame for name, frame in frames.items()})
    curves = frames["concentration"].filter(by="relative")
    first = curves.filter(tuned=next(iter(tuned)))
    if first["share"].null_count() == len(first):
        found.said = "No weight of the blocks changed."
    else:
        found.agreement += [_concentrated(first, top) for top in (0.01, 0.2)]
        found.said = _concentration_words(first, frames["tuned"].row(0, named=True))
    found.sections.append(_diff_section(frames))
    return found


def _diff(base: str, tuned: Mapping[str, str], seed: int, _: Path) -> Frames:
    result = diff(base, list(tuned.values()), permutations=DRAWS, seed=seed, workers=1, quiet=True)
    called = result.tables["tuned"]["tuned"].to_list()
    rename = pl.col("tuned").replace_strict(dict(zip(called, tuned, strict=True)))
    names = ("tuned", "concentration", "modules", "layers")
    return {name: result.tables[name].with_columns(rename) for name in names}


def _concentrated(rows: pl.DataFrame, top: float) -> Agreement:
    row = rows.filter((pl.col("top") - top).abs() < 1e-9).row(0, named=True)
    low, high = PAPER_TOP[top]
    # how far a further draw may lie from the mean of so few
    reach = stdtrit(DRAWS - 1, 0.975) * (row["null_permuted_sd"] or 0.0) * (1 + 1 / DRAWS) ** 0.5
    gap = row["share"] - row["null_permuted"]
    told = interval(gap, gap - reach, gap + reach, "+.3f")
    return Agreement(
        f"The {top:.0%} of weights that change most relative to themselves hold most of the "
        "change, beyond what chance gives.",
        f"{low:.1%} to {high:.1%} of Σ|Δ|/|p| (arXiv 2509.16596, table 3; no null there: "
        "independent noise gives as much).",
        f"{row['share']:.1%}; the same changes dealt out anew within each tensor "
        f"{row['null_permuted']:.1%}, difference {told} ({DRAWS} draws).",
        stance(gap - reach, gap + reach),
    )


def _concentration_words(rows: pl.DataFrame, about: Mapping[str, Any]) -> str:
    row = rows.filter((pl.col("top") - 0.01).abs() < 1e-9).row(0, named=True)
    return (
        f"Weights: the 1% with the largest change relative to themselves hold {row['share']:.1%} "
        f"of all relative change; the same changes dealt out by chance give "
        f"{row['null_permuted']:.1%}. {1 - about['unchanged_fraction']:.1%} of the weights changed."
    )


def _diff_section(frames: Frames) -> Section:
    section = Section(
        "Where the change sits",
        "How much of all relative change the weights with the largest hold, beside nulls: the same "
        "changes dealt out anew within each tensor, and independent normal noise.",
    )
    rows = frames["concentration"].filter(by="relative")
    names = {"share": "", "null_permuted": ", dealt out anew", "null_gaussian": ", normal noise"}
    parts = [
        rows.select(
            x="top",
            y=pl.col(column).cast(pl.Float64),
            series=pl.format("{}{}", "tuned", pl.lit(suffix)),
        )
        for column, suffix in names.items()
    ]
    chart = curve(
        pl.concat(parts), x_title="Share of weights", y_title="Share of relative change", log_x=True
    )
    section.figure(chart, "The curve of fine-tuning lies on those of chance where nothing is "
                   "concentrated.", wide=True)  # fmt: skip
    section.table(frames["tuned"], "Size of the change")
    section.table(frames["modules"], "By module: share of the top beside share of all weights")
    section.table(frames["layers"], "By layer")
    return section
