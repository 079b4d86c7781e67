"""How much a weight changed: relative to its size before, or in absolute terms."""

from __future__ import annotations

from typing import Literal

import numpy as np

from imprint.checkpoints.dtypes import Float32
from imprint.errors import ConfigError, nearest
from imprint.restoration import kernels

Kind = Literal["relative", "absolute"]
KINDS: tuple[Kind, ...] = ("relative", "absolute")


def score(kind: Kind, base: Float32, tuned: Float32, eps: float = 1e-8) -> Float32:
    """Score every weight by its change; all arithmetic is float32.

    The relative change follows arXiv 2509.16596; the offset ``eps`` is that of the authors' code.
    It keeps zero weights finite, so that the scores of finite weights are never NaN or infinite.

    Args:
        kind: ``relative`` (|Δ| / (|base| + eps)) or ``absolute`` (|Δ|).
        base, tuned: finite values, any equal shape. Scores beyond float32 become its largest.
        eps: positive in float32.

    Returns:
        The scores in the same shape, 0 or more.

    Raises:
        ConfigError: an unknown kind, or ``eps`` that is not positive.
    """
    if kind not in KINDS:
        raise ConfigError(f"no score {kind!r}; {nearest(kind, KINDS)}")
    offset = np.float32(eps)
    if not 0 < offset < np.inf:
        raise ConfigError(
            f"eps is {eps}, which is not positive in float32", remedy="give a value such as 1e-8."
        )
    before, after = (np.ascontiguousarray(v, np.float32).reshape(-1) for v in (base, tuned))
    found = np.empty_like(before)
    if kind == "relative":
        kernels.relative_changes(before, after, offset, found)
    else:
        kernels.absolute_changes(before, after, found)
    return found.reshape(np.shape(base))
