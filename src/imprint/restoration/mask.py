"""Which weights of the region go back to base: an exact share of each group, ties by flat index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imprint.checkpoints import Checkpoint
from imprint.checkpoints.checkpoint import CHUNK
from imprint.checkpoints.dtypes import Float32
from imprint.executors import Executor, Threads
from imprint.restoration.histogram import Order
from imprint.restoration.methods import Scorer
from imprint.restoration.parts import Part, chunks, groups
from imprint.restoration.selection import Chunk as Scored
from imprint.restoration.selection import Threshold, thresholds

Mask = npt.NDArray[np.bool_]
SAMPLED, EVERY = 256, 1 << 18
END = (1 << 62, 0)


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a selection ends.

    Attributes:
        threshold: the k-th score and what equals it.
        order: whether the highest or the lowest scores are taken.
        end: (number of the part, flat index) of the first score equal to the threshold that is
            no longer taken; all equal ones before it are.
    """

    threshold: Threshold
    order: Order
    end: tuple[int, int] = END

    def mask(self, number: int, start: int, scores: Float32) -> Mask:
        """Say which of a chunk's weights are taken, [chunk]."""
        value = np.float32(self.threshold.value)
        if self.order == "top":
            chosen, upto = scores > value, scores >= value
        else:
            chosen, upto = scores < value, scores <= value
        if self.threshold.k == 0 or number > self.end[0]:
            return chosen
        if number < self.end[0]:
            return upto
        before = min(max(self.end[1] - start, 0), len(scores))
        chosen[:before] = upto[:before]
        return chosen


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of a region, computed anew on every pass.

    Attributes:
        base, tuned: the two checkpoints.
        parts: the region.
        scorer: gives a chunk's scores.
        chunk: weights read at a time; no result depends on it.
    """

    base: Checkpoint
    tuned: Checkpoint
    parts: Sequence[Part]
    scorer: Scorer
    chunk: int = CHUNK

    def of(self, part: Part) -> Iterator[Scored]:
        """Give (number, flat start, scores) of a part."""
        for piece in chunks(self.base, self.tuned, part, self.chunk):
            yield part.number, piece.start, self.scorer(piece)

    def sample(self, parts: Sequence[Part]) -> Float32:
        """Give about a thousandth of the scores, evenly drawn."""
        return np.concatenate(
            [np.empty(0, np.float32)]
            + [
                self.scorer(piece)
                for part in parts
                for piece in chunks(self.base, self.tuned, part, SAMPLED, every=EVERY)
            ]
        )

    def cuts(
        self, ratios: Sequence[float], order: Order = "top", executor: Executor | None = None
    ) -> list[dict[str, Cut]]:
        """Find the cut of every group for every ratio, in one pass wherever the sample guides.

        Args:
            ratios: shares of each group.
            order: take the highest or the lowest scores.
            executor: works on several parts at a time, by default two threads.

        Returns:
            One dictionary per ratio: group → cut.

        Raises:
            ConfigError: a ratio outside 0 to 1.
            CheckpointError: values that are not finite.
        """
        crew = executor or Threads()
        found: list[dict[str, Cut]] = [{} for _ in ratios]
        for group, parts in groups(self.parts).items():
            streams = [lambda part=part: self.of(part) for part in parts]
            guess = self.sample(parts)
            at = thresholds(streams, ratios, order=order, sample=guess, executor=crew)
            ends = self._ends(parts, at, crew)
            for cuts, threshold, end in zip(found, at, ends, strict=True):
                cuts[group] = Cut(threshold, order, end)
        return found

    def _ends(
        self, parts: Sequence[Part], found: Sequence[Threshold], executor: Executor
    ) -> list[tuple[int, int]]:
        """Find where the scores that equal a threshold are no longer taken, for all in one pass."""
        ends = [END] * len(found)
        left = {n: t.take_equal for n, t in enumerate(found) if t.take_equal < t.equal}
        values = [np.float32(t.value) for t in found]

        def count(at: int) -> dict[int, int]:
            counts = dict.fromkeys(left, 0)
            for _, _, scores in self.of(parts[at]):
                for n in counts:
                    counts[n] += int(np.count_nonzero(scores == values[n]))
            return counts

        if not left:
            return ends
        for part, counts in zip(
            parts, executor.map_in_order(count, range(len(parts))), strict=True
        ):
            for n in [n for n, few in left.items() if few < counts[n]]:
                ends[n] = self._position(part, values[n], left.pop(n))
            if not left:
                break
            left.update({n: few - counts[n] for n, few in left.items()})
        return ends

    def _position(self, part: Part, value: np.float32, left: int) -> tuple[int, int]:
        for number, start, scores in self.of(part):
            equal = np.flatnonzero(scores == value)
            if left < len(equal):
                return number, start + int(equal[left])
            left -= len(equal)
        return END
