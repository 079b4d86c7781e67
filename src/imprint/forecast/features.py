"""Latents of query spans: read in chunks, encoded in blocks, pooled at once.

Nothing of the size tokens × latents is ever held: a chunk of texts is read up to the SAE's layer,
its activations are encoded a few rows at a time and added up per text. What is kept per latent is
sums; what is kept per text are the few latents that were found to shift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from imprint.errors import require
from imprint.forecast.rendering import Rendered
from imprint.forecast.spans import Counts, kept, median_norm
from imprint.forecast.statistics import Floats, Paired, paired
from imprint.models.batching import Batcher
from imprint.models.load import Loaded
from imprint.models.residual import Shared, Site, activations, refuse_nan, share

VALUES = 1 << 22  # float32 values of a block of latents: 16 MB
CPU_TOKENS = 2048  # tokens read together on a CPU
TYPICAL = 4096  # tokens that the median norm is taken from
Span = Literal["query", "answer"]
Numbers = npt.NDArray[np.int64]


class Encoder(Protocol):
    """What gives latents [N, n] of activations [N, d]: an SAE, or chosen columns of one."""

    def encode(self, x: Any) -> Any:
        """Give latents, float32."""


@dataclass(eq=False)
class Reader:
    """Reads activations of spans at one place of a model.

    Attributes:
        loaded: the model.
        where: the place.
        batcher: puts texts together within memory.
        median: of norms; tokens far above it are sinks. 0 keeps all.
        counts: what was read and left out.
    """

    loaded: Loaded
    where: Site
    batcher: Batcher
    median: float = 0.0
    counts: Counts = field(default_factory=Counts)

    @property
    def tokens(self) -> int:
        """Tokens that are read together: on a CPU its caches and allocator are spared."""
        most = self.batcher.tokens
        return min(most, CPU_TOKENS) if self.loaded.device.type == "cpu" else most

    def calibrate(self, rows: Sequence[Rendered], chances: np.random.Generator) -> None:
        """Take the median norm of all tokens of texts drawn until there are 4,096 tokens.

        It is fixed before anything else is read, so that batches and order change nothing.
        """
        drawn: list[Rendered] = []
        for n in chances.permutation(len(rows)):
            drawn.append(rows[n])
            if sum(len(one.ids) for one in drawn) >= TYPICAL:
                break
        whole = [Rendered(one.ids, range(len(one.ids))) for one in drawn]
        parts = (self.spans([whole[n] for n in some]) for some in chunks(whole, 1, self.tokens))
        self.median = median_norm(x for xs in parts for x in xs)

    def spans(
        self, rows: Sequence[Rendered], shared: Shared | None = None, span: Span = "query"
    ) -> list[Any]:
        """Give the activations of spans, each [tokens, d] float32; sinks are among them.

        Raises:
            CheckpointError: activations are not finite.
        """
        skip = 0 if shared is None else len(shared.ids)

        def work(batch: list[Rendered]) -> list[Any]:
            found = activations(self.loaded, self.where, [one.ids for one in batch], shared)
            parts = []
            for x, one in zip(found, batch, strict=True):
                own = one.query if span == "query" or one.answer is None else one.answer
                parts.append(x[own.start - skip : own.stop - skip].float())
            refuse_nan(require("torch", "models").cat(parts), self.where, self.loaded)
            return parts

        return self.batcher.run(rows, lambda one: len(one.ids), work)

    def shared(self, rows: Sequence[Rendered]) -> Shared | None:
        """Read what all renderings begin with, at most up to the first query."""
        if len(rows) < 2:
            return None
        heads = [one.ids[: one.query.start + 1] for one in rows]
        return share(self.loaded, self.where, heads)

    def kept(self, xs: Sequence[Any]) -> list[Any]:
        """Tell which tokens of each text are no sinks, bool [tokens]."""
        return [kept(x, self.median) for x in xs]

    def count(self, rows: Sequence[Rendered], oks: Sequence[Any]) -> None:
        """Count what was read."""
        for row, ok in zip(rows, oks, strict=True):
            left = int(ok.sum())
            self.counts.add(len(row.ids), len(ok), left)
            if not left:
                self.counts.leave_out("empty", row.place)


def chunks(rows: Sequence[Rendered], latents: int, tokens: int) -> Iterator[Numbers]:
    """Give numbers of texts that are read together, texts of like length.

    As many as fit into so many tokens, and whose pooled latents fit into a block.
    """
    order = sorted(range(len(rows)), key=lambda n: -len(rows[n].ids))
    most, at = max(1, VALUES // max(1, latents)), 0
    while at < len(order):
        longest = max(1, len(rows[order[at]].ids))
        end = at + max(1, min(most, tokens // longest))
        yield np.array(order[at:end], dtype=np.int64)
        at = end


def pooled(
    encoder: Encoder,
    latents: int,
    xs: Sequence[Any],
    oks: Sequence[Any],
    *,
    squares: bool = False,
    seen: Callable[[Any], None] | None = None,
) -> Any:
    """Give the mean of each latent over the kept tokens of each text.

    Args:
        encoder: of so many latents.
        latents: how many.
        xs: activations [tokens, d] of each text.
        oks: which tokens count, bool [tokens].
        squares: give the mean of squares too.
        seen: is shown every block of latents [rows, L].

    Returns:
        [1 or 2, texts, latents] float32; NaN for a text of which no token counts.
    """
    torch = require("torch", "models")
    counts = torch.tensor([int(ok.sum()) for ok in oks], device=xs[0].device)
    x = torch.cat([x[ok] for x, ok in zip(xs, oks, strict=True)])
    owner = torch.repeat_interleave(torch.arange(len(xs), device=x.device), counts)
    sums = torch.zeros((1 + squares, len(xs), latents), device=x.device)
    rows = max(1, VALUES // max(1, latents))
    with torch.inference_mode():
        for start in range(0, len(x), rows):
            h = encoder.encode(x[start : start + rows])
            if seen is not None:
                seen(h)
            own = owner[start : start + rows]
            first, last = int(own[0]), int(own[-1]) + 1
            member = own[None] == torch.arange(first, last, device=x.device)[:, None]
            # a product adds up rows of several texts at once, without a copy of the block
            sums[0, first:last].addmm_(member.float(), h)
            if squares:
                sums[1, first:last].addmm_(member.float(), h.square_())
    return sums / counts[:, None]


class Changes:
    """Sums over queries of changes of every latent, for several contrasts at once.

    Args:
        contrasts: K.
        latents: L.
        device: where changes are.
    """

    def __init__(self, contrasts: int, latents: int, device: Any):
        torch = require("torch", "models")
        shape = (contrasts, latents)
        self.n = np.zeros(contrasts)
        self._first = torch.zeros(shape, dtype=torch.float64, device=device)
        self._second = torch.zeros(shape, dtype=torch.float64, device=device)

    def add(self, contrast: int, d: Any, weights: Any = None) -> None:
        """Count changes [n, L] in a contrast; rows of NaN are left out.

        Args:
            contrast: its number.
            d: of n queries.
            weights: 1, −1 (a change the other way round) or 0 (not counted) of each, [n].
        """
        torch = require("torch", "models")
        w = torch.ones(len(d), device=d.device) if weights is None else torch.as_tensor(weights)
        w = w.to(d) * torch.isfinite(d[:, 0])
        d = d if bool((w != 0).all()) else d[w != 0]
        w = w[w != 0]
        self.n[contrast] += len(w)
        self._first[contrast] += (w @ d).double()
        self._second[contrast] += d.square().sum(0, dtype=torch.float64)

    def paired(self, contrast: int) -> Paired:
        """Give the statistics of a contrast."""
        return paired(
            max(1, int(self.n[contrast])),
            self._first[contrast].cpu().numpy(),
            self._second[contrast].cpu().numpy(),
        )


class Activity:
    """How often and how strongly every latent fires on bare queries, from blocks of latents."""

    def __init__(self, latents: int, device: Any):
        torch = require("torch", "models")
        self.tokens = 0
        self._sums = torch.zeros((3, latents), dtype=torch.float64, device=device)

    def __call__(self, h: Any) -> None:
        """Count a block [N, L]."""
        self.tokens += len(h)
        self._sums[0] += (h != 0).sum(0)
        self._sums[1] += h.sum(0)
        self._sums[2] += h.square().sum(0)

    @property
    def rates(self) -> Floats:
        """Share of tokens on which each fires, [L]."""
        return np.asarray(self._sums[0].cpu().numpy() / max(1, self.tokens))

    @property
    def variances(self) -> Floats:
        """Variance of each over tokens, [L]."""
        first, second = (self._sums[n].cpu().numpy() / max(1, self.tokens) for n in (1, 2))
        return np.asarray(np.maximum(second - first**2, 0.0))
