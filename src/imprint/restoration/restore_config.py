"""Settings of a restoration."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from imprint.errors import ConfigError, nearest
from imprint.restoration.compat import Dtype
from imprint.restoration.histogram import Order
from imprint.restoration.methods import Method
from imprint.restoration.parts import Scope

CACHED = 1 << 17  # weights whose intermediates mostly stay in the processor's caches


@dataclass(frozen=True, slots=True)
class RestoreConfig:
    """What to put back.

    Attributes:
        by: what decides which weights go back.
        top: shares returned to base, 0 to 1; by default .2. Not for ``spectral``.
        strength: multiples of the singular-value threshold, 0 or more; by default 1. For
            ``spectral`` only.
        order: return the highest scores, or the lowest.
        scope: what competes; by default everything, for ``fapm`` the weights of one tensor.
        region: as `imprint.checkpoints.region` reads it.
        seed: of ``random`` and ``dare``.
        eps: added to |p|.
        rename: (regular expression, replacement) from tuned names to base names.
        compat: ``paramrestore`` selects as the authors' code does.
        dtype: the dtype whose arithmetic ``compat`` follows.
        chunk, workers: weights read at a time, tensors worked on at a time; no result depends on
            them.
    """

    by: Method = "relative"
    top: tuple[float, ...] = ()
    strength: tuple[float, ...] = ()
    order: Order = "top"
    scope: Scope | None = None
    region: str = "transformer"
    seed: int = 0
    eps: float = 1e-8
    rename: tuple[tuple[str, str], ...] = ()
    compat: Literal["paramrestore"] | None = None
    dtype: Dtype = "bf16"
    chunk: int = CACHED
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)

    def __post_init__(self) -> None:
        if not self.levels:
            object.__setattr__(self, self.axis, (1.0,) if self.by == "spectral" else (0.2,))

    def settings(self) -> dict[str, Any]:
        """Give what changes the result."""
        unused = {"chunk", "workers", "strength" if self.axis == "top" else "top"}
        kept = {key: value for key, value in asdict(self).items() if key not in unused}
        return {**kept, "scope": self.competing, self.axis: list(self.levels)}

    @property
    def axis(self) -> Literal["top", "strength"]:
        """The setting that may have several values."""
        return "strength" if self.by == "spectral" else "top"

    @property
    def levels(self) -> tuple[float, ...]:
        """The values of ``axis``; each gives one checkpoint."""
        return self.strength if self.axis == "strength" else self.top

    @property
    def competing(self) -> Scope:
        """The scope, its default filled in."""
        return self.scope or ("tensor" if self.by in ("fapm", "spectral") else "global")

    def check(self) -> None:
        """Refuse settings that do not make sense.

        Raises:
            ConfigError: an unknown method, a share outside 0 to 1 or named twice, or a combination
                that is not defined.
        """
        if self.by not in get_args(Method):
            raise ConfigError(f"--by {self.by!r}: {nearest(self.by, get_args(Method))}")
        self._check_levels()
        if not 1e-37 < self.eps < 1e37:  # a normal float32, so that no score is undefined
            raise ConfigError(f"--eps {self.eps} is not above 0 and finite in float32")
        if self.seed < 0 or self.seed >= 1 << 32:
            raise ConfigError(f"--seed {self.seed} is not between 0 and 2^32 - 1")
        if self.workers < 1:
            raise ConfigError(f"--workers {self.workers} is less than 1")
        if self.order == "bottom" and self.by in ("dare", "interpolate", "spectral"):
            raise ConfigError(f"--order bottom has no meaning with --by {self.by}")
        if self.compat and (self.by not in ("relative", "random") or self.competing != "global"):
            raise ConfigError(
                "--compat paramrestore knows --by relative and random over the whole region",
                remedy="leave out --compat, or --by and --scope.",
            )

    def _check_levels(self) -> None:
        if self.axis == "strength" and self.top:
            raise ConfigError(
                "--top has no meaning with --by spectral",
                remedy="write --strength, a multiple of the singular-value threshold.",
            )
        if self.axis == "strength" and self.scope:
            raise ConfigError("--scope has no meaning with --by spectral: each matrix has its own")
        if self.axis == "top" and self.strength:
            raise ConfigError(
                f"--strength has no meaning with --by {self.by}", remedy="write --top, a share."
            )
        for value in self.levels:
            if not 0 <= value <= 1 and self.axis == "top":
                raise ConfigError(f"--top {value} is not between 0 and 1")
            if not 0 <= value < math.inf:
                raise ConfigError(f"--strength {value} is not 0 or more and finite")
        if len({f"{value:.12g}" for value in self.levels}) < len(self.levels):  # as folders say it
            noun = "share" if self.axis == "top" else "strength"
            raise ConfigError(f"--{self.axis} names a {noun} twice")
