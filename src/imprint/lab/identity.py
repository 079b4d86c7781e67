"""What a unit reads, told by content: of a unit's folder its name and key, of files their hash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imprint.errors import DataError
from imprint.runs import file_identity


def identity(source: Path | str | None) -> Any:
    """Tell a source apart, wherever the study's folder lies.

    Args:
        source: a path; a text that is no path (a reference) stands for itself.

    Raises:
        DataError: a path is absent.
    """
    if source is None:
        return None
    path = Path(source)
    for above in (path, *path.parents):
        if above.parent.name == "units" and "-" in above.name:
            return [above.name, path.relative_to(above).as_posix()]
    if not path.exists():
        if isinstance(source, Path):
            raise DataError("no such file", where=str(source))
        return str(source)
    every = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [{**file_identity(one), "path": one.name} for one in every if one.is_file()]
