"""From a model's name to its weights, an adapter merged where one is named."""

from __future__ import annotations

from pathlib import Path

from imprint.checkpoints.adapters import MergeIn, merge
from imprint.checkpoints.checkpoint import Checkpoint, open_folder
from imprint.checkpoints.index import BIN, BIN_SHARDED, SHARDED, SINGLE, read_object
from imprint.checkpoints.lora import CONFIG
from imprint.checkpoints.reference import Reference, locate, parse_reference
from imprint.errors import CheckpointError


def open_checkpoint(model: str | Path | Reference, *, merge_in: MergeIn = "float32") -> Checkpoint:
    """Open a model by its name.

    Args:
        model: ``PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]]``. A folder that holds only an adapter
            is opened over the base that it names.
        merge_in: whether merged tensors are given as float32, exactly, or rounded to the base's
            type (``stored``), as a checkpoint to write needs them.

    Raises:
        ConfigError: the name fits no form.
        CheckpointError: it cannot be found, is damaged, or is of a layout that is not read.
    """
    reference = model if isinstance(model, Reference) else parse_reference(str(model))
    folder = locate(Reference(reference.source, reference.revision))
    if reference.adapter is None and _only_adapter(folder):
        below = _base_of(folder)
        return merge(
            open_folder(locate(below), below), folder, merge_in=merge_in, reference=reference
        )
    base = open_folder(folder, reference)
    if reference.adapter is None:
        return base
    adapter = locate(reference.adapter)
    return merge(base, adapter, merge_in=merge_in, reference=reference)


def _only_adapter(folder: Path) -> bool:
    weights = (SINGLE, SHARDED, BIN, BIN_SHARDED)
    return (folder / CONFIG).is_file() and not any((folder / name).exists() for name in weights)


def _base_of(folder: Path) -> Reference:
    config = read_object(folder / CONFIG)
    named, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(named, str) or not named:
        raise CheckpointError(
            "the adapter does not name its base model",
            where=str(folder / CONFIG),
            remedy=f"write BASE+{folder}.",
        )
    base = Reference(named, revision if isinstance(revision, str) else None)
    if _only_adapter(locate(base)):
        raise CheckpointError(
            f"the adapter's base {named!r} is an adapter itself",
            where=str(folder / CONFIG),
            remedy=f"merge that one first and write MERGED+{folder}.",
        )
    return base
