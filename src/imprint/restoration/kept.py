"""The analysis of a restoration as tables, so that a run that was cut short need not repeat it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from imprint.restoration.histogram import Order
from imprint.restoration.mask import Cut
from imprint.restoration.selection import Threshold

if TYPE_CHECKING:
    import polars as pl

Tables = dict[str, "pl.DataFrame"]
Unit = Callable[[str, Callable[[], Tables]], Tables]  # name, work → tables; as `Run.unit`
Cuts = list[dict[str, Cut]]
Weights = list[dict[str, float]]


def kept_cuts(
    unit: Unit | None, ratios: Sequence[float], order: Order, find: Callable[[], Cuts]
) -> Cuts:
    """Find cuts, or take those that an earlier run found."""
    if unit is None:
        return find()
    found: Cuts = [{} for _ in ratios]
    for row in unit("cuts", lambda: {"cuts": _frame(_cut_rows(find()))})["cuts"].to_dicts():
        at, group, end = row.pop("at"), row.pop("group"), (row.pop("part"), row.pop("index"))
        found[at][group] = Cut(Threshold(**row), order, end)
    return found


def kept_weights(unit: Unit | None, count: int, find: Callable[[], Weights]) -> Weights:
    """Find weights of interpolation, or take those that an earlier run found."""
    if unit is None:
        return find()
    found: Weights = [{} for _ in range(count)]
    tables = unit("weights", lambda: {"weights": _frame(_weight_rows(find()))})
    for row in tables["weights"].to_dicts():
        found[row["at"]][row["group"]] = row["weight"]
    return found


def _cut_rows(found: Cuts) -> list[dict[str, Any]]:
    return [
        {
            "at": at,
            "group": group,
            **{field: getattr(cut.threshold, field) for field in Threshold.__slots__},
            "part": cut.end[0],
            "index": cut.end[1],
        }
        for at, cuts in enumerate(found)
        for group, cut in cuts.items()
    ]


def _weight_rows(found: Weights) -> list[dict[str, Any]]:
    return [
        {"at": at, "group": group, "weight": weight}
        for at, weights in enumerate(found)
        for group, weight in weights.items()
    ]


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(rows, infer_schema_length=None)
