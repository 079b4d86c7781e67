"""What rounding alone makes of normal noise: the null of absolute change in 16-bit checkpoints.

A stored weight moves in steps that grow with its size, and a change below half a step is lost.
Normal noise then looks concentrated: some weights take whole steps and many none at all. The
noise is simulated on the base's own weights and rounded as the tuned weights are stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imprint.checkpoints.dtypes import Float32, from_float32, to_float32
from imprint.restoration.sample import Pieces

NARROW = ("BF16", "F16")
BITS = 16
HALVINGS = 24  # of the scale's range; far below what a sample of a million can tell
DOUBLINGS = 40


@dataclass(frozen=True)
class Noise:
    """Normal changes of some weights, rounded as the tuned weights are stored.

    Attributes:
        parts: type to round to (any other than ``NARROW`` is left as it is), base weights, and
            standard normal draws, [n] each.
    """

    parts: Sequence[tuple[str, Float32, Float32]]

    def changes(self, scale: float) -> npt.NDArray[np.float64]:
        """Give |Δ| for changes of a standard deviation, [n]."""
        found = [_rounded(b + np.float32(scale) * z, kind) - b for kind, b, z in self.parts]
        return np.abs(np.concatenate(found), dtype=np.float64)

    def scale(self, rms: float) -> float:
        """Find the standard deviation before rounding from the root mean square after it.

        With fixed draws no change shrinks where the scale grows, so that halving finds it.
        """
        low, high = 0.0, rms
        for _ in range(DOUBLINGS):
            if self._rms(high) >= rms:
                break
            low, high = high, 2 * high
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._rms(middle) < rms else (low, middle)
        return high

    def _rms(self, scale: float) -> float:
        return float(np.sqrt(np.mean(np.square(self.changes(scale)))))


def rounded_absolute(
    pieces: Pieces, ratios: Sequence[float], rms: float, seed: int
) -> list[float] | None:
    """Give the share of Σ|Δ| in the top of each ratio for normal changes that were rounded.

    Args:
        pieces: tuned type → base and tuned weights, [n] each.
        ratios: 0 to 1.
        rms: the measured root mean square change, which the rounded noise is given too.
        seed: of the noise.

    Returns:
        One per ratio; ``None`` where no type has 16 bits, or nothing changed. Types of 32 bits
        whose sampled values all fit 16 count as these 16.
    """
    kinds = {kind: _kind(kind, tuned) for kind, (_, tuned) in pieces.items()}
    if not rms > 0 or not set(kinds.values()) & set(NARROW):
        return None
    draw = np.random.default_rng((seed, BITS))
    noise = Noise(
        [
            (kinds[kind], base, draw.standard_normal(len(base), np.float32))
            for kind, (base, _) in pieces.items()
        ]
    )
    return _shares(noise.changes(noise.scale(rms)), ratios)


def _kind(kind: str, tuned: Float32) -> str:
    fits = (k for k in NARROW if np.array_equal(_rounded(tuned, k), tuned))
    return kind if kind in NARROW else next(fits, kind)


def _rounded(values: Float32, kind: str) -> Float32:
    return to_float32(from_float32(values, kind), kind) if kind in NARROW else values


def _shares(changes: npt.NDArray[np.float64], ratios: Sequence[float]) -> list[float]:
    largest = np.sort(changes)[::-1]
    sums = np.concatenate([[0.0], np.cumsum(largest)])
    places = np.arange(len(sums))
    return [float(np.interp(q * len(changes), places, sums / sums[-1])) for q in ratios]
