"""Which models are evaluated, and the labels that travel into every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprint.errors import ConfigError, nearest
from imprint.formats.models_table import load_models, located

LABELS = ("unit", "cluster", "scale", "parameters", "stage", "step", "replicate")


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and what it is called.

    Attributes:
        model: its reference, or its name on the server.
        labels: ``unit``, ``stage`` and further columns of its rows.
    """

    model: str
    labels: dict[str, Any]

    @property
    def stage(self) -> str | None:
        """What the model has been through, where that is said."""
        found = self.labels.get("stage")
        return None if found is None else str(found)

    @property
    def name(self) -> str:
        """A short name for messages and reports."""
        parts = [self.labels.get(key) for key in ("unit", "scale", "stage", "replicate", "step")]
        return " ".join(str(part) for part in parts if part is not None)


def subjects(
    models: Sequence[str], table: Path | None = None, stages: Sequence[str] = ()
) -> list[Subject]:
    """Find the models to evaluate and their labels.

    Args:
        models: references; all of the table where none is named.
        table: the models table.
        stages: without a table: one stage per model, or one for all.

    Raises:
        ConfigError: no model, a model that the table does not name, or two with the same labels.
        DataError: the table cannot be read.
    """
    found = _from_table(models, table) if table else _plain(models, stages)
    if table and stages:
        raise ConfigError("--stage has no meaning with --models, whose column `stage` tells it")
    if not found:
        raise ConfigError("no model is named", remedy="imprint evaluate MODEL, or --models FILE.")
    _refuse_alike(found)
    return found


def _plain(models: Sequence[str], stages: Sequence[str]) -> list[Subject]:
    if len(stages) not in (0, 1, len(models)):
        raise ConfigError(
            f"{len(stages)} stages for {len(models)} models",
            remedy="give --stage once, or once per model in their order.",
        )
    named = list(stages) * len(models) if len(stages) == 1 else list(stages)
    staged: Sequence[str | None] = named or [None] * len(models)
    return [
        Subject(model, {"unit": model, "stage": stage})
        for model, stage in zip(models, staged, strict=True)
    ]


def _from_table(models: Sequence[str], table: Path) -> list[Subject]:
    rows = {str(row["model"]): row for row in load_models(table).to_dicts()}
    for model in models:
        if model not in rows:
            raise ConfigError(
                f"the models table does not name {model!r}; {nearest(model, rows)}",
                where=str(table),
            )
    chosen = list(models) or list(rows)
    return [Subject(located(name, table), _labels(rows[name])) for name in chosen]


def _labels(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "model"}


def _refuse_alike(found: Sequence[Subject]) -> None:
    seen: dict[tuple[Any, ...], str] = {}
    for subject in found:
        key = tuple(subject.labels.get(name) for name in LABELS)
        if key in seen:
            raise ConfigError(
                f"{seen[key]!r} and {subject.model!r} have the same labels ({subject.name})",
                remedy="name each model once; tell replicates apart by `replicate` or `step`.",
            )
        seen[key] = subject.model
