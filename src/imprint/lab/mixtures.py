"""The mixtures of a grid: sources × proportions, or a list."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from imprint.errors import ConfigError, nearest
from imprint.formats.models_table import MEASURED, MODELS

FINEST = 100  # proportions between two neighbours, at most
TAKEN = {*MODELS.names, *MEASURED, "training_tokens"} - {"cluster"}  # no labels of mixtures
Parts = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Listed:
    """One mixture by hand.

    Attributes:
        name: of the unit.
        shares: source → share; they sum to 1.
        labels: further columns (factors, covariates).
    """

    name: str
    shares: dict[str, float]
    labels: dict[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mixtures:
    """Which data the units are trained on: sources × proportions, or a list.

    Attributes:
        sources: name of the variant → the corpus that takes the place of ``slot``.
        slot: the part of the proportions that varies.
        proportions: in order, each a mapping part → share.
        listed: mixtures by hand, in place of the crossing.
    """

    sources: dict[str, str] = field(
        default_factory=lambda: {
            "raw": "web_raw",
            "filtered": "web_filtered",
            "scored": "web_scored",
        }
    )
    slot: str = "web"
    proportions: tuple[dict[str, float], ...] = (  # arXiv 2602.11217, section 3 of the sheet
        {"web": 0.65, "code": 0.25, "curated": 0.10},
        {"web": 0.45, "code": 0.35, "curated": 0.20},
        {"web": 0.25, "code": 0.45, "curated": 0.30},
    )
    listed: tuple[Listed, ...] = ()

    def crossed(self, steps_between: int = 0) -> list[Listed]:
        """Give all mixtures, with ``steps_between`` proportions between neighbours."""
        if self.listed:
            return list(self.listed)
        proportions = _between(self.proportions, steps_between)
        one_share = len({parts.get(self.slot, 0.0) for parts in proportions}) == len(proportions)
        told = (
            [self.slot] if one_share else list(dict.fromkeys(p for ps in proportions for p in ps))
        )
        return [self._mixture(v, parts, told) for v in self.sources for parts in proportions]

    def _mixture(self, variant: str, parts: Parts, told: Sequence[str]) -> Listed:
        """Name it by its shares of the parts that tell proportions apart."""
        shares: dict[str, float] = {}
        for part, share in parts.items():
            source = self.sources[variant] if part == self.slot else part
            shares[source] = shares.get(source, 0.0) + share
        percents = [f"{100 * parts.get(part, 0.0):.4g}" for part in told]
        shown = zip(told, percents, strict=True)
        labels: dict[str, str | float] = {
            f"{self.slot}_source": variant,
            "proportion": ", ".join(f"{part} {percent}%" for part, percent in shown),
        }
        labels |= {f"{part}_share": share for part, share in parts.items()}
        return Listed("-".join([variant, *percents]), shares, labels)


def check_mixtures(found: Sequence[Listed], corpora: Mapping[str, str]) -> None:
    """Refuse mixtures that cannot be trained or told apart.

    Args:
        found: all of a scale.
        corpora: source → corpus; empty where the built-in world's are taken.

    Raises:
        ConfigError: there are none, shares do not sum to 1, a source is no corpus, or two mixtures
            have one name.
    """
    if not found:
        raise ConfigError("no mixture is named", where="mixtures", remedy="add proportions.")
    names = [mixture.name for mixture in found]
    for mixture in found:
        where = f"mixtures, {mixture.name!r}"
        if not mixture.name.strip() or names.count(mixture.name) > 1:
            raise ConfigError("two mixtures, or none, have this name", where=where)
        _check_shares(mixture.shares, where)
        for source in mixture.shares if corpora else ():
            if source not in corpora:
                known = nearest(source, corpora)
                raise ConfigError(
                    f"takes from {source!r}, which is no corpus; {known}", where=where
                )
        for label in mixture.labels:
            if label in TAKEN:
                raise ConfigError(f"the label {label!r} is a column of its own", where=where)


def _check_shares(shares: Parts, where: str) -> None:
    for source, share in shares.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"{source} has a share of {share:g}", where=where, remedy="0 to 1.")
    total = math.fsum(shares.values())
    if abs(total - 1) > 1e-6:
        raise ConfigError(f"the shares sum to {total:g}, not 1", where=where)


def _telling(proportions: Sequence[Parts], slot: str) -> list[str]:
    """Name the parts whose shares tell proportions apart: the slot, or all of them."""
    if len({parts.get(slot, 0.0) for parts in proportions}) == len(proportions):
        return [slot]
    return list(dict.fromkeys(part for parts in proportions for part in parts))


def _between(proportions: Sequence[dict[str, float]], steps: int) -> list[dict[str, float]]:
    if not steps:
        return list(proportions)
    found = []
    for first, second in pairwise(proportions):
        for k in range(steps + 1):
            at = k / (steps + 1)
            names = dict.fromkeys([*first, *second])
            parts = {p: (1 - at) * first.get(p, 0.0) + at * second.get(p, 0.0) for p in names}
            found.append({p: round(share, 9) for p, share in parts.items()})
    return [*found, *proportions[-1:]]
