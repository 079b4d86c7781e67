"""The files that a checkpoint is read from."""

from __future__ import annotations

from pathlib import Path

from imprint.checkpoints.checkpoint import Checkpoint
from imprint.checkpoints.reference import Reference, locate


def weight_files(checkpoint: Checkpoint) -> list[Path]:
    """List the files that say what a checkpoint's weights are: shards, index, config, adapter."""
    beside = ("config.json", checkpoint.index_file)
    found = [checkpoint.path / name for name in (*checkpoint.layout, *beside) if name]
    return list(dict.fromkeys(found + _adapter_files(checkpoint.reference)))


def _adapter_files(reference: Reference) -> list[Path]:
    folders = [locate(reference.adapter)] if reference.adapter else []
    folders.append(locate(Reference(reference.source, reference.revision)))
    return [path for folder in folders for path in sorted(folder.glob("adapter_*"))]
