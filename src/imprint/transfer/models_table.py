"""The models table names the runs that evaluation tools left behind."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import polars as pl

from imprint.errors import DataError, nearest
from imprint.findings import Finding
from imprint.formats.evaluation_run import EvaluationRun
from imprint.formats.models_table import load_models

__all__ = ["draft", "label_runs", "load_models"]


def label_runs(
    runs: list[EvaluationRun], models: pl.DataFrame, path: Path
) -> tuple[list[dict[str, Any] | None], list[Finding]]:
    """Find each run's row, by the folder or file it lies in, else by its model reference.

    Returns:
        Per run the columns to add, ``None`` where the table does not name it; and what was left
        out.

    Raises:
        DataError: no run is named by the table.
    """
    rows = models.to_dicts()
    labels = [_row_of(run, rows, path.parent) for run in runs]
    missing = [run for run, label in zip(runs, labels, strict=True) if label is None]
    if len(missing) == len(runs):
        known = sorted({run.model for run in runs})
        raise DataError(
            f"the models table names none of the {len(runs)} runs found; "
            + nearest(str(rows[0]["model"]), known),
            where=str(path),
            remedy="`model` is a model reference or the path of a result folder or file.",
        )
    findings = []
    if missing:
        detail = f"{len(missing)} runs are not in {path} and were left out: " + ", ".join(
            sorted({run.model for run in missing})[:5]
        )
        findings.append(Finding("unlabelled_runs", detail, "warn", len(missing)))
    kept = [
        None if row is None else {k: v for k, v in row.items() if k != "model"} for row in labels
    ]
    return kept, findings


def draft(runs: list[EvaluationRun]) -> str:
    """Write a models table to fill in."""
    twice = {run.model for run in runs if sum(r.model == run.model for r in runs) > 1}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "unit", "stage", "scale", "parameters", "cluster"])
    for run in runs:
        name = str(run.source) if run.model in twice else run.model
        writer.writerow([name, "", "", "", "", ""])
    return text.getvalue()


def _row_of(run: EvaluationRun, rows: list[dict[str, Any]], folder: Path) -> dict[str, Any] | None:
    source = run.source.resolve()
    best: tuple[int, dict[str, Any]] | None = None
    for row in rows:
        for path in (Path(row["model"]), folder / row["model"]):
            if path.exists() and source.is_relative_to(path.resolve()):
                depth = len(path.resolve().parts)
                if best is None or depth > best[0]:
                    best = (depth, row)
    if best is not None:
        return best[1]
    return next((row for row in rows if row["model"] == run.model), None)
