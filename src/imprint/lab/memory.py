"""The most memory that a process held."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path


def peak_bytes() -> int:
    """Most memory that this process held since :func:`reset_peak` (or ever, where not Linux)."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def reset_peak() -> None:
    """Begin to count the peak anew, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
