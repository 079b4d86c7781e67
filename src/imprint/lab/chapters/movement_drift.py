"""How far next-token distributions moved, measured: of a pair, and of a chapter's own models."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from imprint.drift import drift
from imprint.errors import DataError
from imprint.lab.chapters.asking import ask
from imprint.lab.chapters.chapter import Material
from imprint.lab.chapters.movement_sets import Trained
from imprint.lab.chapters.units import Frames, safe, tables

CODE = ("imprint.drift", "imprint.models", "imprint.lab.chapters.movement_drift")


def of_pair(material: Material, base: dict[str, Any], tuned: dict[str, Any]) -> pl.DataFrame:
    """Measure the drift of a tuned checkpoint from its base on the texts.

    Returns:
        One row: ``unit``, ``scale``, ``stage``, ``kl`` (nats per token) with ``low`` and ``high``,
        ``tokens``, ``texts``, ``same_top1`` (share), and the same of a shuffled change: ``null``
        and ``excess`` with their intervals.
    """
    assert material.texts is not None  # noqa: S101 (the caller looked)
    before, after = str(base["model"]), str(tuned["model"])
    config = {**_config(material), "null": 1}
    measure = partial(_drift_of_pair, before, after, material.texts, config)
    parts = (safe(tuned.get(key)) for key in ("scale", "unit", "stage"))
    name = f"movement-drift-{'-'.join(parts)}"
    frames, _ = tables(
        material, name, config, measure, models=(before, after), files=(material.texts,), code=CODE
    )
    labels = [
        pl.lit(None if tuned.get(key) is None else str(tuned[key])).alias(key)
        for key in ("unit", "scale", "stage")
    ]
    return frames["pair"].select(*labels, pl.all())


def of_sets(material: Material, trained: Trained) -> Frames:
    """Measure how far trained models moved on the texts, and what they know of facts held out.

    Returns:
        ``summary`` (a row per model), ``texts`` (per model and text) and, with mastery, ``facts``
        (first token of facts, per model and level).
    """
    names, models = list(trained.models), list(trained.models.values())
    config = _config(material)
    measure = partial(_drift_of_sets, trained, material.texts, config)
    files = () if material.texts is None else (material.texts,)
    asked = [[q.name, q.prompt, q.answer] for q in trained.held_out]
    return tables(
        material,
        "movement-sets",
        {**config, "names": names, "asked": asked, "levels": trained.mastered is not None},
        measure,
        models=(trained.base, *models),
        files=files,
        code=(*CODE, "imprint.lab.chapters.asking"),
    )[0]


def _config(material: Material) -> dict[str, Any]:
    budget = material.budget
    own = {"limit": budget.texts, "resamples": budget.resamples, "seed": material.seed}
    return {**own, "device": material.device, "quiet": True}


def _drift_of_pair(
    base: str, tuned: str, texts: Path, config: Mapping[str, Any], _: Path
) -> Frames:
    result = drift(base, tuned, texts=texts, **_limited(texts, config))
    own = result.tables["summary"].filter(pl.col("measure") == "kl").row(0, named=True)
    same = result.tables["summary"].filter(pl.col("measure") == "top1_same").row(0, named=True)
    null = result.tables["null"].row(0, named=True)
    row = {
        "kl": own["mean"],
        **{name: own[name] for name in ("low", "high", "tokens", "texts")},
        "same_top1": same["mean"],
        "null": null["kl_mean"],
        "null_low": null["kl_low"],
        "null_high": null["kl_high"],
        **{name: null[name] for name in ("excess", "excess_low", "excess_high")},
    }
    return {"pair": pl.DataFrame([row], infer_schema_length=None)}


def _limited(texts: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Share the texts that may be read out among the domains of the file."""
    from imprint.drift.texts import read_samples

    domains = len({sample.domain for sample in read_samples(texts)})
    return {**config, "limit": max(1, round(config["limit"] / max(domains, 1)))}


def _drift_of_sets(
    trained: Trained, texts: Path | None, config: Mapping[str, Any], _: Path
) -> Frames:
    names, models = list(trained.models), list(trained.models.values())
    limited = _limited(texts, config) if texts else {**config, "limit": None}
    sources: dict[str, Any] = {"texts": texts, "mastery": trained.mastered}
    try:
        result = drift(trained.base, models, **sources, **limited)
    except DataError:  # the base says no answer at the beginning of what it writes
        result = drift(trained.base, models, near=0, **sources, **limited)
    called = result.tables["summary"]["tuned"].unique(maintain_order=True).to_list()
    rename = pl.col("tuned").replace_strict(dict(zip(called, names, strict=True)))
    own = result.tables["summary"].filter(pl.col("measure") == "kl")
    summary = own.select(rename.alias("model"), "low", "high", "texts", kl="mean")
    answers = ask([trained.base, *models], trained.held_out, config["device"])
    known = answers.group_by("model", maintain_order=True).agg(
        accuracy=pl.col("correct").cast(pl.Float64).mean(), logprob=pl.col("logprob").mean()
    )
    known = known.with_columns(
        pl.col("model").replace_strict(dict(enumerate(["base", *names])), return_dtype=pl.String)
    )
    base = known.row(0, named=True)
    summary = summary.join(known, on="model", how="left", maintain_order="left").with_columns(
        base_accuracy=pl.lit(base["accuracy"]), base_logprob=pl.lit(base["logprob"])
    )
    frames = {
        "summary": summary,
        "texts": result.tables["texts"].select(rename.alias("model"), "text", "kl"),
    }
    if "levels" in result.tables:
        first = result.tables["levels"].filter(pl.col("measure") == "kl_tuned_base_top10")
        frames["facts"] = first.select(
            rename.alias("model"), "level", "low", "high", kl_top10="mean", facts="texts"
        )
    return frames
