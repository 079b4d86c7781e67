"""Layer by layer: how far the residual streams of base and tuned model lie apart.

On the same positions, after the embedding and after every block:

- relative change ‖h_tuned − h_base‖ / ‖h_base‖ and cosine, means over positions;
- linear CKA (Kornblith et al. 2019) of the two sets of states, centred, computed from the Gram
  matrices of the positions; beside it the same with positions shuffled, which is what as many
  positions give by chance;
- logit-lens KL(base‖tuned): each model's final norm and output head applied to its states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from imprint.drift.means import means
from imprint.drift.pieces import Piece
from imprint.errors import require
from imprint.models import Loaded
from imprint.models.batching import Batcher
from imprint.models.divergence import divergences
from imprint.models.hidden import Head, layer_states

Floats = npt.NDArray[np.float64]
MEASURES = ("relative_change", "cosine", "lens_kl_base_tuned")
CKA_DRAWS = 100
CONSTANT = 1e-24


@dataclass(frozen=True, slots=True)
class Chosen:
    """The positions that are compared.

    Attributes:
        pieces: the texts that hold them, each cut off behind its last.
        at: of each piece, which of its targets.
    """

    pieces: tuple[Piece, ...]
    at: tuple[tuple[int, ...], ...]

    @property
    def samples(self) -> list[int]:
        """The text of every position."""
        return [p.sample for p, at in zip(self.pieces, self.at, strict=True) for _ in at]

    @property
    def targets(self) -> list[int]:
        """The token that is predicted at every position."""
        pairs = zip(self.pieces, self.at, strict=True)
        return [piece.targets[n] for piece, at in pairs for n in at]


def choose(pieces: Sequence[Piece], count: int, seed: int) -> Chosen:
    """Take positions of texts in a random order, at most a sixteenth of them from one text."""
    draw = np.random.default_rng(seed)
    most, left = max(4, count // 16), count
    found: dict[int, tuple[int, ...]] = {}
    for number in draw.permutation(len(pieces)).tolist():
        size = min(most, left, len(pieces[number].targets))
        if size < 1:
            break
        kept = draw.choice(len(pieces[number].targets), size, replace=False)
        found[number] = tuple(sorted(kept.tolist()))
        left -= size
    order = sorted(found)
    return Chosen(tuple(pieces[n] for n in order), tuple(found[n] for n in order))


def states(loaded: Loaded, chosen: Chosen, *, tuned: bool, batcher: Batcher) -> Any:
    """Give the residual stream at the positions, [layers + 1, positions, width], on the CPU."""
    torch = require("torch", "models")

    def work(batch: list[tuple[Piece, tuple[int, ...]]]) -> list[Any]:
        ids = [(p.tuned if tuned else p.base)[:-1] for p, _ in batch]
        rows = [[(p.tuned_at if tuned else p.base_at)[n] - 1 for n in at] for p, at in batch]
        found = layer_states(loaded, ids)
        return [one[:, at].cpu() for one, at in zip(found, rows, strict=True)]

    pairs = list(zip(chosen.pieces, chosen.at, strict=True))
    return torch.cat(batcher.run(pairs, lambda pair: pair[0].tokens, work), dim=1)


def compare(
    before: Any,
    after: Any,
    chosen: Chosen,
    heads: tuple[Head, Head],
    *,
    resamples: int,
    seed: int,
) -> pl.DataFrame:
    """Compare the streams of two models.

    Args:
        before, after: [layers + 1, positions, width].
        chosen: what the positions are.
        heads: of base and tuned; without a known final norm there is no logit lens.
        resamples, seed: of the intervals, which draw whole texts.

    Returns:
        One row per layer and measure: ``layer`` (0 is the embedding) and the columns of ``means``;
        ``cka`` has its shuffled value in ``null``.
    """
    parts = []
    for layer in range(len(before)):
        one, other = before[layer].double(), after[layer].double()
        frame = pl.DataFrame({"sample": chosen.samples, **_apart(one, other)})
        last = layer == len(before) - 1
        frame = frame.with_columns(_lens(before[layer], after[layer], chosen, heads, last=last))
        told = means(frame, MEASURES, resamples=resamples, seed=seed)
        similar = _cka_row(one.numpy(), other.numpy(), chosen.samples, seed)
        rows = pl.concat([told.with_columns(null=pl.lit(None, dtype=pl.Float64)), similar])
        parts.append(rows.select(pl.lit(layer).alias("layer"), pl.all()))
    return pl.concat(parts)


def linear_cka(one: Floats, other: Floats) -> float:
    """Give the linear CKA of two sets of states.

    Args:
        one, other: [positions, width]; widths may differ.

    Returns:
        0 to 1; NaN where one side does not vary.
    """
    return float(_weighted_cka(one @ one.T, other @ other.T, np.ones(len(one))))


def _apart(one: Any, other: Any) -> dict[str, Floats]:
    torch = require("torch", "models")
    size = one.norm(dim=-1)
    cosine = torch.nn.functional.cosine_similarity(one, other, dim=-1)
    return {
        "relative_change": ((other - one).norm(dim=-1) / size).numpy(),
        "cosine": cosine.clamp(-1, 1).numpy(),
    }


def _lens(
    before: Any, after: Any, chosen: Chosen, heads: tuple[Head, Head], *, last: bool
) -> pl.Series:
    name = "lens_kl_base_tuned"
    if any(head.norm is None for head in heads):
        return pl.Series(name, [None] * before.shape[0], dtype=pl.Float64)
    torch = require("torch", "models")

    def logits(side: int, stream: Any) -> Any:
        head = heads[side]

        def give(start: int, stop: int) -> Any:
            # the stream ends behind the final norm
            part = stream[start:stop].to(head.device)
            with torch.inference_mode():
                return head(part if last else head.norm(part))

        return give

    found = divergences(logits(0, before), logits(1, after), torch.tensor(chosen.targets))
    return pl.Series(name, found.kl)


def _cka_row(one: Floats, other: Floats, samples: Sequence[int], seed: int) -> pl.DataFrame:
    grams = one @ one.T, other @ other.T
    value = _weighted_cka(*grams, np.ones(len(one)))
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(one))
    null = _weighted_cka(grams[0], grams[1][np.ix_(order, order)], np.ones(len(one)))
    names, member = np.unique(samples, return_inverse=True)
    ends: tuple[float | None, float | None, float | None] = (None, None, None)
    if len(names) > 1 and np.isfinite(value):
        picks = draw.integers(0, len(names), (CKA_DRAWS, len(names)))
        counts = np.stack([np.bincount(row, minlength=len(names)) for row in picks])
        drawn = np.array([_weighted_cka(*grams, row[member].astype(float)) for row in counts])
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        ends = float(np.nanstd(drawn, ddof=1)), float(low), float(high)
    row = {
        "measure": "cka",
        "mean": _number(value),
        **dict(zip(("se", "low", "high"), ends, strict=True)),
        "tokens": len(one),
        "texts": len(names),
        "null": _number(null),
    }
    schema = means(pl.DataFrame({"sample": [], "x": []}), ()).schema
    return pl.DataFrame([row], schema={**schema, "null": pl.Float64})


def _weighted_cka(one: Floats, other: Floats, weights: Floats) -> float:
    """Centre two Gram matrices by weighted means, and correlate them."""
    share = weights / weights.sum()
    centred = []
    for gram in (one, other):
        row = gram @ share
        centred.append(gram - row[:, None] - row[None, :] + share @ row)
    pairs = ((0, 1), (0, 0), (1, 1))
    cross, a, b = (share @ (centred[i] * centred[j]) @ share for i, j in pairs)
    # what is left of a constant side after centring is rounding
    least = [CONSTANT * (share @ np.square(gram) @ share) for gram in (one, other)]
    return float(cross / np.sqrt(a * b)) if a > least[0] and b > least[1] else float("nan")


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
