"""Measurements in a row: what is told at each, and when drift goes on without a gain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imprint.integrations.trl.measuring import Floats, Measured
from imprint.mastery.levels import level_of, rate_interval
from imprint.stats import calibrated_ece, expected_calibration_error, paired_difference

SAMPLES = 210  # that a level is told for: 21 templates, ten samples each
NULLS = 200  # draws of the null of calibration


@dataclass
class Following:
    """The measurements so far.

    Attributes:
        patience: measurements that are looked back over.
        gain: a rise of accuracy that would be worth its drift.
        steps, found: when, and what.
        warned: the step of the warning, once there was one.
        start: domain → [rows] loss before training.
    """

    patience: int
    gain: float
    steps: list[int] = field(default_factory=list)
    found: list[Measured] = field(default_factory=list)
    warned: int | None = None
    start: dict[str, Floats] = field(default_factory=dict)

    def begin(self, losses: Mapping[str, Sequence[float]]) -> None:
        """Tell the losses before training, where it goes on from a checkpoint."""
        self.start = {name: np.array(values) for name, values in losses.items()}

    def add(self, step: int, measured: Measured) -> dict[str, Any]:
        """Take in a measurement; give its values by name, intervals at 95 %."""
        self.steps.append(step)
        self.found.append(measured)
        self.start = self.start or measured.domains
        values: dict[str, Any] = {"step": step}
        values.update(_mean("drift", measured.drift))
        if len(measured.facts):
            values.update(_mean("mastery", measured.facts, most=1.0))
            values.update(_mean("fact_accuracy", measured.facts_right, most=1.0))
            hits = np.rint(measured.facts * SAMPLES).astype(np.int64)
            shares = np.bincount(level_of(hits, SAMPLES), minlength=5) / len(hits)
            values.update({f"level_{at}": float(share) for at, share in enumerate(shares)})
        if len(measured.right):
            values.update(_choices(measured))
        values.update(self._domains())
        return values

    def _domains(self) -> dict[str, float]:
        values = {}
        for name, losses in self.found[-1].domains.items():
            before = self.start.get(name)
            values[f"loss/{name}"] = float(losses.mean())
            if before is None or len(before) != len(losses):
                continue
            change = paired_difference(losses, before)
            values[f"loss_change/{name}"] = change.mean
            if len(losses) > 1:
                values[f"loss_change_low/{name}"] = change.low
                values[f"loss_change_high/{name}"] = change.high
        return values

    def warning(self) -> str | None:
        """Say in words that drift went on while accuracy did not rise, the first time it is clear.

        Over the last ``patience`` measurements the drift of the same texts must have risen (the
        95 % interval of the paired difference above 0), and no accuracy followed may have gained:
        none has an estimate above 0, and the interval of each rules out a gain of ``gain``. Where
        no item changed, the interval is that of the rule of three, 3 / N.
        """
        if self.warned is not None or len(self.found) <= self.patience:
            return None
        now, then = self.found[-1], self.found[-1 - self.patience]
        if len(then.drift) != len(now.drift) or len(now.drift) < 2:
            return None
        rise = paired_difference(now.drift, then.drift)
        pairs = [(now.facts_right, then.facts_right), (now.right, then.right)]
        gains = [_gain(one, other) for one, other in pairs if len(one)]
        if not gains or rise.low <= 0:
            return None
        if any(mean > 0 or high >= self.gain for mean, high in gains):
            return None
        self.warned = self.steps[-1]
        mean, high = max(gains, key=lambda one: one[1])
        return (
            f"from step {self.steps[-1 - self.patience]} to {self.steps[-1]} the model went on "
            f"moving away from its base (KL {then.drift.mean():.4f} to {now.drift.mean():.4f} nats "
            f"per token, a rise of {rise.low:.4f} to {rise.high:.4f}) while accuracy did not rise "
            f"({100 * mean:+.1f} points, at most {100 * high:+.1f}); further steps may cost "
            "knowledge and gain nothing"
        )


def _gain(now: Floats, then: Floats) -> tuple[float, float]:
    found = paired_difference(now, then)
    high = found.high if np.isfinite(found.high) else np.inf
    return found.mean, max(high, found.mean + 3 / len(now))


def _mean(name: str, values: Floats, most: float = math.inf) -> dict[str, float]:
    if not len(values):
        return {}
    found = {name: float(values.mean())}
    if len(values) > 1:
        around = paired_difference(values, np.zeros(len(values)))
        found |= {f"{name}_low": max(0.0, around.low), f"{name}_high": min(most, around.high)}
    return found


def _choices(measured: Measured) -> dict[str, float]:
    right, confidence, count = measured.right, measured.confidence, len(measured.right)
    low, high = rate_interval(right.sum(), count)
    null = calibrated_ece(confidence, NULLS, 0)
    return {
        "accuracy": float(right.mean()),
        "accuracy_low": float(low),
        "accuracy_high": float(high),
        "confidence": float(confidence.mean()),
        "ece": expected_calibration_error(confidence, right),
        "ece_null": float(null.mean()),
        "ece_null_high": float(np.quantile(null, 0.95)),
    }


def smallest_gain(probes: Sequence[int]) -> float:
    """Give the smallest gain that so many items can rule out, 3 / N."""
    return 3 / max(1, min((count for count in probes if count), default=1))
