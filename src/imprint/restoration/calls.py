"""Restoring in one call from Python; the command line has the run folder besides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imprint.checkpoints import open_checkpoint
from imprint.executors import Name
from imprint.executors import executor as crew
from imprint.restoration.patch import apply_patch
from imprint.restoration.restore import RestoreConfig, plan, refuse_targets, write
from imprint.restoration.settings import configured


def restore(
    base: str | Path,
    tuned: str | Path,
    out: str | Path,
    config: RestoreConfig | None = None,
    *,
    patch: bool = False,
    overwrite: bool = False,
    executor: Name = "threads",
    **settings: Any,
) -> list[Path]:
    """Put a share of what fine-tuning changed back to base (arXiv 2509.16596, restoration).

    Args:
        base, tuned: ``PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]]``.
        out: the folder (with ``patch`` the file) to write; for several shares the folder that
            holds one of these for each.
        config: what to put back.
        patch: write sparse patches instead of checkpoints.
        overwrite: replace what the target holds.
        executor: ``threads``, or ``ray`` for the workers of a Ray cluster.
        settings: fields of `RestoreConfig`, as ``top=0.2`` or ``by="absolute"``.

    Returns:
        What was written, one path per share; each appeared whole.

    Raises:
        ConfigError: a setting makes no sense, or the target holds something else.
        CheckpointError: a checkpoint is damaged, or does not fit the other.
        DataError: the disk is full or fails.
        DependencyError: Ray is asked for and not installed.
    """
    config = configured(RestoreConfig, config, settings)
    before, after = open_checkpoint(base), open_checkpoint(tuned, merge_in="stored")
    target = Path(out)
    refuse_targets(before, after, config, target, patch=patch, overwrite=overwrite)
    with crew(executor, config.workers) as many:
        made = plan(before, after, config, executor=many)
        command = _call("restore", (base, tuned, out), settings)
        return write(made, target, command=command, patch=patch, overwrite=overwrite, executor=many)


def apply(
    tuned: str | Path, patch: str | Path, out: str | Path, *, overwrite: bool = False
) -> Path:
    """Write the checkpoint that a patch and its parent make.

    Args:
        tuned: the checkpoint that the patch was made from.
        patch: a file that `restore` wrote with ``patch=True``.
        out: the folder to write.
        overwrite: replace what it holds.

    Raises:
        CheckpointError: the file is no patch, is damaged, or was made for other weights.
        ConfigError: ``out`` holds something else.
    """
    parent = open_checkpoint(tuned, merge_in="stored")
    command = _call("apply", (tuned, patch, out), {})
    return apply_patch(parent, Path(patch), Path(out), command=command, overwrite=overwrite)


def _call(name: str, paths: tuple[str | Path, ...], settings: Mapping[str, Any]) -> str:
    given = [repr(str(path)) for path in paths]
    given += [f"{key}={value!r}" for key, value in settings.items()]
    return f"imprint.{name}({', '.join(given)})"
