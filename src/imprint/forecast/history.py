"""Which predictor was right before: past forecasts with outcomes, judged on what was held out.

Each past forecast is left out in turn; the predictor that did best on the others is judged on it.
What that procedure reaches is what a user can expect of the predictor chosen from all of them.
Forecasts of the same outcome, as with other seeds, are left out together and count once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from imprint.errors import DataError
from imprint.forecast.evaluation import FEWEST
from imprint.forecast.predicted import Floats
from imprint.forecast.statistics import Integers
from imprint.formats.json_input import load_json, need
from imprint.stats import spearman

LEVEL, ORDERS = 0.05, 199  # of the p of a choice, and what it is counted on
FEWEST_RUNS = 3  # outcomes that an interval over forecasts needs


@dataclass(frozen=True, eq=False)
class Past:
    """One past forecast with its outcome.

    Attributes:
        name: run folder and SFT set.
        domains: [D].
        change: [D] observed.
        scores: predictor → its scores, [D]; NaN where it said nothing.
        signed: predictors that foresee a direction.
    """

    name: str
    domains: tuple[str, ...]
    change: Floats
    scores: dict[str, Floats]
    signed: frozenset[str]

    def directed(self) -> Past:
        """Give what signed predictors said, alone."""
        return replace(self, scores={n: s for n, s in self.scores.items() if n in self.signed})

    def correlation(self, predictor: str) -> float:
        """Spearman's ρ with the change (of an amount with its size); NaN where undefined."""
        if predictor not in self.scores:
            return np.nan
        target = self.change if predictor in self.signed else np.abs(self.change)
        return float(spearman(self.scores[predictor][:, None], target[:, None])[0])


@dataclass(frozen=True)
class Record:
    """What the past says of predictors.

    Attributes:
        table: one row per predictor: forecasts, mean ρ with its interval over forecasts, worst;
            those defined on most forecasts first, and of these the best.
        held_out: one row per past forecast: the predictor that the others chose, and its ρ here.
        best: the first of the table; ``None`` where none was ever defined.
        expected: mean held-out ρ of the choice, with its interval; NaN where it cannot be told.
        p: chance of as high a held-out ρ where outcomes are dealt out among domains; NaN where the
            interval holds 0 anyway.
        validated: the interval of the held-out ρ lies above 0, and p is at most .05.
    """

    table: pl.DataFrame
    held_out: pl.DataFrame
    best: str | None
    expected: tuple[float, float, float]
    p: float
    validated: bool

    @property
    def judged(self) -> int:
        """Past forecasts on which a choice could be held out."""
        return self.held_out["spearman"].count()


def read_history(runs: Sequence[Path]) -> list[Past]:
    """Read past runs of ``imprint forecast`` that were given their outcomes.

    Raises:
        DataError: a folder holds no such run, or its outcomes were not given.
    """
    found = [past for run in runs for past in _read(run)]
    names = [past.name for past in found]
    for name in {name for name in names if names.count(name) > 1}:
        raise DataError("is named twice in --history", where=name)
    return found


def judge(past: Sequence[Past]) -> Record | None:
    """Rank predictors by the past and judge the choice on what was held out."""
    if not past:
        return None
    names = list(dict.fromkeys(name for one in past for name in one.scores))
    R = np.array([[one.correlation(name) for name in names] for one in past])
    outcomes = _outcomes(past)
    rows = [_row(name, R[:, n], outcomes) for n, name in enumerate(names)]
    # by the rule that is held out: one that was defined on a few forecasts alone is not the best
    table = pl.DataFrame(rows, schema=SCHEMA).sort(
        "forecasts", "mean", descending=True, nulls_last=True, maintain_order=True
    )
    held = _held_out(past, names, R, outcomes)
    values = held["spearman"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    expected = mean_interval(_once(values, outcomes))
    # what is left out in turn is not independent, so that the interval alone is too narrow
    p = _chance(past, names, outcomes, expected[0]) if expected[1] > 0 else np.nan
    best = table["predictor"][0] if table["mean"].null_count() < len(table) else None
    return Record(table, held, best, expected, p, bool(expected[1] > 0 and p <= LEVEL))


SCHEMA = {
    "predictor": pl.String,
    "forecasts": pl.Int64,
    "mean": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "worst": pl.Float64,
}


def _outcomes(past: Sequence[Past]) -> Integers:
    """Number of each forecast's outcome; the same changes of the same domains are one."""
    keys = [tuple(sorted(zip(one.domains, one.change.tolist(), strict=True))) for one in past]
    distinct = list(dict.fromkeys(keys))
    return np.array([distinct.index(key) for key in keys], dtype=np.int64)


def _once(values: Floats, outcomes: Integers) -> Floats:
    """Mean of the known values of each outcome, of those that have any."""
    known = np.isfinite(values)
    kept = np.unique(outcomes[known])
    return np.array([values[known & (outcomes == one)].mean() for one in kept])


def _chance(past: Sequence[Past], names: list[str], outcomes: Integers, reached: float) -> float:
    """Permutation p of the held-out mean: the whole choice again on outcomes dealt out anew."""
    chances = np.random.default_rng(0)
    blank = {one.name: np.full(len(one.domains), np.nan) for one in past}
    X = [np.column_stack([one.scores.get(n, blank[one.name]) for n in names]) for one in past]
    signed = [np.array([n in one.signed for n in names]) for one in past]
    at_least = 1
    for _ in range(ORDERS):
        orders: dict[tuple[int, str], float] = {}
        R = np.empty((len(past), len(names)))
        for n, one in enumerate(past):
            for domain in sorted(one.domains):  # the same order for the same outcome
                orders.setdefault((int(outcomes[n]), domain), chances.random())
            by_name = np.argsort(np.array(one.domains), kind="stable")
            keys = [orders[int(outcomes[n]), one.domains[at]] for at in by_name]
            change = np.empty(len(by_name))
            change[by_name] = one.change[by_name][np.argsort(keys)]
            R[n] = spearman(X[n], np.where(signed[n], change[:, None], np.abs(change)[:, None]))
        held = _held_out(past, names, R, outcomes)["spearman"].fill_null(np.nan).to_numpy()
        values = _once(held, outcomes)
        at_least += bool(len(values) and values.mean() >= reached - 1e-12)
    return at_least / (ORDERS + 1)


def _row(name: str, r: Floats, outcomes: Integers) -> dict[str, Any]:
    known = r[np.isfinite(r)]
    interval = mean_interval(_once(r, outcomes))
    mean, low, high = (None if np.isnan(v) else v for v in interval)
    worst = float(known.min()) if len(known) else None
    return {
        "predictor": name,
        "forecasts": len(known),
        "mean": mean,
        "low": low,
        "high": high,
        "worst": worst,
    }


def _best(r: Floats) -> int | None:
    """The column of the highest mean among those that are defined everywhere it counts, [R, P]."""
    known = np.isfinite(r)
    full = known.sum(axis=0) == known.sum(axis=0).max(initial=0)
    if not known.any():
        return None
    means = np.where(known, r, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return int(np.argmax(np.where(full, means, -np.inf)))


def _held_out(
    past: Sequence[Past], names: list[str], R: Floats, outcomes: Integers
) -> pl.DataFrame:
    rows = []
    for n, one in enumerate(past):
        chosen = _best(R[outcomes != outcomes[n]])
        r = np.nan if chosen is None else R[n, chosen]
        rows.append(
            {
                "forecast": one.name,
                "domains": len(one.domains),
                "chosen": None if chosen is None else names[chosen],
                "spearman": None if np.isnan(r) else float(r),
            }
        )
    schema = {
        "forecast": pl.String,
        "domains": pl.Int64,
        "chosen": pl.String,
        "spearman": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema)


def mean_interval(values: Floats) -> tuple[float, float, float]:
    """Mean and its 95 % interval by Student's t over forecasts, cut to [−1, 1]."""
    n = len(values)
    if not n:
        return np.nan, np.nan, np.nan
    mean = float(values.mean())
    if n < FEWEST_RUNS:
        return mean, np.nan, np.nan
    from scipy.special import stdtrit

    reach = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n))
    return mean, max(mean - reach, -1.0), min(mean + reach, 1.0)


def _read(run: Path) -> list[Past]:
    path = run / "result.json"
    if not path.is_file():
        raise DataError(
            "holds no result.json",
            where=str(run),
            remedy="--history names run folders of imprint forecast.",
        )
    data = load_json(path)
    if not isinstance(data, dict) or data.get("job") != "forecast":
        raise DataError("is no result of imprint forecast", where=str(path))
    found = [_past(one, run, str(path)) for one in need(data, "sets", list, str(path))]
    known = [past for past in found if past is not None]
    if not known:
        raise DataError(
            "the run was given no outcomes for as many as four domains",
            where=str(path),
            remedy="run it again with --observed, then name it in --history.",
        )
    return known


def _past(one: dict[str, Any], run: Path, where: str) -> Past | None:
    rows = [row for row in need(one, "domains", list, where) if row.get("observed") is not None]
    if len(rows) < FEWEST:
        return None
    names = list(
        dict.fromkeys(name for row in rows for name in need(row, "predictors", dict, where))
    )
    scores = {name: np.array([_score(row, name) for row in rows]) for name in names}
    signed = {
        name for row in rows for name, said in row["predictors"].items() if said.get("signed")
    }
    change = np.array([float(need(row, "observed", (int, float), where)) for row in rows])
    domains = tuple(str(row["domain"]) for row in rows)
    return Past(f"{run}: {one.get('sft')}", domains, change, scores, frozenset(signed))


def _score(row: dict[str, Any], name: str) -> float:
    value = row["predictors"].get(name, {}).get("score")
    return float(value) if isinstance(value, int | float) else np.nan
