"""The same queries in several contexts, read together so that changes are of the same tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imprint.errors import DataError, require
from imprint.forecast.features import Encoder, Numbers, Reader, chunks, pooled
from imprint.forecast.material import Text
from imprint.forecast.rendering import Rendered, check_aligned, render
from imprint.forecast.setting import Setting
from imprint.models.residual import Shared

Key = tuple[str, int]  # what a context is, and its draw
ALL = -1  # the mean over all draws


@dataclass(frozen=True, eq=False)
class Contexts:
    """Queries bare, and in contexts.

    Attributes:
        bare: of each query.
        shown: per context the same queries; ``None`` where one is not read in it.
    """

    bare: list[Rendered]
    shown: dict[Key, list[Rendered | None]]

    def check(self) -> None:
        """Check that every query has the same tokens in all contexts.

        Raises:
            DataError: one has not.
        """
        for rows in self.shown.values():
            for bare, shown in zip(self.bare, rows, strict=True):
                if shown is not None:
                    check_aligned(bare, shown)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some queries, read bare.

    Attributes:
        numbers: of the queries.
        xs: activations of each bare span.
        oks: which of its tokens are no sinks.
    """

    numbers: Numbers
    xs: list[Any]
    oks: list[Any]


@dataclass(frozen=True, eq=False)
class Shown:
    """Queries of a chunk in a context.

    Attributes:
        own: places in the chunk of those that are read in it.
        ys: their activations.
        both: which tokens are sinks neither here nor bare.
    """

    own: list[int]
    ys: list[Any]
    both: list[Any]


def read(
    reader: Reader,
    contexts: Contexts,
    latents: int,
    others: Mapping[str, Reader] | None = None,
) -> Iterator[tuple[Chunk, Iterator[tuple[Key, Shown]]]]:
    """Read queries chunk by chunk, bare and then in every context.

    Args:
        reader: of the bare queries, and of contexts.
        contexts: the renderings.
        latents: most latents that a text is pooled to; bounds a chunk.
        others: readers of contexts of a kind, where that is not the same model.
    """
    begun = {key: reader.shared([r for r in rows if r]) for key, rows in contexts.shown.items()}
    for n, row in enumerate(contexts.bare):
        if contexts.shown and all(rows[n] is None for rows in contexts.shown.values()):
            reader.counts.leave_out("crowded", row.place)
    for numbers in chunks(contexts.bare, latents, reader.tokens):
        rows = [contexts.bare[n] for n in numbers]
        xs = reader.spans(rows)
        oks = reader.kept(xs)
        reader.count(rows, oks)
        chunk = Chunk(numbers, xs, oks)
        yield chunk, _shown(reader, contexts, chunk, begun, others or {})


def _shown(
    reader: Reader,
    contexts: Contexts,
    chunk: Chunk,
    begun: Mapping[Key, Shared | None],
    others: Mapping[str, Reader],
) -> Iterator[tuple[Key, Shown]]:
    for key, rows in contexts.shown.items():
        own, asked = [], []
        for place, n in enumerate(chunk.numbers):
            row = rows[n]
            if row is not None:
                own.append(place)
                asked.append(row)
        if not own:
            continue
        by = others.get(key[0], reader)
        ys = by.spans(asked, begun[key] if by is reader else None)
        kept = by.kept(ys)
        yield key, Shown(own, ys, [chunk.oks[n] & ok for n, ok in zip(own, kept, strict=True)])


def change(encoder: Encoder, latents: int, chunk: Chunk, base: Any, shown: Shown) -> Any:
    """Give the change of each latent's mean over a span, shown less bare.

    Args:
        encoder: of the latents.
        latents: their number.
        chunk: the queries.
        base: their bare means [texts, latents].
        shown: the same queries in a context.

    Returns:
        [texts, latents]; NaN for queries that are not in this context. A token that is a sink in
        one context only is left out of both.
    """
    torch = require("torch", "models")
    found = torch.full_like(base, torch.nan)
    found[shown.own] = pooled(encoder, latents, shown.ys, shown.both)[0] - base[shown.own]
    for place, y, both in zip(shown.own, shown.ys, shown.both, strict=True):
        if not bool((both == chunk.oks[place]).all()):
            pair = pooled(encoder, latents, [y, chunk.xs[place]], [both, both])[0]
            found[place] = pair[0] - pair[1]
    return found


def bare(
    setting: Setting, reader: Reader, texts: Sequence[Text], *, bos: bool
) -> tuple[list[int], list[Rendered]]:
    """Render texts without demonstrations.

    Returns:
        Numbers of the texts that fit into the context, and their renderings; others are counted.
    """
    numbers, found = [], []
    for n, text in enumerate(texts):
        row = render(setting.model.tokenizer, setting.prompter, text, bos=bos)
        if fits(setting, row) and row.query:
            numbers.append(n)
            found.append(row)
        else:
            reader.counts.leave_out("beyond" if row.query else "empty", row.place)
    return numbers, found


def fits(setting: Setting, row: Rendered) -> bool:
    """Tell whether a rendering is read whole."""
    return len(row.ids) <= setting.engine.context


def moved(chunk: Chunk, one: Shown) -> Any:
    """Give the change of the mean activation over each span, [texts, width]; NaN where not read."""
    torch = require("torch", "models")
    found = torch.full((len(chunk.xs), chunk.xs[0].shape[1]), torch.nan, device=chunk.xs[0].device)
    for place, y, ok in zip(one.own, one.ys, one.both, strict=True):
        found[place] = y[ok].mean(0) - chunk.xs[place][ok].mean(0)
    return found


def refuse_none(rows: Sequence[Any]) -> None:
    """Refuse to make statistics of fewer than two queries.

    Raises:
        DataError: there are fewer.
    """
    if len(rows) < 2:
        raise DataError(
            f"{len(rows)} SFT examples are left to contrast, and statistics need two at least",
            remedy="give more examples, shorter ones, or another --shift.",
        )
