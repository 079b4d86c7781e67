"""SFT on sets of facts, of one level or of all: which set teaches most."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from imprint.lab.chapters.chapter import Budget, Material
from imprint.lab.chapters.knowledge_levels import CODE, PROMPT
from imprint.lab.checkpoint import plain
from imprint.lab.identity import identity
from imprint.lab.unit import Unit

MIXED = "mixed"


def tuned(material: Material, base: dict[str, Any], unit: Unit) -> pl.DataFrame | None:
    """Train on each set, ask every model, and give one row per model and fact."""
    sets = chosen_sets(unit.path / "run", material.budget)
    if not sets:
        return None
    models: dict[str, Unit] = {}
    for number, one in enumerate(sets):
        material.report(f"knowledge: SFT {number + 1} of {len(sets)} ({one['file']})")
        models[one["file"]] = _sft(material, base, unit, one)
    paths = {str(made.path / "model"): file for file, made in models.items()}
    settings = {"sft_prompt": PROMPT, "seed": material.seed, "device": material.device}
    build = partial(_build_closed_book, settings, list(paths), unit.path / "run")
    needs = [unit, *models.values()]
    asked = material.ledger.unit("knowledge-answers", settings, needs, build, code=CODE)
    answers = pl.read_parquet(asked.path / "answers.parquet")
    about = pl.DataFrame([_about(model, one) for model, one in _by_model(paths, sets)])
    return answers.join(about, on="model", maintain_order="left").drop("model")


def chosen_sets(run: Path, budget: Budget) -> list[dict[str, Any]]:
    """Choose SFT sets of a mastery run: every size of mixed levels, every level at one size."""
    table = run / "tables" / "splits.parquet"
    if not table.is_file():
        return []
    rows = pl.read_parquet(table).filter(pl.col("role") == "sft", pl.col("facts") > 0)
    rows = rows.unique("file", keep="first", maintain_order=True)
    middle = sorted(budget.sizes)[len(budget.sizes) // 2]
    wanted = ((pl.col("level") == MIXED) & (pl.col("asked") > 0)) | (
        (pl.col("level") != MIXED) & (pl.col("asked") == middle)
    )
    kept = rows.filter(wanted).select("file", "level", "asked", "facts", "seed")
    # where facts run short a larger set is the same as a smaller one
    return kept.unique(["level", "facts", "seed"], keep="first", maintain_order=True).to_dicts()


def _by_model(
    paths: dict[str, str], sets: Sequence[dict[str, Any]]
) -> list[tuple[str, dict[str, Any]]]:
    known = {one["file"]: one for one in sets}
    return [(model, known[file]) for model, file in paths.items()]


def _about(model: str, one: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": model,
        "level_trained": one["level"],
        "asked": one["asked"],
        "trained": one["facts"],
        "seed": one["seed"],
    }


def _sft(material: Material, base: dict[str, Any], unit: Unit, one: dict[str, Any]) -> Unit:
    training = {"epochs": 4.0, "batch": 8, "max_length": 64, "seed": material.seed + one["seed"]}
    settings = {"training": training, "file": one["file"], "base": identity(base["model"])}
    name = f"knowledge-sft-{plain(one['level'])}-{one['asked']}-{one['seed']}"
    data = unit.path / "run" / "tables" / one["file"]
    build = partial(_build_sft, training, str(base["model"]), data)
    code = ("imprint.lab.sft", "imprint.lab.methods")
    return material.ledger.unit(name, settings, [unit], build, code=code)


def _build_sft(training: dict[str, Any], base: str, data: Path, out: Path) -> None:
    from imprint.lab.sft import SftSettings, sft

    sft(base, data, out / "model", SftSettings(**training))


def _build_closed_book(settings: dict[str, Any], models: list[str], run: Path, out: Path) -> None:
    from imprint.configuration import build
    from imprint.mastery import MasteryConfig, closed_book

    found = closed_book(models, run, build(MasteryConfig, settings))
    found.tables["answers"].write_parquet(out / "answers.parquet")


def accuracies(answers: pl.DataFrame) -> pl.DataFrame:
    """Give accuracy by set and split: over facts, and the mean over levels that have facts."""
    by = ["level_trained", "asked", "trained", "split"]
    rows = answers.with_columns(right=pl.col("substring").cast(pl.Float64))
    levels = rows.group_by(*by, "level", maintain_order=True).agg(pl.col("right").mean())
    macro = levels.group_by(by, maintain_order=True).agg(
        pl.col("right").mean().alias("macro"), pl.len().alias("levels")
    )
    plain = rows.group_by(by, maintain_order=True).agg(
        pl.len().alias("answers"),
        pl.col("right").mean().alias("accuracy"),
        (pl.col("right").std() / pl.len().sqrt()).alias("se"),
    )
    found = plain.join(macro, on=by, maintain_order="left", nulls_equal=True)
    spread = 1.96 * pl.col("se")
    return found.with_columns(low=pl.col("accuracy") - spread, high=pl.col("accuracy") + spread)


def compared(answers: pl.DataFrame, one: pl.Expr, other: pl.Expr) -> Any:
    """Pair two kinds of models by fact; a difference of mean correctness with its interval."""
    from imprint.stats import paired_difference

    def means(which: pl.Expr, name: str) -> pl.DataFrame:
        kept = answers.filter(which).group_by("fact", maintain_order=True)
        return kept.agg(pl.col("substring").cast(pl.Float64).mean().alias(name))

    both = means(one, "one").join(means(other, "other"), on="fact", maintain_order="left")
    if len(both) < 2:
        return None
    return paired_difference(both["one"].to_numpy(), both["other"].to_numpy())
