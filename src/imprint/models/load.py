"""Loading a causal language model and its tokenizer."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from imprint.errors import CheckpointError, ConfigError, require
from imprint.models.adapter import find, stored_type, with_adapter

Dtype = Literal["bf16", "fp16", "fp32"]
TORCH: dict[str, str] = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A model ready to be asked.

    Attributes:
        model: a ``transformers`` causal language model in evaluation mode.
        tokenizer: its tokenizer, ``None`` where the folder has none.
        folder: where both came from.
        reference: how the user named it, where that was not by folder.
    """

    model: Any
    tokenizer: Any
    folder: Path
    reference: str | None = None

    @property
    def context(self) -> int | None:
        """The most tokens that the model reads at once, where its config tells."""
        config = self.model.config.get_text_config()
        for name in ("n_positions", "max_position_embeddings", "n_ctx"):
            found = getattr(config, name, None)
            if isinstance(found, int) and found > 0:
                return found
        return None

    def keeping(self, places: int) -> dict[str, int]:
        """Give what a call of the model needs for the logits of the last places alone.

        Nothing for a model that knows no such request: it gives all logits.
        """
        known = "logits_to_keep" in inspect.signature(self.model.forward).parameters
        return {"logits_to_keep": places} if known else {}

    @property
    def device(self) -> Any:
        """Where the model's input belongs."""
        return self.model.device


def load(
    model: str | Path,
    *,
    dtype: Dtype | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> Loaded:
    """Load a causal language model, an adapter merged into it where one is named.

    Args:
        model: ``PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]]``, or a folder. A folder that holds
            only an adapter is loaded over the base that it names. Adapters are merged in float32
            and rounded once.
        dtype: the type to compute in; by default that of the stored weights.
        device: ``cpu``, ``cuda``, ``cuda:1``, …; by default a GPU where there is one. ``auto``
            spreads a large model over all GPUs and the memory of the machine.
        trust_remote_code: run code that the checkpoint brings along; never without this.

    Raises:
        CheckpointError: it cannot be found or loaded, or weights of it are missing.
        ConfigError: the name fits no form, or a device is not there.
        DependencyError: torch, transformers or, for an adapter, peft is not installed.
    """
    torch, transformers = require("torch", "models"), require("transformers", "models")
    where = None if device == "auto" else place(device)
    folder, adapter = find(model)
    how = {
        "local_files_only": True,
        "trust_remote_code": trust_remote_code,
        **({"device_map": "auto"} if where is None else {}),
    }
    with _no_bars(transformers), _as_checkpoint_error(folder, trust_remote_code):
        built, found = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32 if adapter else _kind(torch, dtype),
            output_loading_info=True,
            **how,
        )
        brings = adapter if adapter and _has_tokenizer(adapter) else folder
        tokenizer = _tokenizer(transformers, brings, trust_remote_code)
    _refuse_missing(found["missing_keys"], folder)
    if adapter:
        kind = getattr(torch, TORCH[dtype]) if dtype else stored_type(folder, trust_remote_code)
        built = with_adapter(built, adapter).to(kind)
    built = built if where is None else built.to(where)
    named = model if isinstance(model, str) else None
    return Loaded(built.eval(), tokenizer, folder, named)


def place(device: str | None) -> Any:
    """Give the device of a name, a GPU where there is one if none is named.

    Raises:
        ConfigError: it is not there.
    """
    torch = require("torch", "models")
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError, NotImplementedError) as failed:
        reason = str(failed).splitlines()[0]
        raise ConfigError(f"--device {device!r} cannot be used: {reason}") from failed


def _kind(torch: Any, dtype: Dtype | None) -> Any:
    return getattr(torch, TORCH[dtype]) if dtype else "auto"


@contextmanager
def _as_checkpoint_error(folder: Path, trusted: bool) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError) as failed:
        reason = (str(failed).strip() or repr(failed)).splitlines()[0]
        code = "trust_remote_code" in str(failed) and not trusted
        raise CheckpointError(
            f"cannot be loaded by transformers: {reason}",
            where=str(folder),
            remedy="code that a checkpoint brings is run only with --trust-remote-code."
            if code
            else "is it a causal language model, whole, and known to this version?",
        ) from failed


def _refuse_missing(names: set[str], folder: Path) -> None:
    if names:
        raise CheckpointError(
            f"{len(names)} weights of the model are not in the checkpoint, {min(names)!r} first",
            where=str(folder),
            remedy="is the architecture in config.json right?",
        )


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TOKENIZERS)


def _tokenizer(transformers: Any, folder: Path, trusted: bool) -> Any:
    if not _has_tokenizer(folder):
        return None
    return transformers.AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=trusted
    )


@contextmanager
def _no_bars(transformers: Any) -> Iterator[None]:
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
