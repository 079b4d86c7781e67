"""What is measured of one dictionary: the contrasts of every draw, and how its latents fire."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from imprint.errors import require
from imprint.forecast.contexts import ALL, Key
from imprint.forecast.features import Activity, Changes
from imprint.forecast.statistics import Paired, Statistic
from imprint.saes import Sae
from imprint.saes.norms import BY_TOKEN

NULLS = {
    "scrambled": "demonstrations of shuffled tokens",
    "unrelated": "unrelated texts in place of demonstrations",
    "shuffled": "answers of other examples",
    "flipped": "changes of random sign",
    "halves": "two halves of the bare tokens",
    "again": "demonstrations of shuffled tokens, shuffled twice",
}


@dataclass(eq=False)
class Meter:
    """What is found of one dictionary.

    Attributes:
        sae: the dictionary, on the model's device.
        keys: the contrasts: what, and its draw; `ALL` is the mean over draws.
        statistic: what latents are ranked by.
        activity: how often latents fire on bare queries.
        changes: the sums.
    """

    sae: Sae
    keys: list[Key]
    statistic: Statistic = "t"
    activity: Activity = field(init=False)
    changes: Changes = field(init=False)
    _lost: float = 0.0
    _moved: float = 0.0
    _made: dict[Key, Paired] = field(default_factory=dict)

    def __post_init__(self) -> None:
        device = self.sae.w_enc.device
        self.activity = Activity(self.sae.latents, device)
        self.changes = Changes(len(self.keys), self.sae.latents, device)

    def add(self, key: Key, d: Any, weights: Any = None) -> None:
        """Count changes [n, L] in a contrast."""
        self.changes.add(self.keys.index(key), d, weights)

    def give(self, key: Key, made: Paired) -> None:
        """Take statistics that were made elsewhere."""
        self._made[key] = made

    def paired(self, key: Key) -> Paired:
        """Give the statistics of a contrast."""
        return self._made[key] if key in self._made else self.changes.paired(self.keys.index(key))

    def draws(self, kind: str) -> list[int]:
        """Give the draws of a kind of contrast."""
        return [draw for name, draw in self.keys if name == kind and draw != ALL]

    @property
    def nulls(self) -> list[str]:
        """Names of the nulls, the first the one that scores are compared with."""
        return list(dict.fromkeys(name for name, _ in self.keys if name != "shift"))

    def lose(self, moved: Any, d: Any) -> None:
        """Count what of a shift of activations [n, width] the latents' shift d [n, L] lacks."""
        torch = require("torch", "models")
        if self.sae.norm in BY_TOKEN or self.sae.transcodes or self.sae.skip is not None:
            return
        known = torch.isfinite(d[:, 0]) & torch.isfinite(moved[:, 0])
        off = moved[known] - (d[known].to(self.sae.w_dec.dtype) @ self.sae.w_dec).float()
        self._lost += float(off.double().square().sum())
        self._moved += float(moved[known].double().square().sum())

    @property
    def residual(self) -> float | None:
        """Share of the shift of activations that latents do not express; above 1 they mislead."""
        return self._lost / self._moved if self._moved else None


class Mean:
    """Mean over draws of the changes of each query, per kind of contrast."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Any, Any]] = {}

    def add(self, kind: str, d: Any) -> None:
        """Count the changes [n, L] of a draw; NaN where a query is not in it."""
        torch = require("torch", "models")
        known = torch.isfinite(d[:, :1])
        filled = torch.where(known, d, 0.0)
        if kind in self._sums:
            sums, counts = self._sums[kind]
            sums += filled
            counts += known
        else:
            self._sums[kind] = (filled, known.float())

    def items(self) -> list[tuple[str, Any]]:
        """Give each kind and its means [n, L]."""
        return [(kind, sums / counts) for kind, (sums, counts) in self._sums.items()]
