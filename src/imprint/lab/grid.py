"""The grid as units: materials, checkpoints of every stage, their scores, transfer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from imprint.lab import steps
from imprint.lab.checkpoint import Planned, key_of, plain
from imprint.lab.config import StudyConfig
from imprint.lab.identity import identity
from imprint.lab.ledger import Ledger
from imprint.lab.materials import Materials
from imprint.lab.trainings import Trainings
from imprint.lab.unit import Work

STAGES = ("sft", "rl")


@dataclass
class Grid:
    """All units of a study up to the chapters; nothing is built yet.

    Args:
        config: the study.
        ledger: where units lie.
        given: checkpoints that are there and not trained.
    """

    config: StudyConfig
    ledger: Ledger
    given: list[Planned] = field(default_factory=list)

    @cached_property
    def materials(self) -> Materials:
        """World, tokenizer and token files."""
        return Materials(self.config, self.ledger)

    @cached_property
    def trainings(self) -> Trainings:
        """What units of training are like."""
        return Trainings(self.config, self.ledger, self.materials)

    @cached_property
    def works(self) -> list[Work]:
        """Every unit once, those that others need first."""
        found: dict[str, Work] = {}
        for work in (*self.materials.works, *self._trained, *self.evaluations, *self._last):
            found.setdefault(work.key, work)
        return list(found.values())

    @cached_property
    def pretrained(self) -> list[Planned]:
        """Base checkpoints, given or to be trained."""
        given = self._of_stage("pretrained")
        there = {key_of(one) for one in given}
        return [*given, *(one for one in self._runs if key_of(one) not in there)]

    @cached_property
    def tuned(self) -> list[Planned]:
        """Checkpoints after SFT: given, or to be made of the grid's bases."""
        given = self._of_stage("sft")
        there, grid = {key_of(one) for one in given}, {key_of(one) for one in self._runs}
        bases = [one for one in self.pretrained if key_of(one) in grid - there]
        return [*given, *map(self.trainings.sft, bases)]

    @cached_property
    def reinforced(self) -> list[Planned]:
        """Checkpoints after RL, of some mixtures."""
        given = self._of_stage("rl")
        there = {key_of(one) for one in given}
        bases = [one for one in self.tuned if self._to_reinforce(one)]
        return [*given, *(self.trainings.rl(one) for one in bases if key_of(one) not in there)]

    @cached_property
    def checkpoints(self) -> list[Planned]:
        """All of them, of every stage; further stages of a given table last."""
        others = [p for p in self.given if p.labels["stage"] not in ("pretrained", *STAGES)]
        return [*self.pretrained, *self.tuned, *self.reinforced, *others]

    @cached_property
    def models(self) -> pl.DataFrame:
        """The models table."""
        rows = [one.row for one in self.checkpoints]
        return pl.DataFrame(rows, infer_schema_length=None)

    @cached_property
    def benchmarks(self) -> list[Path]:
        """Files of questions; those of the world are known once it is built."""
        if self.config.benchmarks:
            return [Path(name) for name in self.config.benchmarks]
        return (
            sorted((self.materials.world.path / "benchmarks").glob("*.jsonl"))
            if self.materials.world
            else []
        )

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """Category → benchmarks, as the settings or the world have them."""
        if self.config.categories or self.config.benchmarks or not self.materials.world:
            return self.config.categories
        from imprint.lab.world.benchmarks import CATEGORIES

        return CATEGORIES

    @cached_property
    def evaluations(self) -> list[Work]:
        """Scores of checkpoints, those of a scale and stage in two units."""
        if not (self.config.benchmarks or self.materials.world):
            return []
        groups: dict[tuple[str, str], list[Planned]] = {}
        for one in self.checkpoints:
            key = str(one.labels.get("scale") or "given"), str(one.labels["stage"])
            groups.setdefault(key, []).append(one)
        return [
            self._evaluation(f"evaluate-{plain(scale)}-{plain(stage)}-{k}", part)
            for (scale, stage), members in groups.items()
            for k, part in enumerate(shared_out(members, 2))
        ]

    @cached_property
    def transfer(self) -> Work | None:
        """The analysis of all items."""
        if not self.evaluations:
            return None
        settings = {
            "stages": [s for s in STAGES if any(c.labels["stage"] == s for c in self.checkpoints)],
            "factors": [f"{self.config.mixtures.slot}_source", "proportion"],
            "share": "code_share",
            "categories": self.categories,
            "resamples": self.config.resamples,
            "seed": self.config.seed,
        }
        items = [work.path / "items.parquet" for work in self.evaluations]
        build = partial(steps.build_transfer, settings, items)
        code = ("imprint.transfer", "imprint.stats", "imprint.lab.relating")
        return self.ledger.work("transfer", settings, self.evaluations, build, code=code, weight=20)

    def pretraining_settings(self) -> dict[str, dict[str, Any]]:
        """Scale → shape, optimiser, engine and mixtures, for chapters that train further models."""
        config = self.config
        return {
            name: {
                "shape": self.trainings.shape_settings(scale),
                "optimiser": self.trainings.optimiser(scale),
                "engine": config.engine,
                "dtype": config.dtype,
                "device": config.device,
                "mixtures": {m.name: m.shares for m in config.mixtures.crossed()},
            }
            for name, scale in (config.scales.items() if config.trains else ())
        }

    @property
    def parameters(self) -> dict[str, int]:
        """Scale → parameters of its models."""
        return {
            name: self.trainings.shape(scale).parameters
            for name, scale in self.config.scales.items()
        }

    @property
    def _trained(self) -> list[Work]:
        return [one.work for one in self.checkpoints if one.work is not None]

    @property
    def _last(self) -> list[Work]:
        return [self.transfer] if self.transfer else []

    def _of_stage(self, stage: str) -> list[Planned]:
        return [one for one in self.given if one.labels["stage"] == stage]

    @cached_property
    def _runs(self) -> list[Planned]:
        """All pretraining runs of the grid, whether or not their checkpoints are given."""
        scales = self.config.scales.items() if self.config.trains else ()
        return [run for name, scale in scales for run in self.trainings.pretrained(name, scale)]

    def _to_reinforce(self, one: Planned) -> bool:
        config, choice = self.config, self.config.rl
        scale, names = one.labels.get("scale"), [m.name for m in config.mixtures.crossed()]
        scales = choice.scales or tuple(config.scales)[:1]
        if not config.trains or scale not in scales or key_of(one)[-1] != "0":
            return False
        wanted = min(choice.units, len(names))
        return one.labels["unit"] in {names[k * len(names) // wanted] for k in range(wanted)}

    def _evaluation(self, name: str, members: Sequence[Planned]) -> Work:
        config = self.config
        settings = {
            "limit": config.limit,
            "chat_template": config.chat_template,
            "seed": config.seed,
            "device": config.device,
        }
        needs = {one.work.key: one.work for one in members if one.work}
        given = [identity(one.model) for one in members if one.work is None]
        told = {**settings, "models": [one.labels for one in members], "given": given}
        told["benchmarks"] = [identity(path) for path in config.benchmarks]
        folder = (
            self.materials.world.path / "benchmarks"
            if self.materials.world and not config.benchmarks
            else None
        )
        rows = [one.row for one in members]
        return self.ledger.work(
            name,
            told,
            [*self.materials.of_world, *needs.values()],
            partial(steps.build_evaluation, settings, config.benchmarks, folder, rows),
            code=("imprint.evaluation", "imprint.models"),
            weight=1 + 0.01 * (config.limit or 300) * len(members),
        )


def shared_out(members: Sequence[Any], parts: int) -> list[list[Any]]:
    """Share out in order, as evenly as it goes, without empty parts.

    >>> shared_out([1, 2, 3, 4, 5], 2)
    [[1, 2, 3], [4, 5]]
    """
    count = min(parts, len(members))
    edges = [-(-len(members) * k // count) for k in range(count + 1)] if count else [0]
    return [list(members[a:b]) for a, b in pairwise(edges)]
