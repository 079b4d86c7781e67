"""The content of ``result.json``."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from imprint.forecast.history import Record
from imprint.forecast.inputs import Inputs
from imprint.forecast.judged import Judged

Json = dict[str, Any]
OF_A_DOMAIN = ("score", "low", "high", "null", "excess", "rank", "direction")
OF_A_PREDICTOR = (
    "score", "low", "high", "null", "excess", "excess_low", "excess_high", "rank", "rank_low",
    "rank_high", "top", "signed", "direction", "family",
)  # fmt: skip


def as_json(
    inputs: Inputs,
    judged: Sequence[Judged],
    tables: dict[str, pl.DataFrame],
    words: str,
    record: Record | None,
) -> Json:
    """Give the whole, the keys of the first SFT set at the top and those of each in ``sets``."""
    entries = [_entry(one, tables) for one in judged]
    return {
        "job": "forecast",
        "format": 1,
        "imprint": importlib.metadata.version("imprint"),
        "headline": words,
        "model": str(inputs.base.reference),
        "sae": inputs.sources.sae,
        "shift": inputs.config.shift,
        "top": inputs.top,
        "prompts": inputs.prompter.columns,
        "seed": inputs.config.seed,
        **entries[0],
        "sets": entries,
        "fit": tables["fit"].to_dicts()[0] if "fit" in tables else None,
        "history": None if record is None else _history(record),
        "mixture": tables["mixture"].to_dicts() if "mixture" in tables else [],
        "findings": tables["findings"].select("level", "check", "detail").to_dicts(),
    }


def _history(record: Record) -> Json:
    mean, low, high = (None if np.isnan(v) else v for v in record.expected)
    return {
        "best": record.best,
        "validated": record.validated,
        "held_out": {"mean": mean, "low": low, "high": high, "forecasts": len(record.held_out)},
        "predictors": record.table.to_dicts(),
    }


def _entry(one: Judged, tables: dict[str, pl.DataFrame]) -> Json:
    own = {
        name: frame.filter(sft=one.found.sft).drop("sft")
        for name, frame in tables.items()
        if "sft" in frame.columns and name != "sets"
    }
    said = {
        key[0]: {
            row["predictor"]: {name: row[name] for name in OF_A_PREDICTOR}
            for row in part.iter_rows(named=True)
        }
        for key, part in one.table.partition_by("domain", maintain_order=True, as_dict=True).items()
    }
    domains = [
        {
            "domain": row["domain"],
            **{name: row[name] for name in OF_A_DOMAIN},
            "direction_by": row["direction_by"],
            "observed": row["observed"],
            "observed_se": row["observed_se"],
            "predictors": said[row["domain"]],
        }
        for row in one.forecast.iter_rows(named=True)
    ]
    return {
        "sft": one.found.sft,
        "score": one.choice.name,
        "direction": None
        if one.direction is None
        else {"by": one.direction.name, "why": one.direction.why},
        "domains": domains,
        "shifted": _shifted(own),
        "evaluation": own["evaluation"].to_dicts() if len(own.get("evaluation", ())) else None,
    }


def _shifted(own: dict[str, pl.DataFrame]) -> Json | None:
    if "shifted" not in own:
        return None
    overlap = own["overlap"].to_dicts() if "overlap" in own else []
    return {"latents": own["shifted"].to_dicts(), "overlap": overlap}
