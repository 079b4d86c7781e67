"""A sample of a pair's weights, spread evenly over the region."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from imprint.checkpoints.dtypes import Float32
from imprint.restoration.concentration import Counter
from imprint.restoration.sites import Group

SIZE = 1 << 20  # weights

Pieces = dict[str, tuple[Float32, Float32]]


def sample(counter: Counter, groups: Sequence[Group], number: int) -> Pieces:
    """Read about ``SIZE`` weights of the base and of a tuned checkpoint, every tensor by its size.

    Args:
        counter: knows the checkpoints.
        groups: what lies in the region.
        number: of the tuned checkpoint.

    Returns:
        The tuned type (``BF16``) → base and tuned weights, [n] each. Types without a weight are
        left out.

    Raises:
        CheckpointError: a weight is NaN or infinite, or a file became shorter.
    """
    found: dict[str, list[tuple[Float32, Float32]]] = {}
    for kind, base, tuned in _drawn(counter, groups, number):
        found.setdefault(kind, []).append((base, tuned))
    return {
        kind: (np.concatenate([b for b, _ in some]), np.concatenate([t for _, t in some]))
        for kind, some in found.items()
    }


def _drawn(
    counter: Counter, groups: Sequence[Group], number: int
) -> Iterator[tuple[str, Float32, Float32]]:
    sites = [s for group in groups for s in group.sites if number in s.tuned and s.elements]
    elements = sum(site.elements for site in sites)
    for site in sites:
        kind = counter.tuned[number].info(site.tuned[number].name).dtype
        size = math.ceil(SIZE * site.elements / elements)
        yield kind, *counter.sample(site, number, size)
