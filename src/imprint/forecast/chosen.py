"""The shifted latents: how many agree over draws, and how many the null finds too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl

from imprint.forecast.contexts import ALL
from imprint.forecast.meter import NULLS, Meter
from imprint.forecast.setting import Setting
from imprint.forecast.statistics import Floats, Integers, matched, overlap, top

TENTH = 10  # of a dictionary's latents at most one in so many counts as shifted


@dataclass(frozen=True, eq=False)
class Chosen:
    """Shifted latents of one dictionary.

    Attributes:
        meter: what was measured.
        latents: N of them over all draws, the strongest first.
        draws: those of each draw.
        nulls: null → those of each of its draws.
        controls: ``random``, ``density`` (firing as often), ``variance`` → latents of each draw.
    """

    meter: Meter
    latents: Integers
    draws: list[Integers]
    nulls: dict[str, list[Integers]]
    controls: dict[str, list[Integers]]

    @property
    def null(self) -> list[Integers]:
        """The latents of each draw under the first null; none where it was not measured."""
        return next(iter(self.nulls.values()), [])

    @property
    def union(self) -> Integers:
        """All latents that any score needs, in order."""
        sets = [self.latents, *self.draws, *self.null]
        sets += [one for many in self.controls.values() for one in many]
        return np.unique(np.concatenate(sets))

    def table(self) -> pl.DataFrame:
        """Table ``shifted``: a row per latent, the strongest first.

        ``shift`` is the mean squared change, ``mean`` the signed one, ``share`` its part of the
        mean squared changes of all latents; ``stability`` and ``null`` are the shares of draws, and
        of the null's draws, in which the latent is among the first.
        """
        found, at = self.meter.paired(("shift", ALL)), self.latents
        total = float(found.mean_square.sum()) or 1.0
        return pl.DataFrame(
            {
                "rank": np.arange(1, len(at) + 1),
                "latent": at,
                "shift": found.mean_square[at],
                "mean": found.mean[at],
                "t": found.t[at],
                "share": found.mean_square[at] / total,
                "stability": _rate(at, self.draws),
                "null": _rate(at, self.null),
                "fires": self.meter.activity.rates[at],
            }
        )

    def overlaps(self) -> pl.DataFrame:
        """Table ``overlap``: how many latents a null finds too, a row per null.

        ``stability`` is the mean overlap between two draws, ``expected`` that of latents drawn at
        random, ``share`` the part of all change that the shifted latents have, ``residual`` the
        part of the activations' shift that the dictionary does not express.
        """
        found, n = self.meter.paired(("shift", ALL)), len(self.latents)
        total = float(found.mean_square.sum()) or 1.0
        rows = []
        for name, sets in self.nulls.items():
            both = [overlap(a, b) for a, b in zip(self.draws, sets, strict=False)]
            rows.append(
                {
                    "null": NULLS.get(name, name),
                    "overlap": float(np.mean(both)),
                    "lowest": min(both),
                    "highest": max(both),
                    "latents": n,
                    "expected": n * n / self.meter.sae.latents,
                    "stability": _agreement(self.draws),
                    "share": float(found.mean_square[self.latents].sum()) / total,
                    "residual": self.meter.residual,
                }
            )
        return pl.DataFrame(
            rows, schema_overrides={"residual": pl.Float64, "stability": pl.Float64}
        )


def choose(setting: Setting, meter: Meter, latents: int) -> Chosen:
    """Take the strongest latents of each draw, and latents to compare them with.

    Args:
        setting: seeds draws.
        meter: what was measured.
        latents: N; of a small dictionary at most a tenth.
    """
    n = min(latents, max(1, meter.sae.latents // TENTH))

    def first(kind: str, draw: int) -> Integers:
        return top(meter.paired((kind, draw)).strength(meter.statistic), n)

    draws = [first("shift", draw) for draw in meter.draws("shift")]
    nulls = {name: [first(name, draw) for draw in meter.draws(name)] for name in meter.nulls}
    rates, variances = meter.activity.rates, meter.activity.variances
    alive = np.flatnonzero(variances > 0)
    controls: dict[str, list[Integers]] = {"random": [], "density": [], "variance": []}
    for draw, found in enumerate(draws):
        chances = setting.chances(9, draw)
        many = chances.permutation(np.setdiff1d(alive, found))[: len(found)]
        controls["random"].append(np.sort(many))
        controls["density"].append(_like(found, rates, chances))
        controls["variance"].append(_like(found, variances, chances))
    return Chosen(meter, first("shift", ALL), draws, nulls, controls)


def _like(chosen: Integers, quantity: Floats, chances: np.random.Generator) -> Integers:
    return matched(chosen, quantity, chances) if len(chosen) else chosen


def _rate(latents: Integers, sets: Sequence[Integers]) -> Floats:
    if not sets:
        return np.zeros(len(latents))
    return np.asarray(np.mean([np.isin(latents, one) for one in sets], axis=0))


def _agreement(sets: Sequence[Integers]) -> float | None:
    pairs = [overlap(a, b) for a, b in combinations(sets, 2)]
    return float(np.mean(pairs)) if pairs else None
