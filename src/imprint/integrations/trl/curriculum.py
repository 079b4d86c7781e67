"""Which prompts to train on next: those whose pass rate is likely in the band at present."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, expit, logit

from imprint.errors import CheckpointError, ConfigError, DataError
from imprint.runs import write_atomic

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
UNMEASURED = 2.0  # rollouts that the pool's mean counts for where nothing was measured
STRENGTHS = (0.3, 10.0)  # the least and the most that it counts for
FEW = 10  # measured prompts below which their spread says nothing


@dataclass(frozen=True, slots=True)
class Band:
    """Where prompts are kept, and how estimates follow the policy.

    Attributes:
        low, high: pass rates between which a prompt is wanted.
        explore: share of each batch's prompts that goes to those unseen or longest not seen,
            whatever their rate: a hard prompt may have come within reach meanwhile.
        half_life: generation batches after which a rollout counts half, since the policy moves.
        trust: the most rollouts that a pass rate measured before training counts for; it is of
            another checkpoint.
        drift: how far all rates may move together from one batch to the next, in log-odds (one
            standard deviation); 0 leaves every prompt to itself.
    """

    low: float = 0.2
    high: float = 0.8
    explore: float = 0.1
    half_life: float = 50.0
    trust: float = 8.0
    drift: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise ConfigError(
                f"the band is {self.low:g} to {self.high:g}", remedy="0 ≤ low < high ≤ 1."
            )
        if not 0 <= self.explore <= 1:
            raise ConfigError(f"explore is {self.explore:g}", remedy="a share from 0 to 1.")
        for name in ("half_life", "trust"):
            if not asdict(self)[name] > 0:
                raise ConfigError(f"{name} is {asdict(self)[name]:g}", remedy="above 0.")
        if not 0 <= self.drift < np.inf:
            raise ConfigError(f"drift is {self.drift:g}", remedy="0 or above, in log-odds.")


class Curriculum:
    """A running estimate of every prompt's pass rate, and draws of prompts by it.

    A prompt's rate has a Beta posterior. It begins at the pool's mean, which counts for as many
    rollouts as the spread of the measured rates says (method of moments), to which comes the
    prompt's own rate from before training. Verified rollouts of training update it. Between them
    its mean stays where the policy's progress takes it, and its weight fades.

    Progress is what all prompts have gained in common, in log-odds, filtered from how much better
    each batch did than was expected of it (a Kalman filter with one state; rollouts of one prompt
    count by what a Beta posterior lets them say). So a prompt that was out of reach can come into
    the band unseen. Both are ours; no paper is followed.

    Prompts are drawn without replacement within a batch, with weights proportional to the
    posterior probability of the band times the posterior mean of p(1 − p). Nothing that was
    generated is thrown away. Every draw depends on the seed, its number and the rollouts recorded
    before it, on nothing else.

    Args:
        size: N, number of prompts.
        band: where to keep them.
        rates: [N] pass rates in [0, 1] measured before training; NaN where none was.
        rollouts: [N] rollouts behind each rate.
        seed: of the draws.

    Attributes:
        seen: [N] verified rollouts of training.
        progress: log-odds that all prompts have gained in common.
        draws: batches drawn so far.
        epoch: the batches of this epoch, as drawn.

    Raises:
        DataError: a rate outside [0, 1], or one without rollouts behind it.
    """

    def __init__(
        self,
        size: int,
        band: Band | None = None,
        *,
        rates: Sequence[float] | Floats | None = None,
        rollouts: Sequence[float] | Floats | None = None,
        seed: int = 0,
    ):
        self.size, self.band, self.seed = size, band or Band(), seed
        rate, count = _measured(size, rates, rollouts)
        total = count.sum()
        pool = float((rate @ count + 1) / (total + 2))
        self.prior = _strength(rate, count)
        self.weight = np.minimum(count, self.band.trust)
        self.level = logit(
            (self.prior * pool + self.weight * rate) / (self.prior + self.weight)
        )  # without progress
        self.updated: Ints = np.zeros(size, dtype=np.int64)
        self.drawn: Ints = np.full(size, -1, dtype=np.int64)
        self.seen: Ints = np.zeros(size, dtype=np.int64)
        self.progress = self.unsure = 0.0
        self.draws = 0
        self.epoch: list[list[int]] = []

    def posterior(self) -> tuple[Floats, Floats]:
        """Give the two parameters of every prompt's Beta posterior at present, each [N]."""
        kept = 0.5 ** ((self.draws - self.updated) / self.band.half_life)
        count, mean = self.prior + kept * self.weight, self.rates()
        return count * mean, count * (1 - mean)

    def rates(self) -> Floats:
        """Give every prompt's estimated pass rate, [N]."""
        return np.asarray(expit(self.level + self.progress))

    def weights(self) -> Floats:
        """Give what every prompt weighs in a draw, [N]: P(in the band) · E[p(1 − p)]."""
        a, b = self.posterior()
        within = betainc(a, b, self.band.high) - betainc(a, b, self.band.low)
        return np.asarray(within * a * b / ((a + b) * (a + b + 1)))

    def draw(self, count: int) -> list[int]:
        """Draw the prompts of the next generation batch.

        Args:
            count: how many, all different.

        Returns:
            Their positions.

        Raises:
            DataError: there are fewer prompts than that.
        """
        if count > self.size:
            raise DataError(
                f"a generation batch takes {count} different prompts, and there are {self.size}",
                remedy="more prompts, a smaller batch, or more generations per prompt.",
            )
        chances = np.random.default_rng([self.seed, self.draws])
        chosen = self._explored(count, chances)
        # the largest of log weight + Gumbel noise: drawn by weight without replacement
        keys = np.log(np.maximum(self.weights(), 1e-300)) + chances.gumbel(size=self.size)
        keys[chosen] = -np.inf
        chosen += np.argsort(-keys, kind="stable")[: count - len(chosen)].tolist()
        chosen = [int(at) for at in chances.permutation(chosen)]
        self.drawn[chosen] = self.draws
        self.draws += 1
        self.epoch.append(chosen)
        return chosen

    def _explored(self, count: int, chances: np.random.Generator) -> list[int]:
        share = int(self.band.explore * count + chances.random())
        order = np.lexsort((chances.random(self.size), self.drawn))
        return [int(at) for at in order[:share]]

    def record(self, prompts: Sequence[int] | Ints, passed: Sequence[bool] | Floats) -> None:
        """Take in verified rollouts.

        Args:
            prompts: position of each rollout's prompt.
            passed: whether each is right, 1 or 0.
        """
        at, where = np.unique(np.asarray(prompts, dtype=np.int64), return_inverse=True)
        right: Floats = np.zeros(len(at))
        np.add.at(right, where, np.asarray(passed, dtype=np.float64))
        count = np.bincount(where, minlength=len(at))
        first, second = self.posterior()
        a, b = first[at], second[at]
        self._advance(right, count, a, b)
        self.level[at] = logit((a + right) / (a + b + count)) - self.progress
        self.weight[at] = a + b - self.prior + count
        self.seen[at] += count
        self.updated[at] = self.draws

    def _advance(self, right: Floats, count: Ints, a: Floats, b: Floats) -> None:
        """Learn progress from a batch: passes of each prompt, and what was expected of it."""
        mean = a / (a + b)
        # rollouts of one prompt say the less together, the less its rate is known
        spread = 1 + (count - 1) / (a + b + 1)
        surprise = float(((right - count * mean) / spread).sum())
        information = float((count * mean * (1 - mean) / spread).sum())
        self.unsure += self.band.drift**2
        self.unsure /= 1 + self.unsure * information
        self.progress += self.unsure * surprise

    def save(self, path: Path, data: str) -> None:
        """Write the state, whole or not at all.

        Args:
            path: the file, npz without pickles.
            data: hash of the prompts that it belongs to.
        """
        content = io.BytesIO()
        np.savez(
            content,
            data=np.array(data),
            draws=np.array(self.draws),
            progress=np.array(self.progress),
            unsure=np.array(self.unsure),
            epoch=np.array(self.epoch, dtype=np.int64),
            **{name: getattr(self, name) for name in _STATE},
        )
        write_atomic(path, content.getvalue())

    def load(self, path: Path, data: str) -> None:
        """Read a state.

        Raises:
            CheckpointError: there is none, it is damaged, or it belongs to other prompts.
        """
        found = _read(path)
        if str(found["data"]) != data or found["level"].shape != (self.size,):
            raise CheckpointError(
                "the curriculum belongs to other prompts, or to the same in another order",
                where=str(path),
                remedy="resume with the data set that the run began with.",
            )
        for name in _STATE:
            setattr(self, name, found[name])
        self.draws = int(found["draws"])
        self.progress, self.unsure = float(found["progress"]), float(found["unsure"])
        self.epoch = found["epoch"].tolist()


_STATE = ("level", "weight", "updated", "drawn", "seen")


def _read(path: Path) -> dict[str, Any]:
    names = ("data", "draws", "progress", "unsure", "epoch", *_STATE)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            return {name: found[name] for name in names}
    except FileNotFoundError as missing:
        raise CheckpointError(
            "the checkpoint has no curriculum",
            where=str(path),
            remedy="resume from a checkpoint that was written with the curriculum.",
        ) from missing
    except Exception as damaged:  # zipfile, numpy and OS each raise their own
        raise CheckpointError(
            f"the curriculum cannot be read: {damaged}", where=str(path)
        ) from damaged


def _measured(
    size: int,
    rates: Sequence[float] | Floats | None,
    rollouts: Sequence[float] | Floats | None,
) -> tuple[Floats, Floats]:
    """Give rates and the rollouts behind them, each [N], 0 where nothing was measured."""
    if rates is None:
        return np.zeros(size), np.zeros(size)
    rate = np.array(rates, dtype=np.float64)
    count = np.full(size, np.nan) if rollouts is None else np.array(rollouts, dtype=np.float64)
    known = np.isfinite(rate)
    _refuse(known & ~((rate >= 0) & (rate <= 1)), rate, "pass_rate is {:g}", "between 0 and 1.")
    _refuse(known & ~(count > 0), count, "pass_rate stands without rollouts (n is {:g})", "give n.")
    return np.where(known, rate, 0.0), np.where(known, count, 0.0)


def _strength(rate: Floats, count: Floats) -> float:
    """Give the rollouts that the pool's mean counts for: a + b of a Beta with the rates' spread.

    By moments: measured rates vary by m(1 − m)(ρ + (1 − ρ)·mean(1/n)) with ρ = 1/(a + b + 1).
    """
    known = count > 0
    if known.sum() < FEW:
        return UNMEASURED
    chance = float((1 / count[known]).mean())
    mean = float(rate[known].mean())
    if chance == 1 or not 0 < mean < 1:
        return UNMEASURED
    spread = float(rate[known].var() / (mean * (1 - mean)))
    within = (spread - chance) / (1 - chance)
    low, high = STRENGTHS
    return high if within <= 1 / (high + 1) else max(low, 1 / within - 1)


def _refuse(bad: npt.NDArray[np.bool_], values: Floats, problem: str, remedy: str) -> None:
    if bad.any():
        at = int(np.argmax(bad))
        raise DataError(problem.format(values[at]), where=f"row {at + 1}", remedy=remedy)
