"""What more mixtures at the smallest scale would take, told where there are few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imprint.lab.checkpoint import plain

if TYPE_CHECKING:
    from imprint.lab.study import Study
    from imprint.lab.unit import Unit

ENOUGH, BETWEEN = 24, 3  # mixtures; proportions between neighbours that are proposed


def finer(opened: Study, units: Sequence[Unit]) -> str | None:
    """Say how many mixtures there are at the smallest scale, how to train more, and its price.

    Args:
        opened: the study.
        units: of the grid, with the seconds that building them took.

    Returns:
        ``None`` where there are enough, or where none are crossed.
    """
    config = opened.config
    if not config.trains or config.mixtures.listed:
        return None
    scale = next(iter(config.scales))
    few, many = len(config.mixtures_of(scale)), len(config.mixtures.crossed(BETWEEN))
    if few >= ENOUGH or many <= few:
        return None
    kinds = tuple(f"{kind}-{plain(scale)}-" for kind in ("pretrain", "sft", "evaluate"))
    took = sum(unit.seconds for unit in units if unit.name.startswith(kinds))
    minutes = took * (many - few) / few / opened.workers / 60
    return (
        f"{few} mixtures decide little: --steps-between {BETWEEN} trains {many} at scale "
        f"{scale}, in about {minutes:.1f} more minutes, which is why it is off."
    )
