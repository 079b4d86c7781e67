"""Scores beside chance, and calibration beside its null."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from scipy.stats import binomtest

from imprint.evaluation.pass_at_k import wilson
from imprint.evaluation.subjects import LABELS
from imprint.report import State, Verdict
from imprint.stats import benjamini_hochberg, calibrated_ece, expected_calibration_error

Z = 1.959964  # of a 95 % interval
BINS = 15
ENOUGH = 10 * BINS  # items; fewer than ten per bin make calibration error mostly noise
DRAWS = 1000
LEVEL = 0.05
SHOWN = ("unit", "scale", "stage", "replicate", "step")
CALIBRATION: dict[str, pl.DataType] = {
    "ece": pl.Float64(),
    "null_mean": pl.Float64(),
    "null_high": pl.Float64(),
    "p": pl.Float64(),
    "bins": pl.Int64(),
    "items": pl.Int64(),
    "reason": pl.String(),
}


def judged(items: pl.DataFrame, scores: pl.DataFrame) -> tuple[pl.DataFrame, list[Verdict]]:
    """Put intervals and a test against chance beside each score.

    Accuracy has Wilson's 95 % interval, mean confidence a normal one. The test is an exact binomial
    one against the mean chance level, two-sided, its p-values corrected over all rows
    (Benjamini–Hochberg).

    Returns:
        One row per score with ``state``: ``holds`` where accuracy is above chance,
        ``does_not_hold`` where it is below, else ``undetermined``; and the verdicts.
    """
    rows = [_row(row) for row in scores.iter_rows(named=True)]
    p = np.array([np.nan if row["p"] is None else row["p"] for row in rows], dtype=np.float64)
    q = benjamini_hochberg(p)
    verdicts = []
    for row, adjusted in zip(rows, q, strict=True):
        row["q"] = None if np.isnan(adjusted) else float(adjusted)
        row["state"] = _state(row)
        if row["chance"] is not None and row["accuracy_low"] is not None:
            verdicts.append(_verdict(row))
    frame = pl.DataFrame(rows, infer_schema_length=None)
    keep = [c for c in LABELS if c in scores.columns]
    typed = [pl.col(c).cast(scores.schema[c]) for c in keep]
    return frame.with_columns(typed), verdicts


def _row(row: dict[str, Any]) -> dict[str, Any]:
    n = row["items"]
    right = round(row["accuracy"] * n)
    whole = abs(row["accuracy"] * n - right) < 1e-6
    low, high = wilson(right, n).tolist() if whole else (None, None)
    confidence: Any = row.get("confidence")
    se = row.get("confidence_se")
    spread = None if confidence is None or se is None else Z * se
    chance = row.get("chance")
    p = None
    if whole and chance is not None and 0 < chance < 1:
        p = float(binomtest(right, n, chance).pvalue)
    return {
        **{name: row.get(name) for name in LABELS},
        "benchmark": row["benchmark"],
        "metric": row.get("metric"),
        "items": n,
        "choices": row.get("choices"),
        "chance": chance,
        "accuracy": row["accuracy"],
        "accuracy_low": low,
        "accuracy_high": high,
        "confidence": confidence,
        "confidence_low": None if spread is None else max(0.0, confidence - spread),
        "confidence_high": None if spread is None else min(1.0, confidence + spread),
        "cut_items": row.get("cut_items"),
        "shots": row.get("shots"),
        "chat_template": row.get("chat_template"),
        "p": p,
    }


def _state(row: dict[str, Any]) -> State:
    if row["q"] is None or row["q"] >= LEVEL or row["accuracy"] == row["chance"]:
        return "undetermined"
    return "holds" if row["accuracy"] > row["chance"] else "does_not_hold"


def _verdict(row: dict[str, Any]) -> Verdict:
    name = " ".join(str(row[key]) for key in SHOWN if row.get(key) is not None)
    text = f"{name} is above chance on {row['benchmark']}."
    detail = (
        f"{row['accuracy']:.3f} [{row['accuracy_low']:.3f}, {row['accuracy_high']:.3f}] of "
        f"{row['items']:,} items, chance {row['chance']:.3f}"
    )
    if row["state"] == "undetermined":
        needed = _needed(row["accuracy"], row["chance"])
        detail += f"; about {needed:,} items would tell" if needed else ""
    return Verdict(text, row["state"], detail + ".")


def _needed(accuracy: float, chance: float) -> int | None:
    """Give how many items would show this difference in four of five cases (normal, two-sided)."""
    gap = abs(accuracy - chance)
    if gap < 1e-9:
        return None
    spread = Z * (chance * (1 - chance)) ** 0.5 + 0.8416 * (accuracy * (1 - accuracy)) ** 0.5
    found = (spread / gap) ** 2
    return int(np.ceil(found)) if found < 1e9 else None


def calibration(items: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Compare confidence with accuracy, per model and benchmark.

    Returns:
        One row per model and benchmark: ``ece`` (15 bins of equal mass), and what chance gives
        where answers are right with exactly their confidence: ``null_mean``, ``null_high`` (95 %)
        and ``p``. With fewer than 150 items they are null, and ``reason`` says so.
    """
    labels = [name for name in (*LABELS, "benchmark") if name in items.columns]
    rows = []
    for key, part in items.group_by(labels, maintain_order=True):
        known = part.drop_nulls(["confidence", "correct"])
        if known.is_empty():
            continue  # nothing to choose from
        found = dict(zip(labels, key, strict=True))
        rows.append({**found, **_calibrated(known, seed)})
    types = {name: items.schema[name] for name in labels}
    return pl.DataFrame(rows, schema={**types, **CALIBRATION})


def _calibrated(part: pl.DataFrame, seed: int) -> dict[str, Any]:
    n = len(part)
    if n < ENOUGH:
        told = f"{n} items are fewer than {ENOUGH}, ten for each of {BINS} bins"
        return {"items": n, "bins": BINS, "reason": told}
    confidence, correct = part["confidence"].to_numpy(), part["correct"].to_numpy()
    ece = expected_calibration_error(confidence, correct, BINS)
    null = calibrated_ece(confidence, DRAWS, seed, BINS)
    return {
        "ece": ece,
        "null_mean": float(null.mean()),
        "null_high": float(np.quantile(null, 0.95)),
        "p": float((1 + np.sum(null >= ece)) / (1 + DRAWS)),
        "bins": BINS,
        "items": n,
    }
