"""Where base and tuned checkpoints meet, grouped by layer and module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from imprint.checkpoints import Alignment, Checkpoint, Span, place, select
from imprint.checkpoints.dtypes import Float32
from imprint.checkpoints.regions import is_buffer
from imprint.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Site:
    """A flat range of the base and its counterpart in each tuned checkpoint that has it.

    Attributes:
        name: the tuned tensor's name, or that of the part where one side is fused.
        shape: of what is compared.
        base: where it lies in the base.
        tuned: number of the tuned checkpoint → where it lies there.
    """

    name: str
    shape: tuple[int, ...]
    base: Span
    tuned: dict[int, Span] = field(default_factory=dict)

    @property
    def elements(self) -> int:
        """The number of weights."""
        return self.base.stop - self.base.start


@dataclass(frozen=True, slots=True)
class Group:
    """All sites of one module type in one layer.

    Attributes:
        layer: number of the block, ``None`` outside the blocks.
        module: module type.
        sites: in flat order.
    """

    layer: int | None
    module: str
    sites: tuple[Site, ...]


def groups(alignments: Sequence[Alignment], region: str) -> list[Group]:
    """Group what lies in a region, in the order of the tuned checkpoint's data.

    Raises:
        ConfigError: nothing lies in the region, nothing in it has values, or it cannot be read.
    """
    found: dict[Span, Site] = {}
    for number, alignment in enumerate(alignments):
        pairs = {pair.name: pair for pair in alignment.pairs if not is_buffer(pair.name)}
        for name in select(region, pairs):
            pair = pairs[name]
            site = found.setdefault(pair.base, Site(name, pair.shape, pair.base))
            site.tuned[number] = pair.tuned
        if not any(site.elements for site in found.values() if number in site.tuned):
            raise ConfigError(
                f"the tensors in the region {region!r} hold no values",
                remedy="name another --region; are the checkpoints whole?",
            )
    sorted_out: dict[tuple[int | None, str], list[Site]] = {}
    for site in found.values():
        where = place(site.name)
        sorted_out.setdefault((where.layer, where.module), []).append(site)
    return [Group(*key, tuple(sites)) for key, sites in sorted_out.items()]


def values(checkpoint: Checkpoint, span: Span, start: int, stop: int) -> Float32:
    """Read a range of a span as float32, [stop - start]; positions count from the span's start.

    Raises:
        CheckpointError: a value is NaN or infinite.
    """
    at = span.start + start
    raw = checkpoint.read(span.name, at, span.start + stop)
    found = checkpoint.to_float32(span.name, raw, at)
    checkpoint.refuse_not_finite(span.name, found, at)
    return found


def change(
    base: Checkpoint, tuned: Checkpoint, site: Site, number: int, start: int, stop: int
) -> Float32:
    """Read tuned − base of a range of a site, [stop - start], in float32."""
    return np.subtract(
        values(tuned, site.tuned[number], start, stop), values(base, site.base, start, stop)
    )


def ranges(elements: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Cut a flat range into pieces."""
    for start in range(0, elements, chunk):
        yield start, min(start + chunk, elements)
