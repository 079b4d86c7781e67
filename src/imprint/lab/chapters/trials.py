"""Trainings of chapters as units of the ledger: train on a file of items, score held-out ones."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from imprint.configuration import build
from imprint.lab.chapters.asked import (
    SCORES,
    Item,
    of_rows,
    read_items,
    read_rows,
    score,
    write_items,
)
from imprint.lab.chapters.chapter import Material
from imprint.lab.identity import identity
from imprint.lab.unit import Unit, Work
from imprint.runs import dump_json, write_atomic

MODEL = "model"
BATCH = 16
READY = 5  # times the steps of an SFT before RL, which learns nothing from what is never solved
GROUP = 4
PROMPTS = 8  # of a GRPO step
SFT_CODE = (
    *("imprint.lab.sft", "imprint.lab.methods", "imprint.lab.noise", "imprint.lab.trainers"),
    "imprint.lab.encoding",
)
RL_CODE = ("imprint.lab.rl", "imprint.lab.rollouts", "imprint.lab.noise", "imprint.lab.trainers")
OWN_CODE = ("imprint.lab.chapters.asked",)


@dataclass(frozen=True)
class Start:
    """The model that a training starts from.

    Attributes:
        model: its folder or reference.
        needs: the unit that it comes from, where it is one.
        identity: what else tells it apart.
    """

    model: str
    needs: tuple[Work | Unit, ...] = ()
    identity: Any = None


@dataclass(frozen=True)
class Trial:
    """One training and what came of it.

    Attributes:
        labels: what it was: arm, size, seed, ….
        work: its unit.
    """

    labels: Mapping[str, Any]
    work: Work

    @property
    def model(self) -> Path:
        """The trained model, where it was kept."""
        return self.work.path / MODEL

    def scores(self, name: str = "held") -> pl.DataFrame:
        """Read the scores of a set of items; empty where nothing could be trained."""
        path = self.work.path / f"{name}.parquet"
        return pl.read_parquet(path) if path.exists() else pl.DataFrame(schema=SCORES)


@dataclass
class Trials:
    """Describes trainings for the ledger and builds them.

    Args:
        material: ledger, budget, device and seed.
        word: what names of units begin with.
    """

    material: Material
    word: str
    trials: list[Trial] = field(default_factory=list)

    def start(self, row: Mapping[str, Any]) -> Start:
        """Begin at a checkpoint of the study."""
        model = str(row["model"])
        return Start(model, (), identity(model if not Path(model).exists() else Path(model)))

    def items(self, name: str, sets: Mapping[str, Sequence[Item]]) -> Unit:
        """Write sets of items as a unit."""
        told = {key: [[i.id, i.domain] for i in items] for key, items in sets.items()}
        build_sets = partial(build_items, {key: tuple(items) for key, items in sets.items()})
        return self.material.ledger.unit(f"{self.word}-{name}", told, [], build_sets, code=OWN_CODE)

    def sft(
        self,
        labels: Mapping[str, Any],
        start: Start,
        rows: tuple[Work | Unit, str],
        probes: Sequence[tuple[Work | Unit, str]],
        *,
        keep: bool = False,
        **settings: Any,
    ) -> Trial:
        """Describe an SFT on a file of items, scored on others.

        Args:
            labels: of the trial; ``seed`` is that of the training.
            start: the model that is trained.
            rows: unit and name of a set of items.
            probes: units and names of sets to score.
            keep: keep the trained model.
            settings: further fields of ``SftSettings``.
        """
        how = {"steps": self.material.budget.steps, "batch": BATCH, **settings}
        return self._trial("sft", labels, start, rows, probes, how, keep)

    def rl(
        self,
        labels: Mapping[str, Any],
        start: Start,
        rows: tuple[Work | Unit, str],
        probes: Sequence[tuple[Work | Unit, str]],
        *,
        keep: bool = False,
        **settings: Any,
    ) -> Trial:
        """Describe a GRPO training rewarded by exact answers; arguments as of ``sft``."""
        steps = self.material.budget.rl_steps
        how = {"steps": steps, "prompts_per_step": PROMPTS, "group": GROUP, **settings}
        return self._trial("rl", labels, start, rows, probes, how, keep)

    def ready(self, row: Mapping[str, Any]) -> Start:
        """Fine-tune the model after SFT for longer on the SFT rows, to start RL from.

        Every chapter shares it. Without SFT rows RL starts from the model as it is.
        """
        start, path = self.start(row), self.material.sft
        rows = of_rows(read_rows(path)) if path is not None else []
        if not rows:
            return start
        ours = Trials(self.material, "rl-start")
        unit = ours.items("items", {"rows": rows})
        steps = READY * self.material.budget.steps
        trial = ours.sft(
            {"arm": "ready", "seed": 0}, start, (unit, "rows"), [], keep=True, steps=steps
        )
        ours.run([trial])
        return Start(str(trial.model), (trial.work,))

    def probe(self, name: str, start: Start, probes: Sequence[tuple[Work | Unit, str]]) -> Trial:
        """Describe the scores of a model that is not trained further."""
        return self._trial("none", {"arm": name, "seed": 0}, start, None, probes, {}, False)

    def run(self, trials: Sequence[Trial]) -> None:
        """Build what is not there yet, several at a time."""
        self.material.ledger.run([trial.work for trial in trials])
        self.trials += trials

    def table(self, names: Sequence[str]) -> pl.DataFrame:
        """Give one row per trial and set of items: labels, mean probability, greedy share."""
        rows = []
        for trial in self.trials:
            for name in names:
                found = trial.scores(name)
                if found.height:
                    means = found.select(pl.col("probability", "greedy").cast(pl.Float64).mean())
                    rows.append(
                        {**trial.labels, "held": name, "items": found.height, **means.to_dicts()[0]}
                    )
        return pl.DataFrame(rows, infer_schema_length=None)

    def _trial(
        self,
        kind: str,
        labels: Mapping[str, Any],
        start: Start,
        rows: tuple[Work | Unit, str] | None,
        probes: Sequence[tuple[Work | Unit, str]],
        how: Mapping[str, Any],
        keep: bool,
    ) -> Trial:
        seed = self.material.seed + 101 * int(labels["seed"])
        device = self.material.device
        training = {**how, "seed": seed, "device": device} if rows else {}
        settings = {
            "kind": kind,
            "training": training,
            "rows": rows[1] if rows else None,
            "probes": [name for _, name in probes],
            "start": start.identity,
            "keep": keep,
            "device": device,
        }
        needs = [*start.needs, *([rows[0]] if rows else []), *(unit for unit, _ in probes)]
        files = {name: unit.path / f"{name}.jsonl" for unit, name in probes}
        file = rows[0].path / f"{rows[1]}.jsonl" if rows else None
        code = (*OWN_CODE, *(SFT_CODE if kind == "sft" else RL_CODE if kind == "rl" else ()))
        name = "-".join(str(value) for value in (self.word, *labels.values()) if value is not None)
        work = self.material.ledger.work(
            _plain(name),
            settings,
            needs,
            partial(build_trial, settings, start.model, file, files),
            code=code,
            weight={"none": 1.0, "sft": 3.0, "rl": 8.0}[kind],
        )
        return Trial({**labels, "stage": kind}, work)


def build_trial(
    settings: Mapping[str, Any],
    model: str,
    rows: Path | None,
    probes: Mapping[str, Path],
    out: Path,
) -> None:
    """Train a model on items and score others; nothing is scored where there is none to train on.

    Writes ``NAME.parquet`` for each probe and ``training.json``.
    """
    items = read_items(rows) if rows else []
    if rows is not None and not items:
        write_atomic(out / "training.json", dump_json({"rows": 0}))
        return
    tuned, told = model, {}
    if rows is not None:
        tuned = str(out / MODEL)
        told = _train(settings, model, items, out / MODEL)
    for name, path in probes.items():
        asked = read_items(path)
        score(tuned, asked, device=settings["device"]).write_parquet(out / f"{name}.parquet")
    kept = {k: told.get(k) for k in ("losses", "seconds", "steps", "trained_parameters")}
    write_atomic(out / "training.json", dump_json({"rows": len(items), **kept}))
    if not settings["keep"]:
        shutil.rmtree(out / MODEL, ignore_errors=True)


def build_items(sets: Mapping[str, Sequence[Item]], out: Path) -> None:
    """Write sets of items, ``NAME.jsonl`` each."""
    for name, items in sets.items():
        write_items(out / f"{name}.jsonl", items)


def _train(
    settings: Mapping[str, Any], model: str, items: Sequence[Item], out: Path
) -> dict[str, Any]:
    if settings["kind"] == "sft":
        from imprint.lab.sft import SftSettings, sft

        how = build(SftSettings, dict(settings["training"]))
        return sft(model, [i.taught for i in items], out, how)
    from imprint.lab.rl import RlSettings, rl

    told = dict(settings["training"])
    told["prompts_per_step"] = min(told["prompts_per_step"], len(items))
    rewarded = build(RlSettings, told)
    return rl(model, [i.row for i in items], out, rewarded, reward="exact")


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in name)[:80]
