"""Checkpoints of a study: those that are given, and those that units make."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprint.lab.config import StudyConfig
from imprint.lab.unit import Work

PLAIN = frozenset(string.ascii_letters + string.digits + "._-")
Labels = dict[str, Any]


@dataclass(frozen=True)
class Planned:
    """A checkpoint of the study.

    Attributes:
        labels: its row in the models table, without ``model``.
        model: its folder, or a reference.
        work: the unit that makes it; none where it was given.
    """

    labels: Labels
    model: str
    work: Work | None = None

    @property
    def row(self) -> Labels:
        """Its row in the models table."""
        return {"model": self.model, **self.labels}

    @property
    def name(self) -> str:
        """For units: scale, unit, replicate."""
        parts = [self.labels.get(key) for key in ("scale", "unit", "replicate")]
        return plain("-".join(str(part) for part in parts if part is not None))


def given_checkpoints(config: StudyConfig) -> list[Planned]:
    """Take the checkpoints that exist: a pair, or the rows of a models table."""
    from imprint.formats.models_table import load_models, located

    found: list[Planned] = []
    if config.base and config.tuned:
        for model, stage in ((config.base, "pretrained"), (config.tuned, "sft")):
            found.append(Planned({"unit": "given", "stage": stage}, model))
    if config.models:
        table = Path(config.models)
        for row in load_models(table).to_dicts():
            labels = {name: value for name, value in row.items() if name != "model"}
            found.append(Planned(labels, located(str(row["model"]), table)))
    return found


def key_of(one: Planned) -> tuple[Any, ...]:
    """Tell what checkpoints of one model share over stages: unit, scale, replicate."""
    labels = one.labels
    return labels["unit"], labels.get("scale"), labels.get("replicate") or "0"


def plain(text: str) -> str:
    """Give a short name for a folder; the unit's key tells apart what looks the same here."""
    return "".join(letter if letter in PLAIN else "_" for letter in text[:80])
