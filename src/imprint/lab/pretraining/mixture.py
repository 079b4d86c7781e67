"""Which tokens a run reads, at which step: a mixture of sources, drawn once and for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imprint.errors import ConfigError, DataError, nearest

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mixture:
    """Shares of sources in what a run reads.

    Attributes:
        name: of the mixture.
        shares: source → share of sequences; together 1.

    Raises:
        ConfigError: a share is negative, or they do not add up to 1.
    """

    name: str
    shares: Mapping[str, float]

    def __post_init__(self) -> None:
        total = sum(self.shares.values())
        if not self.shares or min(self.shares.values()) < 0 or abs(total - 1) > 1e-6:
            problem = f"the shares {dict(self.shares)} add up to {total:g}"
            remedy = "give shares from 0 to 1 that add up to 1."
            raise ConfigError(problem, where=f"mixture {self.name!r}", remedy=remedy)


class Sequences:
    """The sequences of a run, in the order of training.

    A source is cut into windows of T tokens from a random offset, each read with the token that
    follows it; they come in random order, and once all were read, from another offset in another
    order. Each source has its share of the sequences to within one, spread at random over the run.

    Args:
        mixture: which sources, and how much of each.
        sources: name → tokens, a whole corpus in a row.
        context: T, tokens of a sequence.
        batch: sequences per step.
        steps: of the run.
        seed: of the order.

    Attributes:
        passes: source → how many times it is read.

    Raises:
        ConfigError: the mixture names a source that is not there.
        DataError: a source is shorter than a sequence.
    """

    def __init__(
        self,
        mixture: Mixture,
        sources: Mapping[str, npt.NDArray[Any]],
        context: int,
        batch: int,
        steps: int,
        seed: int,
    ):
        names = sorted(name for name, share in mixture.shares.items() if share > 0)
        _refuse_unfit(mixture, names, sources, context)
        random = np.random.Generator(np.random.PCG64([seed, 1]))
        counts = _apportion([mixture.shares[name] for name in names], steps * batch)
        which = random.permutation(np.repeat(np.arange(len(names)), counts))
        starts = np.empty(steps * batch, np.int64)
        for i, name in enumerate(names):
            starts[which == i] = _starts(len(sources[name]), context, counts[i], random)
        self._sources = [sources[name] for name in names]
        self._which, self._starts = which.reshape(steps, batch), starts.reshape(steps, batch)
        self._context = context
        self.passes = {
            name: round(count * context / (len(sources[name]) - 1), 4)
            for name, count in zip(names, counts, strict=True)
        }

    def __getitem__(self, step: int) -> Ids:
        """Give the windows of a step, [batch, T + 1]."""
        cut = self._context + 1
        return np.stack(
            [
                np.asarray(self._sources[source][start : start + cut], np.int64)
                for source, start in zip(self._which[step], self._starts[step], strict=True)
            ]
        )


def open_tokens(path: Path) -> npt.NDArray[Any]:
    """Map the tokens of a corpus into memory.

    Args:
        path: ``tokens.npy``, or the folder that holds it.

    Raises:
        DataError: there is none, or it does not hold token ids in a row.
    """
    file = path / "tokens.npy" if path.is_dir() else path
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as failed:
        remedy = "write it with imprint.lab.corpora.encode_corpus."
        raise DataError(
            f"no tokens can be read: {failed}", where=str(file), remedy=remedy
        ) from None
    if found.ndim != 1 or found.dtype.kind != "u":
        problem = f"the array is {found.dtype} {list(found.shape)}, not token ids in a row"
        raise DataError(problem, where=str(file))
    return np.asarray(found) if found.nbytes < 1 << 26 else found  # small ones stay in memory


def _refuse_unfit(
    mixture: Mixture, names: list[str], sources: Mapping[str, Any], context: int
) -> None:
    for name in names:
        where = f"mixture {mixture.name!r}"
        if name not in sources:
            problem = f"no source is called {name!r}"
            raise ConfigError(problem, where=where, remedy=nearest(name, sources))
        if len(sources[name]) <= context:
            problem = f"{len(sources[name])} tokens are too few for sequences of {context}"
            raise DataError(problem, where=f"source {name!r}", remedy="give more text.")


def _apportion(shares: list[float], total: int) -> list[int]:
    """Share out a whole number by largest remainders; ties go to the first."""
    exact = np.array(shares) / np.sum(shares) * total
    counts = np.floor(exact).astype(int)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return [int(count) for count in counts]


def _starts(length: int, context: int, count: int, random: np.random.Generator) -> Ids:
    """Draw where the windows of one source begin."""
    windows = (length - 1) // context
    slack = (length - 1) - windows * context
    drawn = [
        random.integers(slack + 1) + context * random.permutation(windows)
        for _ in range(-(-count // windows))
    ]
    return np.concatenate([*drawn, np.empty(0, np.int64)])[:count].astype(np.int64)
