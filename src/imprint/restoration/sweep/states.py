"""From a point to weights in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping

from imprint.checkpoints import Checkpoint
from imprint.findings import Finding
from imprint.restoration.parts import Part
from imprint.restoration.restore import Plan, RestoreConfig, plan, survey
from imprint.restoration.rules import Rule, interpolated
from imprint.restoration.sweep.memory import Memory, Squares
from imprint.restoration.sweep.points import Point, Points

State = tuple[tuple[Part, ...], Rule | None]


class States:
    """Works out restorations when they are asked for, each analysis once.

    Args:
        base, tuned: the two checkpoints.
        points: the sweep.
        squares: key of a point that was measured → what remains there.
    """

    def __init__(self, base: Checkpoint, tuned: Checkpoint, points: Points):
        self.base, self.tuned, self.points = base, tuned, points
        self.squares: dict[str, Squares] = {}
        self._plans: dict[RestoreConfig, Plan] = {}

    def enter(self, memory: Memory, point: Point) -> Squares:
        """Bring the weights of a point into memory.

        Returns:
            What remains of the change in the weights that the point may touch: name of the pair →
            Σ(value − base)².
        """
        return memory.become(*self.state(point))

    def state(self, point: Point) -> State:
        """Give the weights that a point may touch, and what becomes of them."""
        if point.role == "tuned":
            return self._parts(point.config), None
        if point.role == "interpolate":
            parts = self._parts(point.config)
            return parts, interpolated(self.weights(point), self.tuned)
        made = self.plan(point.config)
        return made.parts, made.rules[point.at]

    def weights(self, point: Point) -> dict[str, float]:
        """Give the weight α of matched interpolation: group → √(remaining ‖Δ‖² / all of it).

        Where nothing changed, α is 1. The points that it is matched to, and ``tuned``, must have
        been measured.
        """
        whole, left = self.squares[self.points.tuned.key], self.squares[point.of]
        sums: dict[str, tuple[float, float]] = {}
        for part in self._parts(point.config):
            name, group = part.pair.name, part.group
            before, after = sums.get(group, (0.0, 0.0))
            sums[group] = (before + whole[name], after + left.get(name, whole[name]))
        return {g: math.sqrt(after / all_) if all_ else 1.0 for g, (all_, after) in sums.items()}

    def change_norm(self, key: str) -> float:
        """Give ‖weights − base‖ at a measured point, over all swept regions."""
        whole, left = self.squares[self.points.tuned.key], self.squares[key]
        return math.sqrt(sum(left.get(name, square) for name, square in whole.items()))

    def plan(self, config: RestoreConfig) -> Plan:
        """Analyse the pair once for all shares of a restoration."""
        if config not in self._plans:
            self._plans[config] = plan(self.base, self.tuned, config)
        return self._plans[config]

    def findings(self) -> list[Finding]:
        """Give what the alignment of the two checkpoints noticed."""
        alignment, _ = survey(self.base, self.tuned, self.points.tuned.config)
        return list(alignment.findings)

    def keep(self, measured: Mapping[str, Squares]) -> None:
        """Take over what was measured before."""
        self.squares.update(measured)

    def _parts(self, config: RestoreConfig) -> tuple[Part, ...]:
        return survey(self.base, self.tuned, config)[1]
