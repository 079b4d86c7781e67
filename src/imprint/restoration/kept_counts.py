"""Counts of changes as tables without zeros, so that a run that was cut short goes on with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import polars as pl

from imprint.restoration.concentration import Counted, Part, Profile, Tally
from imprint.restoration.histogram import Histogram
from imprint.restoration.kept import Tables, Unit

WHERE = {"tuned": pl.Int64, "histogram": pl.Int64}
COARSE = {**WHERE, "bin": pl.Int64, "count": pl.Int64, "low": pl.Int64, "weight": pl.Float64}
FINE = {**WHERE, "place": pl.Int64, "count": pl.Int64, "weight": pl.Float64}
SUMS = {
    **dict.fromkeys(("unchanged", "within"), pl.Int64),
    **dict.fromkeys(("base_squares", "relative", "absolute", "squares"), pl.Float64),
}
TENSORS = {"tuned": pl.Int64, "tensor": pl.String, "parameters": pl.Int64, **SUMS}
PARTS = {"tuned": pl.Int64, "part": pl.Int64, "parameters": pl.Int64}
NUMBERS = pl.List(pl.Float64)
PROFILES = {
    "tuned": pl.Int64,
    "part": pl.Int64,
    "bin": pl.Int64,
    "above": pl.Int64,
    "keys": NUMBERS,
    "counts": NUMBERS,
}
PRODUCTS = {"tuned": pl.Int64, "products": NUMBERS}


def kept_counts(
    unit: Unit | None, name: str, empty: Callable[[], Counted], find: Callable[[], Counted]
) -> Counted:
    """Count, or take the counts that an earlier run kept; both are equal bit by bit.

    Args:
        unit: as `imprint.runs.Run.unit`; without one nothing is kept.
        name: of the unit.
        empty: gives counts of nothing, with the windows of those to be found.
        find: counts.
    """
    if unit is None:
        return find()
    return filled(empty(), unit(name, lambda: tables(find())))


def tables(found: Counted) -> Tables:
    """Write counts as frames: what is not zero, and the rows of tensors and groups."""
    each = list(enumerate(found.tallies))
    return {
        "coarse": _stacked(COARSE, (_coarse(*at) for at in _histograms(found))),
        "fine": _stacked(FINE, (_fine(*at) for at in _histograms(found))),
        "tensors": _frame(TENSORS, ({"tuned": n, **row} for n, t in each for row in t.tensors)),
        "parts": _frame(PARTS, (row for n, t in each for row in _parts(n, t))),
        "profiles": _frame(PROFILES, (row for n, t in each for row in _profiles(n, t))),
        "products": _frame(
            PRODUCTS, ({"tuned": n, "products": row} for n, row in enumerate(found.products))
        ),
    }


def filled(empty: Counted, kept: Tables) -> Counted:
    """Read counts from frames into counts of nothing, which are changed and given back."""
    for tuned, number, histogram in _histograms(empty):
        _fill(histogram, _of(kept["coarse"], tuned, number), _of(kept["fine"], tuned, number))
    for tuned, tally in enumerate(empty.tallies):
        rows = {key: frame.filter(pl.col("tuned") == tuned) for key, frame in kept.items()}
        tally.tensors += rows["tensors"].drop("tuned").to_dicts()
        tally.parts += _read_parts(rows["parts"], rows["profiles"])
        empty.products[tuned] = rows["products"]["products"][0].to_numpy()
    return empty


def _histograms(found: Counted) -> Iterator[tuple[int, int, Histogram]]:
    for tuned, tally in enumerate(found.tallies):
        every = (tally.relative, tally.absolute, *tally.permuted)
        yield from ((tuned, number, histogram) for number, histogram in enumerate(every))


def _coarse(tuned: int, number: int, histogram: Histogram) -> pl.DataFrame:
    bins = np.flatnonzero(histogram.count)
    weight = histogram.weight[bins] if histogram.weighted else np.zeros(len(bins))
    found = pl.DataFrame(
        {"bin": bins, "count": histogram.count[bins], "low": histogram.low[bins], "weight": weight}
    )
    return _placed(found, tuned, number)


def _fine(tuned: int, number: int, histogram: Histogram) -> pl.DataFrame:
    _, _, counts, *weights = histogram.fine.arrays
    places = np.flatnonzero(counts)
    weight = weights[0][places] if weights else np.zeros(len(places))
    found = pl.DataFrame({"place": places, "count": counts[places], "weight": weight})
    return _placed(found, tuned, number)


def _placed(found: pl.DataFrame, tuned: int, number: int) -> pl.DataFrame:
    where = (pl.lit(tuned, pl.Int64).alias("tuned"), pl.lit(number, pl.Int64).alias("histogram"))
    return found.select(*where, pl.all())


def _fill(histogram: Histogram, coarse: pl.DataFrame, fine: pl.DataFrame) -> None:
    bins = coarse["bin"].to_numpy()
    histogram.count[bins] = coarse["count"].to_numpy()
    histogram.low[bins] = coarse["low"].to_numpy()
    if histogram.weighted:
        histogram.weight[bins] = coarse["weight"].to_numpy()
    _, _, counts, *weights = histogram.fine.arrays
    places = fine["place"].to_numpy()
    counts[places] = fine["count"].to_numpy()
    for weight in weights:
        weight[places] = fine["weight"].to_numpy()


def _of(frame: pl.DataFrame, tuned: int, number: int) -> pl.DataFrame:
    return frame.filter(pl.col("tuned") == tuned, pl.col("histogram") == number)


def _parts(tuned: int, tally: Tally) -> Iterator[dict[str, Any]]:
    for at, part in enumerate(tally.parts):
        yield {"tuned": tuned, "part": at, "parameters": part.parameters}


def _profiles(tuned: int, tally: Tally) -> Iterator[dict[str, Any]]:
    for at, part in enumerate(tally.parts):
        for coarse, profile in part.profiles.items():
            yield {
                "tuned": tuned,
                "part": at,
                "bin": coarse,
                "above": profile.above,
                "keys": profile.keys,
                "counts": profile.counts,
            }


def _read_parts(parts: pl.DataFrame, profiles: pl.DataFrame) -> list[Part]:
    found = [Part(parameters, {}) for parameters in parts["parameters"].to_list()]
    for at, row in enumerate(profiles.select("part", "bin", "above").to_dicts()):
        keys, counts = (profiles[name][at].to_numpy() for name in ("keys", "counts"))
        found[row["part"]].profiles[row["bin"]] = Profile(row["above"], keys, counts)
    return found


def _stacked(schema: dict[str, Any], frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=schema), *frames])


def _frame(schema: dict[str, Any], rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=schema)
