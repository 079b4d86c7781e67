"""What predictors said, as frames that a run keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from imprint.findings import Finding
from imprint.forecast.predicted import Floats, Predicted

PREDICTED: dict[str, pl.DataType] = {
    "name": pl.String(),
    "title": pl.String(),
    "signed": pl.Boolean(),
    "family": pl.String(),
    "note": pl.String(),
    "relative": pl.Boolean(),
    "draws": pl.Int64(),
    "values": pl.List(pl.Float64()),
    "null_draws": pl.Int64(),
    "null": pl.List(pl.Float64()),
}
FINDINGS = pl.Schema(
    {"level": pl.String, "check": pl.String, "detail": pl.String, "count": pl.Int64}
)


def to_frame(predicted: Sequence[Predicted]) -> pl.DataFrame:
    """Write predictors, a row each; values are flat, draw after draw."""
    rows = [
        {
            "name": one.name,
            "title": one.title,
            "signed": one.signed,
            "family": one.family,
            "note": one.note,
            "relative": one.relative,
            "draws": len(one.values),
            "values": one.values.ravel().tolist(),
            "null_draws": 0 if one.null is None else len(one.null),
            "null": None if one.null is None else one.null.ravel().tolist(),
        }
        for one in predicted
    ]
    return pl.DataFrame(rows, schema=PREDICTED)


def from_frame(frame: pl.DataFrame) -> list[Predicted]:
    """Read what `to_frame` wrote."""
    return [
        Predicted(
            row["name"],
            row["title"],
            _table(row["values"], row["draws"]),
            row["signed"],
            None if row["null"] is None else _table(row["null"], row["null_draws"]),
            row["family"],
            row["note"],
            row["relative"],
        )
        for row in frame.iter_rows(named=True)
    ]


def findings_frame(findings: Sequence[Finding]) -> pl.DataFrame:
    """Write findings, a row each."""
    rows = [
        {"level": f.level, "check": f.check, "detail": f.detail, "count": f.count} for f in findings
    ]
    return pl.DataFrame(rows, schema=FINDINGS)


def findings_from(frame: pl.DataFrame) -> list[Finding]:
    """Read what `findings_frame` wrote."""
    return [
        Finding(row["check"], row["detail"], row["level"], row["count"])
        for row in frame.iter_rows(named=True)
    ]


def _table(values: list[float], draws: int) -> Floats:
    return np.array(values, dtype=np.float64).reshape(draws, -1)
