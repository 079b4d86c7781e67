"""Loading a causal language model and its tokenizer from a folder."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from imprint.errors import CheckpointError, ConfigError, require

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


def load(folder: Path, *, dtype: Dtype | None = None, device: str | None = None) -> Loaded:
    """Load a causal language model; code that the folder brings along is never run.

    Args:
        folder: in the layout of ``transformers``.
        dtype: the type to compute in; by default that of the stored weights.
        device: ``cpu``, ``cuda``, ``cuda:1``, …; by default a GPU where there is one.

    Raises:
        CheckpointError: it cannot be loaded, or weights of it are missing.
        ConfigError: a device that is not there.
        DependencyError: torch or transformers is not installed.
    """
    torch, transformers = require("torch", "models"), require("transformers", "models")
    place = _device(torch, device)
    kind = getattr(torch, TORCH[dtype]) if dtype else "auto"
    with _no_bars(transformers):
        try:
            model, found = transformers.AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=kind,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            tokenizer = _tokenizer(transformers, folder)
        except (OSError, ValueError, KeyError, ImportError) as failed:
            reason = (str(failed).strip() or repr(failed)).splitlines()[0]
            raise CheckpointError(
                f"cannot be loaded by transformers: {reason}",
                where=str(folder),
                remedy="models that need code of their own are not supported.",
            ) from failed
    _refuse_missing(found["missing_keys"], folder)
    return Loaded(model.to(place).eval(), tokenizer, folder)


def _refuse_missing(names: set[str], folder: Path) -> None:
    if names:
        raise CheckpointError(
            f"{len(names)} weights of the model are not in the checkpoint, {min(names)!r} first",
            where=str(folder),
            remedy="is the architecture in config.json right?",
        )


def _tokenizer(transformers: Any, folder: Path) -> Any:
    if not any((folder / name).is_file() for name in TOKENIZERS):
        return None
    return transformers.AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )


def _device(torch: Any, name: str | None) -> Any:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as failed:
        reason = str(failed).splitlines()[0]
        raise ConfigError(f"--device {name!r} cannot be used: {reason}") from failed


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
