"""What commands share: output, and the mapping of column names."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from imprint.errors import ConfigError, DataError
from imprint.progress import note

if TYPE_CHECKING:
    from imprint.findings import Finding


class Found(Protocol):
    """A result of a job, as commands tell it."""

    @property
    def findings(self) -> list[Finding]:
        """What was noticed."""

    def json(self) -> str:
        """Give the content of ``result.json``."""

    def summary(self) -> str:
        """Give the result in Markdown."""


def mapping(pairs: Iterable[str]) -> dict[str, str]:
    """Read ``--map ours=theirs``.

    Raises:
        ConfigError: a pair without ``=``, or one of our names twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise ConfigError(f"--map {pair!r} is not of the form ours=theirs")
        if ours in found:
            raise ConfigError(f"--map names {ours!r} twice: {found[ours]!r} and {theirs!r}")
        found[ours] = theirs
    return found


def show(text: str) -> None:
    """Write a result to stdout.

    Raises:
        DataError: stdout cannot take it (a full disk).
    """
    try:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as failed:
        raise DataError(f"cannot be written: {failed.strerror}", where="stdout") from failed


def tell(found: Found, folder: Path, *, json: bool, quiet: bool) -> None:
    """Tell a result: what was noticed and where the report lies to stderr, the rest to stdout."""
    note_findings(found.findings, quiet=quiet)
    show(found.json() if json else found.summary())
    note(f"report: {folder / 'report.html'}", quiet=quiet)


def note_findings(findings: Iterable[Finding], *, quiet: bool) -> None:
    """Tell on stderr what was noticed and is more than information."""
    for finding in findings:
        if finding.level != "info":
            note(f"finding: {finding.detail}", quiet=quiet)


def renames(pairs: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Read ``--rename REGEX=NEW``; an expression may itself hold ``=``.

    Raises:
        ConfigError: a pair without ``=``.
    """
    found = []
    for pair in pairs:
        before, equals, after = pair.rpartition("=")
        if not equals or not before:
            raise ConfigError(f"--rename {pair!r} is not of the form REGEX=NEW")
        found.append((before, after))
    return tuple(found)


def default_out(job: str) -> Path:
    """Where a job writes without ``--out``."""
    return Path("imprint-runs") / job
