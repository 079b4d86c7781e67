"""Rollouts of a pool of items, and the sets that ``imprint plan`` makes of them, as units."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import polars as pl

from imprint.lab.chapters.asked import Item, read_items, write_items
from imprint.lab.chapters.chapter import Material
from imprint.lab.chapters.trials import GROUP, Start
from imprint.lab.unit import Unit, Work
from imprint.runs import dump_json, write_atomic

Stage = Literal["sft", "rl"]
ARMS: dict[Stage, tuple[str, str]] = {"sft": ("hard", "random"), "rl": ("band", "random")}
SETS = {"hard": "sft_hard", "band": "rl_band"}
SAMPLES = 16  # rollouts per prompt; of fewer, no count rules out a band of .2 to .8
ROLLOUT_CODE = ("imprint.evaluation", "imprint.models", "imprint.lab.chapters.asked")
PLAN_CODE = ("imprint.planning", "imprint.lab.chapters.asked")


@dataclass(frozen=True)
class Cell:
    """One planned set and its control.

    Attributes:
        size: rows asked for; ``None`` takes all that qualify.
        seed: of the plan's draws.
    """

    size: int | None
    seed: int

    def file(self, arm: str) -> str:
        """Name a set of items."""
        return f"{arm}-{self.size or 'all'}-{self.seed}"


def rollouts(material: Material, name: str, start: Start, pool: tuple[Work | Unit, str]) -> Work:
    """Describe the rollouts of a model on a set of items."""
    settings = {
        "model": start.identity,
        "items": pool[1],
        "samples": max(SAMPLES, material.budget.samples),
        "device": material.device,
        "seed": material.seed,
    }
    path = pool[0].path / f"{pool[1]}.jsonl"
    return material.ledger.work(
        name,
        settings,
        [*start.needs, pool[0]],
        partial(build_rollouts, settings, start.model, path),
        code=ROLLOUT_CODE,
        weight=6.0,
    )


def plans(
    material: Material,
    name: str,
    stage: Stage,
    rolled: Work,
    pool: tuple[Work | Unit, str],
    cells: Sequence[Cell],
) -> Work:
    """Describe the sets of a plan: for each cell the chosen items and as many at random."""
    settings = {"stage": stage, "cells": [[cell.size, cell.seed] for cell in cells]}
    path = pool[0].path / f"{pool[1]}.jsonl"
    return material.ledger.work(
        name,
        settings,
        [rolled, pool[0]],
        partial(build_plans, settings, rolled.path, path),
        code=PLAN_CODE,
        weight=2.0,
    )


def build_rollouts(settings: Mapping[str, Any], model: str, pool: Path, out: Path) -> None:
    """Roll out and verify; writes ``rates.parquet``: ``id``, ``n``, ``c`` and mean ``tokens``."""
    from imprint.evaluation import EvaluateConfig, evaluate

    items = read_items(pool)
    template = _has_template(model)
    rows = [item.row if template else {**item.row, "prompt": item.asked} for item in items]
    prompts = out / "prompts.jsonl"
    write_atomic(prompts, "".join(dump_json(row, indent=None) + "\n" for row in rows))
    config = EvaluateConfig(
        prompts=str(prompts),
        samples=settings["samples"],
        verify="exact",
        temperature=1.0,
        max_new_tokens=4 + 2 * max(len(item.answer.split()) for item in items),
        chat_template=("auto",) if template else ("none",),
        seed=settings["seed"],
        device=settings["device"],
        quiet=True,
    )
    found = evaluate([model], config).tables["rollouts"]
    rates = found.group_by(pl.col("item").alias("id"), maintain_order=True).agg(
        n=pl.len().cast(pl.Int64),
        c=pl.col("passed").sum().cast(pl.Int64),
        tokens=pl.col("tokens").mean(),
    )
    rates.write_parquet(out / "rates.parquet")


def build_plans(settings: Mapping[str, Any], rolled: Path, pool: Path, out: Path) -> None:
    """Plan each cell; writes ``ARM-SIZE-SEED.jsonl`` and ``plan.json`` with what it says."""
    from imprint.planning import plan

    items = {item.id: item for item in read_items(pool)}
    frame = _pool(items, pl.read_parquet(rolled / "rates.parquet"))
    stage: Stage = settings["stage"]
    told: list[dict[str, Any]] = []
    for size, seed in settings["cells"]:
        asked = {"size": size} if stage == "sft" else {"rl_size": size}
        # questions of one template share most of their words and are not one question
        found = plan(frame, kind="skill", references_verified=True, near_duplicate=1.0,
                     group_size=GROUP, adapters=(), resamples=200, seed=seed, quiet=True,
                     **asked)  # fmt: skip
        cell = Cell(size, seed)
        chosen, control = ARMS[stage]
        for arm, name in ((chosen, SETS[chosen]), (control, f"{stage}_random")):
            ids = found.sets[name]["id"].to_list() if name in found.sets else []
            write_items(out / f"{cell.file(arm)}.jsonl", [items[key] for key in ids])
            told.append({"arm": arm, "size": size, "seed": seed, "rows": len(ids)})
    about = {"said": _said(found.headline, stage), "sets": told}
    write_atomic(out / "plan.json", dump_json(about))


def _said(headline: str, stage: Stage) -> str:
    """Keep what a plan's headline says of one stage."""
    found = re.search(rf"{stage.upper()}: .*?\.(?= [A-Z0-9]|$)", headline)
    return found.group() if found else headline


def _pool(items: Mapping[str, Item], rates: pl.DataFrame) -> pl.DataFrame:
    rows = [
        {"id": key, "domain": item.domain, "prompt": item.asked, "answer": item.answer,
         "reference": item.answer}
        for key, item in items.items()
    ]  # fmt: skip
    return pl.DataFrame(rows).join(rates, on="id", how="inner", maintain_order="left")


def _has_template(model: str) -> bool:
    from imprint.errors import require

    found = require("transformers", "models").AutoTokenizer.from_pretrained(
        model, trust_remote_code=False
    )
    return bool(found.chat_template)
