"""Settings of a comparison of checkpoints."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from imprint.errors import ConfigError

RATIOS = (0.01, 0.03, 0.05, 0.1, 0.2, 0.4, 0.6)
# the shares of two draws differ by a few parts in 10⁴ at 10⁸ weights, so that few draws suffice
MANY, FEW, LARGE = 5, 2, 1 << 27


@dataclass(frozen=True, slots=True)
class DiffConfig:
    """How changes are counted.

    Attributes:
        top: shares of the weights whose part of all change is told; each counts once.
        eps: added to |base| in the relative change; positive.
        region: what is counted, as :func:`imprint.checkpoints.region` reads it.
        enrichment_at: the ratio at which modules and layers are compared.
        rename: (regular expression, replacement) from the tuned names to those of the base.
        spectrum: decompose the change of every matrix, beside a shuffle of it; this takes long.
        permutations: draws of the permuted null; by default ``FEW`` where there are more than
            ``LARGE`` weights, else ``MANY``.
        seed: of the permutations.
        workers: groups of tensors read at the same time; no number depends on it.
        quiet: show no progress.
    """

    top: tuple[float, ...] = RATIOS
    eps: float = 1e-8
    region: str = "transformer"
    enrichment_at: float = 0.2
    rename: tuple[tuple[str, str], ...] = ()
    spectrum: bool = False
    permutations: int | None = None
    seed: int = 0
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    quiet: bool = False

    def __post_init__(self) -> None:
        if not self.top:
            raise ConfigError("no ratio is given", remedy="write --top 0.01,0.2.")
        object.__setattr__(self, "top", tuple(dict.fromkeys(self.top)))
        for ratio in (*self.top, self.enrichment_at):
            if not 0 < ratio <= 1:
                raise ConfigError(f"the ratio {ratio} is not above 0 and at most 1")
        if not 1.2e-38 <= self.eps < 1e30:
            raise ConfigError(
                f"eps is {self.eps}, which is not positive in float32",
                remedy="without it weights of zero would have no relative change; try 1e-8.",
            )
        if self.workers < 1:
            raise ConfigError(f"--workers {self.workers} is less than 1")
        if (self.permutations is not None and self.permutations < 1) or self.seed < 0:
            raise ConfigError("permutations are 1 or more, the seed is 0 or more")

    def settled(self, elements: int) -> DiffConfig:
        """Choose how many permutations are drawn for so many weights."""
        chosen = FEW if elements > LARGE else MANY
        return replace(self, permutations=self.permutations or chosen)

    @property
    def settings(self) -> dict[str, Any]:
        """Give what changes the numbers, for the manifest."""
        return {k: v for k, v in asdict(self).items() if k not in ("workers", "quiet", "seed")}
