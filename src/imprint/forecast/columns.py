"""Which columns of the user's files are read: by the user's mapping, or by usual names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from imprint.errors import ConfigError, DataError, nearest
from imprint.findings import Finding

OURS = ("prompt", "completion", "messages", "id", "answer", "domain")


@dataclass(slots=True)
class Columns:
    """The names of columns, and what came of them in the files that were read.

    Attributes:
        rename: our name → the name in the files; one that a file lacks is looked for there by its
            usual names, so that files may differ.
        used: file → what was read of it under a usual name: that name → ours.
        met: our names whose mapped column some file has.
        lacked: our names → the first file without their mapped column, and its columns.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    used: dict[Path, dict[str, str]] = field(default_factory=dict)
    met: set[str] = field(default_factory=set)
    lacked: dict[str, tuple[Path, Collection[str]]] = field(default_factory=dict)

    def find(self, frame: pl.DataFrame, path: Path, ours: str, known: Sequence[str]) -> str | None:
        """Find a column by the user's mapping, or by a usual name, the first that is there."""
        theirs = self.rename.get(ours)
        if theirs is not None and theirs in frame.columns:
            self.met.add(ours)
            return theirs
        if theirs is not None:
            self.lacked.setdefault(ours, (path, frame.columns))
        found = next((name for name in known if name in frame.columns), None)
        if found is not None and found != ours:
            self.used.setdefault(path, {})[found] = ours
        return found

    def findings(self, path: Path) -> list[Finding]:
        """Say what was read under another name."""
        return [
            Finding("alias", f"column {theirs!r} of {path} is read as {ours!r}", "info")
            for theirs, ours in self.used.get(path, {}).items()
        ]

    def lacking(self, frame: pl.DataFrame, path: Path, problem: str, ours: str) -> DataError:
        """Make the error about a file without a column that it needs."""
        theirs = self.rename.get(ours)
        if theirs is not None:
            return _absent(ours, theirs, path, frame.columns)
        return DataError(
            f"has {problem}; its columns: {', '.join(frame.columns[:12])}",
            where=str(path),
            remedy=f"name the column: --map {ours}=THEIR_NAME.",
        )

    def refuse_unmet(self) -> None:
        """Refuse a mapping that no file which was read has a column for.

        Raises:
            ConfigError: our name is none, or no file is read for it.
            DataError: no file has the column.
        """
        for ours, theirs in self.rename.items():
            if ours not in OURS:
                raise ConfigError(f"--map {ours}={theirs}: {nearest(ours, OURS)}")
            if ours in self.met:
                continue
            if ours not in self.lacked:
                raise ConfigError(f"--map {ours}={theirs}: no file is read for {ours!r}")
            raise _absent(ours, theirs, *self.lacked[ours])


def _absent(ours: str, theirs: str, path: Path, columns: Collection[str]) -> DataError:
    return DataError(
        f"has no column {theirs!r} (--map {ours}={theirs}); {nearest(theirs, columns)}",
        where=str(path),
    )
