"""A model's tokenizer, without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imprint.errors import CheckpointError, DataError, require
from imprint.models.adapter import find
from imprint.models.load import TOKENIZERS


def tokenizer_of(model: str, *, trust_remote_code: bool = False) -> Any:
    """Load the tokenizer of a model: an adapter's own where it brings one, else its base's.

    Raises:
        CheckpointError: it cannot be loaded.
        DataError: there is none.
    """
    folder, adapter = find(model)
    if adapter is not None and _has_one(adapter):
        folder = adapter
    if not _has_one(folder):
        raise DataError(
            "has no tokenizer, which texts need",
            where=str(folder),
            remedy="copy the tokenizer's files of its base beside the weights.",
        )
    transformers = require("transformers", "models")
    try:
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as failed:  # the library's own errors are of any kind
        reason = (str(failed).strip() or repr(failed)).splitlines()[0]
        raise CheckpointError(f"its tokenizer: {reason}", where=str(folder)) from failed


def _has_one(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TOKENIZERS)
