"""Where a run may write."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from imprint.checkpoints.writer import resolved
from imprint.errors import ConfigError


def refuse_within(run: Path, folders: Iterable[Path]) -> None:
    """Refuse a run folder that lies in a checkpoint, which would no longer be what it was.

    Raises:
        ConfigError: it lies in one of the folders, or is one.
    """
    if any(resolved(run).is_relative_to(resolved(folder)) for folder in folders):
        raise ConfigError(
            "the run folder lies in the target or in an input",
            where=str(run),
            remedy="name another --out.",
        )
