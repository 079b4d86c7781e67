"""Run folders of ``imprint evaluate --prompts`` and ``imprint mastery`` as rollouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from imprint.errors import DataError, nearest
from imprint.findings import Finding
from imprint.tables import BROKEN, unreadable


def read_run(
    folder: Path, *, unit: str | None = None, stage: str | None = None
) -> tuple[pl.DataFrame, list[Finding]]:
    """Read the rollouts of a finished run.

    Args:
        folder: the run folder.
        unit, stage: which model, where an evaluation holds several.

    Returns:
        Columns of the pool that the run knows, and what was noticed.

    Raises:
        DataError: the folder is no such run, it holds no rollouts, or several models.
    """
    manifest = _manifest(folder)
    job = manifest.get("job")
    if job == "mastery":
        return _mastery(folder, manifest)
    if job == "evaluate":
        return _evaluation(folder, unit, stage)
    raise DataError(
        f"a run of `imprint {job}`, which holds no rollouts" if job else "no run of imprint",
        where=str(folder),
        remedy="give a run of `imprint evaluate --prompts` or `imprint mastery`, or a file.",
    )


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "manifest.json").read_bytes())
    except (OSError, ValueError):
        found = {}
    return found if isinstance(found, dict) else {}


def _table(folder: Path, name: str, columns: list[str] | None = None) -> pl.DataFrame | None:
    path = folder / "tables" / f"{name}.parquet"
    if not path.is_file():
        return None
    try:
        there = pl.read_parquet_schema(path)
        wanted = [c for c in columns if c in there] if columns else None
        return pl.read_parquet(path, columns=wanted)
    except BROKEN as broken:
        raise unreadable(broken, path) from broken


def _mastery(folder: Path, manifest: dict[str, Any]) -> tuple[pl.DataFrame, list[Finding]]:
    facts = _table(folder, "mastery")
    if facts is None or facts["samples"].null_count():
        raise DataError(
            "the run has no samples, only likelihoods",
            where=str(folder),
            remedy="run `imprint mastery` without --likelihood only.",
        )
    asked = facts.filter(pl.col("question").is_not_null())
    if asked.is_empty():
        raise DataError("no fact has a question", where=str(folder))
    lost = len(facts) - len(asked)
    told = f"{lost:,} facts have no question and are left out"
    findings = [Finding("no_question", told, count=lost)] if lost else []
    settings = manifest.get("settings", {}).get("mastery", {})
    asked, without = _trained(asked)
    pool = asked.select(
        id="fact",
        domain="relation",
        prompt="question",
        answer=pl.col("answers").list.first(),
        reference=pl.col("answers").list.first(),
        reference_verified=pl.lit(value=True),
        n="samples",
        c="hits",
        model="model",
        template=pl.format("{} ({} each)", "asking", pl.lit(str(settings.get("samples")))),
        temperature=pl.lit(str(settings.get("temperature"))),
        max_tokens=pl.lit(str(settings.get("max_new_tokens"))),
        verifier=pl.lit(f"mastery: {settings.get('match', 'contains an answer')}"),
    )
    return pool, [*findings, *without]


def _trained(facts: pl.DataFrame) -> tuple[pl.DataFrame, list[Finding]]:
    """Leave out facts of test splits, where a split is called train."""
    if not (facts["split"] == "train").any():
        return facts, []
    kept = facts.filter(pl.col("split") == "train")
    told = f"{len(facts) - len(kept):,} facts of other splits than train are left out"
    held = len(facts) - len(kept)
    return kept, [Finding("test_splits", told, "info", held)] if held else []


def _evaluation(
    folder: Path, unit: str | None, stage: str | None
) -> tuple[pl.DataFrame, list[Finding]]:
    rates = _table(folder, "pass_rates")
    if rates is None:
        raise DataError(
            "the evaluation has no rollouts",
            where=str(folder),
            remedy="evaluate with --prompts and --verify.",
        )
    for name, wanted in (("unit", unit), ("stage", stage)):
        if wanted is not None:
            known = [str(v) for v in rates[name].unique().to_list()]
            if wanted not in known:
                told = f"no {name} {wanted!r}; {nearest(wanted, known)}"
                raise DataError(told, where=str(folder))
            rates = rates.filter(pl.col(name) == wanted)
    _refuse_several(rates, folder)
    answers = pl.col("answers").list.first() if "answers" in rates.columns else pl.lit(None)
    pool = rates.select(
        pl.col("item").alias("id"),
        pl.coalesce("domain", "benchmark").alias("domain"),
        pl.col("prompt", "n", "c", "stage"),
        answers.cast(pl.String).alias("answer"),
        pl.col("unit").alias("model"),
        pl.col("chat_template").alias("template"),
    )
    return _with_rollouts(pool, folder, rates), []


def _refuse_several(rates: pl.DataFrame, folder: Path) -> None:
    labels = [n for n in ("unit", "scale", "stage", "step", "replicate") if n in rates.columns]
    models = rates.select(labels).unique(maintain_order=True)
    if len(models) > 1:
        named = [" ".join(str(v) for v in row if v is not None) for row in models.rows()]
        raise DataError(
            f"rollouts of {len(models)} models: {', '.join(named[:8])}",
            where=str(folder),
            remedy="difficulty is that of one checkpoint: choose it with --model (and --stage).",
        )


def _with_rollouts(pool: pl.DataFrame, folder: Path, rates: pl.DataFrame) -> pl.DataFrame:
    """Add mean lengths, the verifier and how it was sampled, from the rollouts themselves."""
    columns = ["unit", "stage", "item", "tokens", "verify", "temperature", "max_new_tokens"]
    rollouts = _table(folder, "rollouts", columns)
    if rollouts is None:
        return pool
    key = ["unit", "stage", "item"]
    about = rollouts.join(rates.select(key), on=key, how="semi", nulls_equal=True)
    names = {"verify": "verifier", "temperature": "temperature", "max_new_tokens": "max_tokens"}
    first = [pl.col(old).first().cast(pl.String).alias(new) for old, new in names.items()]
    means = about.group_by("item").agg(pl.col("tokens").mean(), *first)
    return pool.join(means, left_on="id", right_on="item", how="left", maintain_order="left")
