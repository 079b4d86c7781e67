"""Units of a chapter: models that it trains, and tables that it measures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from imprint.lab.chapters.chapter import Material
from imprint.lab.identity import identity
from imprint.lab.sft import SftSettings, sft
from imprint.lab.unit import Unit, Work
from imprint.runs import dump_json

Row = Mapping[str, Any]
Frames = dict[str, pl.DataFrame]
MODEL = "model"  # folder of the checkpoint in a unit


def may_train(material: Material) -> bool:
    """Tell whether chapters may train: not where a user's own checkpoints are looked at alone."""
    return bool(material.pretraining)


def training(
    material: Material, base: str, name: str, rows: Sequence[Row], settings: SftSettings
) -> Work:
    """Describe the SFT of a base on rows; its checkpoint is in the folder ``MODEL`` of the unit."""
    said = hashlib.sha256(dump_json(list(rows), indent=None).encode()).hexdigest()
    known = {"base": identity(base), "rows": said, "settings": _plain(settings)}
    build = partial(_train, base, list(rows), settings)
    return material.ledger.work(name, known, (), build, code=("imprint.lab.sft",))


def checkpoint(unit: Unit | Work) -> str:
    """Give the folder of the model that a unit trained."""
    return str(unit.path / MODEL)


def tables(
    material: Material,
    name: str,
    settings: Mapping[str, Any],
    measure: Callable[[Path], Frames],
    *,
    models: Sequence[str] = (),
    files: Sequence[Path] = (),
    code: Sequence[str] = (),
) -> tuple[Frames, Path]:
    """Measure tables once, and keep them in a unit.

    Args:
        material: with the ledger.
        name: of the unit.
        settings: what changes the numbers, beside models and files.
        measure: is given a folder, where it may leave files, and gives tables.
        models, files: what is read; their content enters the key.
        code: modules whose source does.

    Returns:
        The tables, and the unit's folder.
    """
    known = {
        **settings,
        "models": [identity(one) for one in models],
        "files": [identity(one) for one in files],
    }
    unit = material.ledger.unit(name, known, (), partial(_measure, measure), code=code)
    kept = sorted((unit.path / "frames").glob("*.parquet"))
    return {path.stem: pl.read_parquet(path) for path in kept}, unit.path


def _train(base: str, rows: list[Row], settings: SftSettings, folder: Path) -> None:
    sft(base, rows, folder / MODEL, settings)


def _measure(measure: Callable[[Path], Frames], folder: Path) -> None:
    frames = measure(folder)
    (folder / "frames").mkdir(exist_ok=True)
    for name, frame in frames.items():
        frame.write_parquet(folder / "frames" / f"{name}.parquet")


def _plain(settings: SftSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in SftSettings.__dataclass_fields__}


def safe(value: object) -> str:
    """Keep letters and digits of a label, for the name of a unit."""
    text = "none" if value is None else str(value)
    return "".join(c if c.isalnum() else "-" for c in text).strip("-") or "none"
