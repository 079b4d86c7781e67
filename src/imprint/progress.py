"""Progress on stderr: a bar, or a line a minute without a terminal; none with ``--quiet``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

EVERY = 60.0  # seconds between two lines in a log
AT_ONCE = 1.0  # seconds in which only what is there already is counted


class Bar(Protocol):
    """What long work reports to."""

    def advance(self, steps: float = 1) -> None:
        """Count finished steps."""

    def describe(self, text: str) -> None:
        """Say what is being worked on."""


@dataclass(slots=True)
class Silent:
    """A bar that shows nothing."""

    def advance(self, steps: float = 1) -> None:
        """Do nothing."""

    def describe(self, text: str) -> None:
        """Do nothing."""


class Lines:
    """Writes how far the work is into a log, now and then; short work leaves no line."""

    def __init__(self, total: float | None, text: str):
        self._total, self._text, self._about = total, text, ""
        self._done, self._begun = 0.0, time.monotonic()
        self._told, self._free = self._begun, 0.0

    def advance(self, steps: float = 1) -> None:
        """Count, and write a line if the last one is a minute old."""
        self._done += steps
        now = time.monotonic()
        if now - self._begun < AT_ONCE:  # found finished, and no measure of speed
            self._free = self._done
        if now - self._told >= EVERY:
            self._told = now
            note(f"{self._text}: {self._far(now - self._begun)}{self._about}")

    def describe(self, text: str) -> None:
        """Say what is being worked on in the next line."""
        self._about = f" ({text})"

    def _far(self, seconds: float) -> str:
        if not self._total:
            return f"{self._done:.0f} after {seconds / 60:.0f} min"
        made = self._done - self._free
        left = seconds * max(self._total - self._done, 0) / made if made else 0
        return f"{self._done / self._total:.0%}, about {left / 60:.0f} min left"


@contextmanager
def progress(total: float | None, text: str, *, quiet: bool = False) -> Iterator[Bar]:
    """Show a bar with the time left while the block runs, or tell it in lines.

    Args:
        total: number of steps, ``None`` where it is not known.
        text: what is being worked on.
        quiet: show nothing.
    """
    if quiet or not sys.stderr.isatty():
        yield Silent() if quiet else Lines(total, text)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}" if total else "{task.completed:.0f}"),
        TimeElapsedColumn(),
        TimeLeft(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(text, total=total)

        class Shown:
            def advance(self, steps: float = 1) -> None:
                shown.advance(task, steps)

            def describe(self, text: str) -> None:
                shown.update(task, description=text)

        yield Shown()


def note(text: str, *, quiet: bool = False) -> None:
    """Write one line about the work to stderr."""
    if not quiet:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
