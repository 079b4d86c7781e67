"""How well predictors order domains by what changed, over all SFT sets together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from imprint.stats import benjamini_hochberg, percentile_interval, spearman

Floats = npt.NDArray[np.float64]
FEWEST = 4  # domains that a correlation needs
ORDERS = 999  # random orders of the permutation
MEASURES = ("logprob", "accuracy")


@dataclass(frozen=True, eq=False)
class Pooled:
    """Predictors by their mean Spearman correlation over SFT sets.

    Attributes:
        table: a row per measure and predictor: ``rho`` (mean over sets), ``low``, ``high``,
            ``worst`` (lowest of a set), ``p``, ``p_adjusted``, ``sets``, ``domains``.
        draws: measure → predictor → bootstrap draws of ``rho``, [resamples].
    """

    table: pl.DataFrame
    draws: dict[str, dict[str, Floats]]

    def gap(self, measure: str, one: str, other: str) -> tuple[float, float, float] | None:
        """Compare two predictors on the same draws of domains: difference and 95 % interval."""
        held = self.draws.get(measure, {})
        if one not in held or other not in held:
            return None
        rows = self.table.filter(measure=measure)
        rho = dict(rows.select("predictor", "rho").iter_rows())
        if rho[one] is None or rho[other] is None:
            return None
        low, high = percentile_interval(held[one] - held[other])
        return rho[one] - rho[other], float(low), float(high)


def pooled(
    seen: pl.DataFrame, said: Mapping[str, pl.DataFrame], resamples: int, seed: int
) -> Pooled:
    """Judge every predictor on all sets.

    Predictors of a direction are held against the change, others against its size. The interval
    draws domains anew, the same in all sets; p deals the changes out anew among domains, the same
    in all sets, so that sets that change alike do not count twice. p is two-sided and adjusted over
    the predictors of a measure (Benjamini–Hochberg). Predictors that were told the outcomes of
    other sets are judged by the log-probability alone, which they were told.

    Args:
        seen: changes by ``sft`` and ``domain``.
        said: tables ``predictors`` and ``titles`` of a forecast.
        resamples, seed: of the draws.
    """
    titles = {row["predictor"]: row for row in said["titles"].iter_rows(named=True)}
    domains = seen["domain"].unique(maintain_order=True).to_list()
    rows: list[dict[str, Any]] = []
    draws: dict[str, dict[str, Floats]] = {}
    for measure in MEASURES:
        names = [n for n, t in titles.items() if measure == "logprob" or t["family"] != "history"]
        pairs = _pairs(seen, said["predictors"], titles, names, domains, measure)
        found, draws[measure] = _judged(pairs, names, resamples, seed)
        rows += [{"measure": measure, **_about(titles[row["predictor"]]), **row} for row in found]
    table = pl.DataFrame(rows, infer_schema_length=None).fill_nan(None)
    by = ["measure", "rho"]
    table = table.sort(by, descending=[False, True], nulls_last=True, maintain_order=True)
    return Pooled(table, draws)


def _about(title: Mapping[str, Any]) -> dict[str, Any]:
    return {"family": title["family"], "signed": title["signed"], "title": title["title"]}


def _pairs(
    seen: pl.DataFrame,
    said: pl.DataFrame,
    titles: Mapping[str, Mapping[str, Any]],
    names: list[str],
    domains: list[str],
    measure: str,
) -> list[tuple[Floats, Floats]]:
    """Give scores [D, P] and their targets [D, P] for each set, NaN where unknown."""
    signed = np.array([bool(titles[name]["signed"]) for name in names])
    found = []
    for sft in seen["sft"].unique(maintain_order=True):
        change = dict(seen.filter(sft=sft).select("domain", measure).iter_rows())
        y = np.array([change.get(domain, np.nan) for domain in domains], dtype=np.float64)
        own = said.filter(sft=sft).select("predictor", "domain", "score").iter_rows()
        score = {(p, d): np.nan if s is None else s for p, d, s in own}
        x = np.array([[score.get((n, d), np.nan) for n in names] for d in domains], np.float64)
        found.append((x, np.where(signed, y[:, None], np.abs(y)[:, None])))
    return found


def _judged(
    pairs: list[tuple[Floats, Floats]], names: list[str], resamples: int, seed: int
) -> tuple[list[dict[str, Any]], dict[str, Floats]]:
    each = np.stack([spearman(x, y) for x, y in pairs])
    rho, count = _mean(each), len(pairs[0][0])
    chances = np.random.default_rng([seed, 4])
    drawn = np.stack(
        [_rho(pairs, at, at) for at in chances.integers(count, size=(resamples, count))]
    )
    same = np.arange(count)
    null = np.stack([_rho(pairs, same, chances.permutation(count)) for _ in range(ORDERS)])
    with np.errstate(invalid="ignore"):
        at_least = (np.abs(null) >= np.abs(rho) - 1e-12).sum(axis=0)
    p = np.where(np.isfinite(rho), (at_least + 1) / (ORDERS + 1), np.nan)
    low, high = percentile_interval(drawn)
    adjusted = benjamini_hochberg(p)
    rows = [
        {
            "predictor": name,
            "rho": rho[n],
            "low": low[n],
            "high": high[n],
            "worst": np.nanmin(each[:, n]) if np.isfinite(each[:, n]).any() else np.nan,
            "p": p[n],
            "p_adjusted": adjusted[n],
            "sets": int(np.isfinite(each[:, n]).sum()),
            "domains": count,
        }
        for n, name in enumerate(names)
    ]
    return rows, {name: drawn[:, n] for n, name in enumerate(names)}


def _rho(pairs: list[tuple[Floats, Floats]], xs: Any, ys: Any) -> Floats:
    return _mean(np.stack([spearman(x[xs], y[ys]) for x, y in pairs]))


def _mean(each: Floats) -> Floats:
    """Mean over sets of those that are defined, [P]."""
    known = np.isfinite(each)
    with np.errstate(invalid="ignore"):
        found: Floats = np.where(known, each, 0.0).sum(axis=0) / known.sum(axis=0)
    return found
