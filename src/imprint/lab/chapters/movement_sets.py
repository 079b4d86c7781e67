"""Models that chapter 3 trains: on sets of facts of several sizes, and of one mastery level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from imprint.formats.facts import read_facts
from imprint.lab.chapters.asking import Question, some, taught
from imprint.lab.chapters.chapter import Material
from imprint.lab.chapters.part import Part
from imprint.lab.chapters.units import Frames, checkpoint, safe, tables, training
from imprint.lab.sft import SftSettings
from imprint.lab.unit import Work
from imprint.mastery import MasteryConfig, mastery
from imprint.models.tokenizer import tokenizer_of

BATCH, RATE, LONGEST = 8, 1e-3, 128  # batch of arXiv 2509.16596; a rate for small models
FEWEST = 8  # facts of a level that are worth a training
EPOCH, STEPS, LEVEL = "one epoch", "equal steps", "one level, equal steps"
QUESTIONS = 240
Plans = dict[str, tuple[list[Question], dict[str, Any]]]  # name → what is taught, and labels


@dataclass(frozen=True)
class Trained:
    """Models that the chapter trained from one base on facts.

    Attributes:
        base: its folder.
        models: name → folder.
        about: a row per model: ``model``, ``arm``, ``size``, ``level``, ``steps``, ``seed``.
        taught: the questions of the largest set, for what fine-tuning taught.
        held_out: questions about facts that no set holds.
        mastered: folder of the base's mastery run, where there is one.
    """

    base: str
    models: dict[str, str]
    about: pl.DataFrame
    taught: list[Question]
    held_out: list[Question]
    mastered: Path | None = None
    missing: list[str] = field(default_factory=list)

    @property
    def largest(self) -> str:
        """The model of the largest set, trained for one epoch, of the first training."""
        own = self.about.filter((pl.col("arm") == EPOCH) & (pl.col("seed") == 0)).sort("size")
        return self.models[own["model"][-1]]


def train_sets(material: Material, base: str) -> Trained | Part:
    """Train the base on facts: sets of several sizes, and sets of one mastery level each."""
    if material.facts is None:
        return Part(missing=["Drift against size and level needs facts (--facts)."])
    facts = read_facts(material.facts).facts.filter(pl.col("question").is_not_null())
    if len(facts) < 2:
        few = f"Drift against size and level needs facts with a question; there are {len(facts)}."
        return Part(missing=[few])
    kept = facts.filter(pl.col("split") == "train")
    learnt = questions_of(kept if len(kept) else facts[::2])
    rest = facts.filter(pl.col("split") == "test") if len(kept) else facts[1::2]
    tokenizer = tokenizer_of(base)
    plans: Plans = _sizes(material, learnt)
    run = _mastered(material, base)
    missing = [] if run else ["Levels need templates of the facts' relations (--templates)."]
    if run:
        plans |= _levels(material, run, learnt, missing)
    plans = _repeated(plans, material.budget.seeds)
    works = {
        name: _work(material, base, name, taught(questions, tokenizer), about)
        for name, (questions, about) in plans.items()
    }
    units = material.ledger.run(list(works.values()))
    about = pl.DataFrame([{"model": name, **one} for name, (_, one) in plans.items()])
    largest = max(plans.values(), key=lambda plan: len(plan[0]))[0]
    held = some(questions_of(rest), QUESTIONS, material.seed)
    models = dict(zip(works, map(checkpoint, units), strict=True))
    return Trained(base, models, about, largest, held, run, missing)


def questions_of(facts: pl.DataFrame) -> list[Question]:
    """Turn rows of facts with questions into questions, their relation as the group."""
    return [
        Question(row["fact"], row["relation"], row["question"], row["answers"][0])
        for row in facts.iter_rows(named=True)
        if row["answers"]
    ]


def _repeated(plans: Plans, seeds: int) -> Plans:
    """Train each set once per seed; trainings differ in the order of their batches."""
    if seeds == 1:
        return {name: (asked, {**about, "seed": 0}) for name, (asked, about) in plans.items()}
    return {
        f"{name}, training {seed + 1}": (asked, {**about, "seed": seed})
        for name, (asked, about) in plans.items()
        for seed in range(seeds)
    }


def _sizes(material: Material, learnt: Sequence[Question]) -> Plans:
    plans = {}
    sizes = sorted({min(size, len(learnt)) for size in material.budget.sizes})
    for size in sizes:
        chosen = some(learnt, size, material.seed)
        for arm, steps in ((EPOCH, -(-size // BATCH)), (STEPS, material.budget.steps)):
            about = {"arm": arm, "size": size, "level": None, "steps": steps}
            plans[f"{size} facts, {arm}"] = chosen, about
    return plans


def _mastered(material: Material, base: str) -> Path | None:
    """Score the base's mastery of some facts; ``None`` without templates."""
    if material.templates is None or material.facts is None:
        return None
    there = set(read_facts(material.facts).facts["split"].drop_nulls())
    config = MasteryConfig(
        split=tuple(name for name in ("train", "test") if name in there),
        templates=str(material.templates),
        limit=2 * material.budget.facts,
        samples=material.budget.samples,
        max_new_tokens=8,
        seed=material.seed,
        device=material.device,
    )
    _, folder = tables(
        material,
        "movement-mastery",
        {**config.settings(), "templates": None},
        partial(_master, base, material.facts, config),
        models=(base,),
        files=(material.facts, material.templates),
        code=("imprint.mastery", "imprint.models"),
    )
    return folder / "run"


def _master(base: str, facts: Path, config: MasteryConfig, folder: Path) -> Frames:
    mastery(base, facts, config, out=folder / "run")
    return {}


def _levels(material: Material, run: Path, learnt: Sequence[Question], missing: list[str]) -> Plans:
    known = pl.read_parquet(run / "tables" / "mastery.parquet").select("fact", "level")
    level = dict(known.drop_nulls().iter_rows())
    by = {n: [q for q in learnt if level.get(q.name) == n] for n in range(5)}
    enough = {n: questions for n, questions in by.items() if len(questions) >= FEWEST}
    if len(enough) < len(by):
        few = ", ".join(f"level {n}: {len(by[n])}" for n in by if n not in enough)
        missing.append(f"Too few facts for an SFT set of their own ({FEWEST} are needed): {few}.")
    size = min(map(len, enough.values()), default=0)
    plans = {}
    for n, questions in enough.items():
        about = {"arm": LEVEL, "size": size, "level": n, "steps": material.budget.steps}
        plans[f"level {n}"] = some(questions, size, material.seed), about
    return plans


def _work(
    material: Material,
    base: str,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
) -> Work:
    settings = SftSettings(
        steps=about["steps"],
        batch=BATCH,
        lr=RATE,
        max_length=LONGEST,
        seed=material.seed + about["seed"],
        device=material.device,
    )
    return training(material, base, f"movement-{safe(name)}", rows, settings)
