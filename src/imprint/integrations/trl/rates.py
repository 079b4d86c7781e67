"""Pass rates measured before training, for the prompts of a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from imprint.errors import DataError

Floats = npt.NDArray[np.float64]
NEEDED = ("pass_rate", "n")


def measured_rates(dataset: Any, plan: str | Path | None) -> tuple[Floats, Floats] | None:
    """Find the pass rates of a data set's prompts.

    Args:
        dataset: with ``pass_rate`` and ``n`` of its own, or with ``id`` or ``prompt`` as the plan
            has them.
        plan: folder of a plan, or its ``pool.jsonl``.

    Returns:
        Rates and the rollouts behind them, each [N], NaN for prompts that the plan does not hold;
        none where nothing was measured.

    Raises:
        DataError: the plan cannot be read, or holds none of the prompts.
    """
    if plan is not None:
        return _planned(dataset, Path(plan))
    if "pass_rate" not in dataset.column_names:
        return None
    if "n" not in dataset.column_names:
        raise DataError(
            "the data set has pass_rate and no n, so nobody knows how sure the rates are",
            remedy="add n, the number of rollouts behind each rate.",
        )
    return _floats(dataset["pass_rate"]), _floats(dataset["n"])


def _planned(dataset: Any, plan: Path) -> tuple[Floats, Floats]:
    path = plan / "pool.jsonl" if plan.is_dir() else plan
    rows = _rows(path)
    by = "id" if "id" in dataset.column_names and "id" in rows.columns else "prompt"
    if by not in rows.columns:
        raise DataError(f"the file has no column {by!r}", where=str(path))
    known = {_key(key): (rate, n) for key, rate, n in rows.select(by, *NEEDED).iter_rows()}
    found = [known.get(_key(key), (None, None)) for key in dataset[by]]
    if not any(rate is not None for rate, _ in found):
        raise DataError(
            f"none of the {len(found)} prompts has a pass rate there (looked up by {by})",
            where=str(path),
            remedy="give the plan that was made on this data.",
        )
    return _floats([rate for rate, _ in found]), _floats([n for _, n in found])


def _rows(path: Path) -> pl.DataFrame:
    try:
        rows = pl.read_ndjson(path, infer_schema_length=None)
    except (OSError, pl.exceptions.PolarsError) as failed:
        raise DataError(
            f"the plan cannot be read: {failed}",
            where=str(path),
            remedy="name the folder that imprint plan wrote.",
        ) from failed
    missing = [name for name in NEEDED if name not in rows.columns]
    if missing:
        raise DataError(f"the file has no column {missing[0]!r}", where=str(path))
    return rows


def _key(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _floats(column: Any) -> Floats:
    return np.array([np.nan if one is None else one for one in column], dtype=np.float64)
