"""Chapter 4: could it have been known before SFT which domains would change?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from imprint.errors import CheckpointError, DataError
from imprint.forecast.config import ForecastConfig
from imprint.forecast.forecast import forecast
from imprint.lab.chapters.asking import Question, ask, of_rows, some, template_of
from imprint.lab.chapters.chapter import Chapter, Material, lacking, measured
from imprint.lab.chapters.foresight_scores import FEWEST, pooled
from imprint.lab.chapters.foresight_verdicts import judge
from imprint.lab.chapters.movement import stages
from imprint.lab.chapters.part import Part, join
from imprint.lab.chapters.units import Frames, checkpoint, may_train, tables, training
from imprint.lab.encoding import sft_rows
from imprint.lab.sft import SftSettings
from imprint.models.tokenizer import tokenizer_of
from imprint.stats import paired_difference

NUMBER, TITLE = 4, "Could we have known?"
CODE = ("imprint.forecast", "imprint.saes", "imprint.models", "imprint.lab.chapters.asking")
BATCH, RATE, LONGEST = 16, 1e-3, 96
DRAWS = 3  # of demonstrations
LEAST = 10  # texts of a domain that a forecast needs


def run(material: Material) -> Chapter:
    """Write the chapter: an SAE, a forecast with all baselines, and what SFT did to each domain.

    Reads a base checkpoint, domains and SFT sets. Where the study trains, the base is fine-tuned
    on each set; else the tuned checkpoint that is given tells what its one SFT set changed.

    Raises:
        ImprintError: checkpoints or files that cannot be used.
    """
    lacks = _lacks(material)
    if lacks:
        return lacking(NUMBER, TITLE, lacks)
    with measured() as cost:
        part = _written(material)
        chapter = join(NUMBER, TITLE, [part])
        chapter.state = part.states[0] if part.states else "undetermined"
    chapter.seconds, chapter.peak_bytes = cost["seconds"], int(cost["peak_bytes"])
    return chapter


def _lacks(material: Material) -> list[str]:
    found = []
    if not stages(material):
        found.append("A base checkpoint and one tuned from it are missing (--base, --tuned).")
    if material.domains is None:
        found.append("Questions of several domains are missing (--domains).")
    if not _sets(material):
        found.append("SFT sets are missing (--sft).")
    return found


def _sets(material: Material) -> dict[str, Path]:
    """Give the SFT sets by the names that a forecast calls them."""
    own = list(material.sft_sets.values()) if may_train(material) else []
    paths = own or ([material.sft] if material.sft is not None else [])
    stems = [path.name.partition(".")[0] or path.name for path in paths]
    names = stems if len(set(stems)) == len(stems) else list(map(str, paths))
    return dict(zip(names, paths, strict=True))


def _written(material: Material) -> Part:
    base, after = (str(row["model"]) for row in stages(material)[0])
    sets, found = _sets(material), Part()
    assert material.domains is not None  # noqa: S101 (the caller looked)
    asked = of_rows(material.domains, "domain")
    domains = len({one.group for one in asked})
    if domains < FEWEST:
        return Part(missing=[f"{domains} domains judge no forecast; {FEWEST} are needed."])
    material.report("foresight: training on each SFT set")
    models = _tuned(material, base, sets) if may_train(material) else {next(iter(sets)): [after]}
    material.report("foresight: what changed")
    seen = _observed(material, base, models, asked)
    sae = _sae(material, base, found)
    material.report("foresight: forecast")
    said = _forecast(material, base, sets, seen, sae, found)
    judge(found, seen, said, pooled(seen, said, material.budget.resamples, material.seed))
    return found


def _tuned(material: Material, base: str, sets: Mapping[str, Path]) -> dict[str, list[str]]:
    """Fine-tune the base on each set, once per seed."""
    budget = material.budget
    works = {
        (name, number): training(
            material,
            base,
            f"foresight-sft-{_safe(name)}-{number}",
            sft_rows(path),
            SftSettings(
                steps=budget.steps,
                batch=BATCH,
                lr=RATE,
                max_length=LONGEST,
                seed=material.seed + number,
                device=material.device,
            ),
        )
        for name, path in sets.items()
        for number in range(budget.seeds)
    }
    units = material.ledger.run(list(works.values()))
    found: dict[str, list[str]] = {name: [] for name in sets}
    for (name, _), unit in zip(works, units, strict=True):
        found[name].append(checkpoint(unit))
    return found


def _observed(
    material: Material, base: str, models: Mapping[str, Sequence[str]], asked: Sequence[Question]
) -> pl.DataFrame:
    """Measure the change of each domain after SFT on each set.

    Returns:
        A row per set and domain: ``sft``, ``domain``, ``items``, ``base_accuracy``, and of
        ``logprob`` and ``accuracy`` the change with ``_se``, ``_low`` and ``_high``.
    """
    items = some(asked, 2 * material.budget.domain_items, material.seed, each=True)
    named = {name: list(folders) for name, folders in models.items()}
    settings = {
        "sets": {name: len(folders) for name, folders in named.items()},
        "items": [[one.name, one.group, one.prompt, one.answer] for one in items],
    }
    frames, _ = tables(
        material,
        "foresight-observed",
        settings,
        partial(_measure_changes, base, named, items, material.device),
        models=(base, *(folder for folders in named.values() for folder in folders)),
        code=(*CODE[2:], "imprint.lab.chapters.foresight"),
    )
    return frames["changes"]


def _measure_changes(
    base: str,
    models: Mapping[str, Sequence[str]],
    items: Sequence[Question],
    device: str | None,
    _: Path,
) -> Frames:
    flat = [(name, folder) for name, folders in models.items() for folder in folders]
    answers = ask([base, *(folder for _, folder in flat)], items, device).with_columns(
        pl.col("correct").cast(pl.Float64).alias("accuracy"),
        place=pl.int_range(pl.len()).over("model"),
    )
    before = answers.filter(model=0)
    rows = []
    for name in models:
        own = [at + 1 for at, (other, _) in enumerate(flat) if other == name]
        after = answers.filter(pl.col("model").is_in(own)).group_by("place", maintain_order=True)
        both = before.join(after.agg(pl.col("logprob", "accuracy").mean()), on="place", suffix="_b")
        for (domain,), part in both.group_by("group", maintain_order=True):
            rows.append({"sft": name, "domain": domain, **_change(part)})
    return {"answers": answers, "changes": pl.DataFrame(rows)}


def _change(part: pl.DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = {"items": len(part), "base_accuracy": part["accuracy"].mean()}
    for name in ("logprob", "accuracy"):
        gap = paired_difference(part[f"{name}_b"].to_numpy(), part[name].to_numpy())
        row |= {
            name: gap.mean, f"{name}_se": gap.se, f"{name}_low": gap.low, f"{name}_high": gap.high
        }  # fmt: skip
    return row


def _sae(material: Material, base: str, found: Part) -> str | None:
    """Give the SAE of the base: the one that is named, or one trained on texts."""
    if material.sae is not None:
        return material.sae
    if material.texts is None or not may_train(material):
        found.missing.append(
            "STS needs an SAE of the base (--sae); the other predictors do without."
        )
        return None
    from imprint.saes.training import TrainConfig

    material.report("foresight: training an SAE")
    tokens = material.budget.sae_tokens
    config = TrainConfig(
        tokens=tokens,
        fit_tokens=max(1000, tokens // 6),
        window=64,
        batch_tokens=1024,
        accept_bad_fit=True,
        seed=material.seed,
        device=material.device,
        quiet=True,
    )
    try:
        frames, folder = tables(
            material,
            "foresight-sae",
            config.settings,
            partial(_train_sae, base, material.texts, config),
            models=(base,),
            files=(material.texts,),
            code=("imprint.saes", "imprint.models"),
        )
    except (CheckpointError, DataError) as failed:
        found.missing.append(f"No SAE could be trained: {failed.problem}")
        return None
    found.tables["foresight_sae"] = frames["fit"]
    return str(folder / "sae")


def _train_sae(base: str, texts: Path, config: Any, folder: Path) -> Frames:
    from imprint.saes.training import train_sae

    result = train_sae(base, texts, config, out=folder / "sae")
    return {"fit": result.tables["fit"]}


def _forecast(
    material: Material,
    base: str,
    sets: Mapping[str, Path],
    seen: pl.DataFrame,
    sae: str | None,
    found: Part,
) -> Frames:
    config = ForecastConfig(
        limit=max(LEAST, material.budget.domain_items),
        draws=DRAWS,
        chat_template=template_of(tokenizer_of(base)),
        resamples=material.budget.resamples,
        seed=material.seed,
        device=material.device,
        quiet=True,
    )
    try:
        return _forecast_by(material, base, sets, seen, sae, config)
    except CheckpointError as bad:
        if sae is None:
            raise
        found.missing.append(f"STS was left out: {bad.problem}")
        return _forecast_by(material, base, sets, seen, None, config)


def _forecast_by(
    material: Material,
    base: str,
    sets: Mapping[str, Path],
    seen: pl.DataFrame,
    sae: str | None,
    config: ForecastConfig,
) -> Frames:
    assert material.domains is not None  # noqa: S101 (the caller looked)
    observed = seen.select("sft", "domain", "base_accuracy", change="logprob", se="logprob_se")
    named = str(material.domains)
    settings = {**config.settings, "sae": sae is not None, "observed": observed.to_dicts()}
    frames, _ = tables(
        material,
        f"foresight-forecast{'' if sae else '-without-sae'}",
        settings,
        partial(_foresee, base, config, list(sets.values()), named, sae, observed),
        models=(base,) if sae is None else (base, sae),
        files=(*sets.values(), material.domains),
        code=CODE[:3],
    )
    return frames


def _foresee(
    base: str,
    config: ForecastConfig,
    sets: Sequence[Path],
    domains: str,
    sae: str | None,
    observed: pl.DataFrame,
    folder: Path,
) -> Frames:
    changes = folder / "observed.parquet"
    observed.write_parquet(changes)
    result = forecast(base, config, sft=list(sets), domains=domains, sae=sae, observed=changes)
    kept = ("predictors", "evaluation", "across_sets", "across_held_out", "fit", "findings")
    frames = {name: result.tables[name] for name in kept if name in result.tables}
    frames["titles"] = result.notes["titles"]
    frames["headline"] = pl.DataFrame({"headline": [result.headline]})
    return frames


def _safe(value: str) -> str:
    text = "".join(c if c.isalnum() else "-" for c in value).strip("-")
    return (text[-40:].strip("-")) or "set"
