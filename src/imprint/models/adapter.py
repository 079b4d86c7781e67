"""From a model's name to its folder and adapter, and the adapter merged into the model."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from imprint.checkpoints import Reference, locate, parse_reference
from imprint.errors import CheckpointError, require

CONFIG = "adapter_config.json"


def find(model: str | Path) -> tuple[Path, Path | None]:
    """Find the folders of a model and of the adapter that is to be merged into it.

    Raises:
        ConfigError: the name fits no form.
        CheckpointError: a folder or repository cannot be had, or an adapter names no base.
    """
    reference = Reference(str(model)) if isinstance(model, Path) else parse_reference(model)
    folder = locate(Reference(reference.source, reference.revision))
    if reference.adapter is not None:
        return folder, locate(reference.adapter)
    if (folder / CONFIG).is_file() and not (folder / "config.json").is_file():
        return locate(_base(folder)), folder
    return folder, None


def with_adapter(model: Any, folder: Path) -> Any:
    """Merge an adapter into a model, in the model's type.

    Raises:
        CheckpointError: no adapter, or one that does not fit.
        DependencyError: peft is not installed.
    """
    peft = require("peft", "models")
    try:
        with warnings.catch_warnings():
            # peft asks transformers for names that it is about to drop: nothing a user can mend
            warnings.simplefilter("ignore", FutureWarning)
            return peft.PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as failed:
        reason = (str(failed).strip() or repr(failed)).splitlines()[0]
        raise CheckpointError(
            f"the adapter cannot be merged by peft: {reason}",
            where=str(folder),
            remedy="is this the base that the adapter was trained on?",
        ) from failed


def stored_type(folder: Path, trusted: bool = False) -> Any:
    """Give the type of a checkpoint's weights as its config tells, float32 where it does not."""
    torch, transformers = require("torch", "models"), require("transformers", "models")
    config = transformers.AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=trusted
    )
    return config.get_text_config().dtype or torch.float32


def _base(folder: Path) -> Reference:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        named, revision = config.get("base_model_name_or_path"), config.get("revision")
    except (OSError, ValueError, AttributeError) as failed:
        raise CheckpointError(f"cannot be read: {failed}", where=str(folder / CONFIG)) from failed
    if not isinstance(named, str) or not named:
        raise CheckpointError(
            "the adapter does not name its base model",
            where=str(folder / CONFIG),
            remedy=f"write BASE+{folder}.",
        )
    return Reference(named, revision if isinstance(revision, str) else None)
