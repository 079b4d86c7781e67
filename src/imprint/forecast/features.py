"""Latents of query spans: read in chunks, encoded in blocks, pooled at once.

Nothing of the size tokens × latents is ever held: a chunk of texts is read up to the SAE's layer,
its activations are encoded a few rows at a time and added up per text. What is kept per latent is
sums; what is kept per text are the few latents that were found to shift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
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
from imprint.saes import Sae

VALUES = 1 << 20  # float32 values of a block of latents: 4 MB, which caches hold
GPU_VALUES = 1 << 26  # the same on a GPU, which wants large blocks
COLUMNS = 2048  # latents of a block, where an SAE can be parted
POOLED = 1 << 22  # values of the means of a chunk's texts: 16 MB
CPU_TOKENS = 2048  # tokens read together on a CPU
TYPICAL = 4096  # tokens that the median norm is taken from
Span = Literal["query", "answer"]
Numbers = npt.NDArray[np.int64]
Seen = Callable[[Any, slice], None]


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
                # a model spread over devices gives them where its layer is
                x = x[own.start - skip : own.stop - skip].to(self.loaded.device)
                parts.append(x.float())
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
    seen: Seen | None = None,
) -> Any:
    """Give the mean of each latent over the kept tokens of each text.

    Args:
        encoder: of so many latents.
        latents: how many.
        xs: activations [tokens, d] of each text.
        oks: which tokens count, bool [tokens].
        squares: give the mean of squares too.
        seen: is shown every block of latents and which they are.

    Returns:
        [1 or 2, texts, latents] float32; NaN for a text of which no token counts.
    """
    torch = require("torch", "models")
    counts = torch.tensor([int(ok.sum()) for ok in oks], device=xs[0].device)
    x = torch.cat([x[ok] for x, ok in zip(xs, oks, strict=True)])
    owner = torch.repeat_interleave(torch.arange(len(xs), device=x.device), counts)
    sums = torch.zeros((1 + squares, len(xs), latents), device=x.device)
    values = VALUES if x.device.type == "cpu" else GPU_VALUES
    with torch.inference_mode():
        for where, part in _columns(encoder, latents):
            rows = max(1, values // (where.stop - where.start))
            for start in range(0, len(x), rows):
                h = part.encode(x[start : start + rows])
                if seen is not None:
                    seen(h, where)
                own = owner[start : start + rows]
                first, last = int(own[0]), int(own[-1]) + 1
                member = own[None] == torch.arange(first, last, device=x.device)[:, None]
                # a product adds up rows of several texts at once, without a copy of the block
                sums[0, first:last, where].addmm_(member.float(), h)
                if squares:
                    sums[1, first:last, where].addmm_(member.float(), h.square_())
    return sums / counts[:, None]


def _columns(encoder: Encoder, latents: int) -> Iterator[tuple[slice, Encoder]]:
    """Give an encoder in parts of some latents each, views of it, where it can be parted.

    Narrow parts times many rows are faster than whole rows: both sides stay in a CPU's caches.
    """
    if not isinstance(encoder, Sae) or not encoder.separable:
        yield slice(0, latents), encoder
        return
    for start in range(0, latents, COLUMNS):
        where = slice(start, min(start + COLUMNS, latents))
        yield where, _part(encoder, where)


def _part(sae: Sae, where: slice) -> Sae:
    function = sae.function.each(lambda values: values[where] if values.ndim else values)
    return replace(sae, w_enc=sae.w_enc[:, where], b_enc=sae.b_enc[where], function=function)


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
        self._tokens = torch.zeros(latents, dtype=torch.float64, device=device)
        self._sums = torch.zeros((3, latents), dtype=torch.float64, device=device)

    def __call__(self, h: Any, where: slice = slice(None)) -> None:
        """Count a block [N, n] of some latents."""
        self._tokens[where] += len(h)
        self._sums[0, where] += (h != 0).sum(0)
        self._sums[1, where] += h.sum(0)
        self._sums[2, where] += h.square().sum(0)

    def _mean(self, at: int) -> Floats:
        return np.asarray((self._sums[at] / self._tokens.clamp(min=1)).cpu().numpy())

    @property
    def rates(self) -> Floats:
        """Share of tokens on which each fires, [L]."""
        return self._mean(0)

    @property
    def variances(self) -> Floats:
        """Variance of each over tokens, [L]."""
        return np.asarray(np.maximum(self._mean(2) - self._mean(1) ** 2, 0.0))
