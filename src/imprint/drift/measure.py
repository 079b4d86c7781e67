"""Every position of the pieces under base and tuned model: one row each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from imprint.drift.memory import Memory
from imprint.drift.pieces import Ids, Piece, chunks
from imprint.errors import require
from imprint.models import Loaded
from imprint.models.batching import Batcher
from imprint.models.divergence import divergences
from imprint.models.hidden import Head, hidden_states
from imprint.models.top_tokens import top_k_divergence, top_k_mass
from imprint.progress import Bar, Silent
from imprint.runs import Run

TOPS = (1, 5, 10, 50)
Work = Callable[[], dict[str, pl.DataFrame]]


class Measurement:
    """Compares models over one set of pieces.

    The base's hidden states are made once for all tuned models and, where these do not fit beside
    it, kept in the run's ledger; only the two output heads and one decoder are in memory then.

    Args:
        memory: the models.
        run: keeps every finished chunk.
        key: tells this set of pieces from others of the run.
        pieces: what is read.
        first: also compare the top tokens at the first target of every piece.
        bar: told of every finished token.
    """

    def __init__(
        self,
        memory: Memory,
        run: Run,
        key: str,
        pieces: Sequence[Piece],
        *,
        first: bool = False,
        bar: Bar | None = None,
    ):
        self.memory, self.run, self.key, self.first = memory, run, key, first
        self.chunks, self.bar = chunks(pieces), bar or Silent()
        self.batcher = Batcher(quiet=memory.config.quiet)

    def base_states(self) -> None:
        """Make the base's hidden states, where they are kept on disk."""
        if self.memory.base_on_disk:
            for number in range(len(self.chunks)):
                self._kept(number)

    def rows(self, tuned: int) -> pl.DataFrame:
        """Compare a tuned model with the base.

        Returns:
            One row per position, in order: ``sample``, ``position``, ``token_id``, the columns of
            ``Divergences``; with ``first`` the rows of first tokens have the top tokens' too.
        """
        return self.against(str(tuned), lambda: self.memory.tuned(tuned))

    def against(self, name: str, model: Callable[[], tuple[Loaded, Head]]) -> pl.DataFrame:
        """Compare any other model with the base, under a name of its own."""
        found = [
            self.run.unit(f"{self.key}-{name}-{number}", self._compare(model, number))["tokens"]
            for number in range(len(self.chunks))
        ]
        return pl.concat(found)

    def _compare(self, model: Callable[[], tuple[Loaded, Head]], number: int) -> Work:
        return lambda: self._rows(number, *model())

    def _rows(self, number: int, loaded: Loaded, head: Head) -> dict[str, pl.DataFrame]:
        base_head, chunk = self.memory.base_head(), self.chunks[number]
        before = self._base_of(number)
        after = self._states(loaded, [p.tuned for p in chunk], [p.tuned_at for p in chunk])
        frame = compared(chunk, before, after, base_head, head, first=self.first)
        self.bar.advance(len(frame))
        return {"tokens": frame}

    def _base_of(self, number: int) -> list[Any]:
        if self.memory.base_on_disk:
            return self._kept(number)
        chunk = self.chunks[number]
        ids, at = [p.base for p in chunk], [p.base_at for p in chunk]
        return self._states(self.memory.base(), ids, at)

    def _kept(self, number: int) -> list[Any]:
        chunk = self.chunks[number]

        def make() -> dict[str, pl.DataFrame]:
            ids, at = [p.base for p in chunk], [p.base_at for p in chunk]
            return {"states": to_frame(self._states(self.memory.base(), ids, at))}

        return from_frame(self.run.unit(f"{self.key}-base-{number}", make)["states"])

    def _states(self, loaded: Loaded, rows: Sequence[Ids], at: Sequence[Ids]) -> list[Any]:
        """Give the hidden states that predict the targets, [targets, width] of each piece."""

        def work(batch: list[tuple[Ids, Ids]]) -> list[Any]:
            found = hidden_states(loaded, [ids[:-1] for ids, _ in batch])
            return [
                states[[place - 1 for place in places]]
                for states, (_, places) in zip(found, batch, strict=True)
            ]

        return self.batcher.run(list(zip(rows, at, strict=True)), lambda row: len(row[0]), work)


def compared(
    pieces: Sequence[Piece],
    before: Sequence[Any],
    after: Sequence[Any],
    base: Head,
    tuned: Head,
    *,
    first: bool = False,
) -> pl.DataFrame:
    """Compare two models on their hidden states.

    Args:
        pieces: the texts.
        before, after: of each piece the states that predict its targets, [targets, width].
        base, tuned: the output heads.
        first: also compare the top tokens at each piece's first target.
    """
    torch = require("torch", "models")
    states = torch.cat(list(before)), torch.cat(list(after))
    targets = [token for piece in pieces for token in piece.targets]
    found = divergences(
        lambda start, stop: base(states[0][start:stop]),
        lambda start, stop: tuned(states[1][start:stop]),
        torch.tensor(targets),
    )
    frame = pl.DataFrame(
        {
            "sample": [piece.sample for piece in pieces for _ in piece.targets],
            "position": [place for piece in pieces for place in piece.positions],
            "token_id": targets,
            **found.columns(),
        }
    )
    return frame.with_columns(_first_tokens(pieces, states, base, tuned)) if first else frame


def _first_tokens(
    pieces: Sequence[Piece], states: tuple[Any, Any], base: Head, tuned: Head
) -> list[pl.Series]:
    ends = np.cumsum([len(piece.targets) for piece in pieces])
    at = [0, *ends[:-1].tolist()]
    columns: dict[str, npt.NDArray[np.float64]] = {}
    for start in range(0, len(at), 64):
        rows = at[start : start + 64]
        for name, values in _tops(tuned(states[1][rows]), base(states[0][rows])).items():
            whole = columns.setdefault(name, np.full(int(ends[-1]), np.nan))
            whole[rows] = values
    return [pl.Series(name, values).fill_nan(None) for name, values in columns.items()]


def _tops(tuned: Any, base: Any) -> dict[str, Any]:
    tops = [k for k in TOPS if k <= min(tuned.shape[-1], base.shape[-1])]
    found: dict[str, Any] = {
        f"kl_tuned_base_top{k}": top_k_divergence(tuned, base, k) for k in tops
    }
    if 10 in tops:
        mass = top_k_mass(tuned, base, 10)
        found |= {"tuned_mass_top10": mass[:, 0], "base_mass_top10": mass[:, 1]}
    return found


def to_frame(states: Sequence[Any]) -> pl.DataFrame:
    """Give tensors [rows, width] as a table of their bytes."""
    torch = require("torch", "models")
    kind = str(states[0].dtype).removeprefix("torch.")
    # bytes keep any type as it is, bfloat16 too, which no table knows
    raw = [s.contiguous().cpu().view(torch.uint8).numpy().tobytes() for s in states]
    return pl.DataFrame(
        {"states": raw, "dtype": kind, "width": int(states[0].shape[-1])},
        schema_overrides={"states": pl.Binary},
    )


def from_frame(frame: pl.DataFrame) -> list[Any]:
    """Give the tensors that `to_frame` was given, on the CPU."""
    torch = require("torch", "models")
    return [
        torch.frombuffer(bytearray(raw), dtype=getattr(torch, kind)).view(-1, width)
        for raw, kind, width in frame.iter_rows()
    ]
