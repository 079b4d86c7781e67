"""The model of a run: its name and files before it is loaded, and what it answers after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from imprint.errors import DataError, require
from imprint.mastery.config import MasteryConfig
from imprint.mastery.sources import FromEngine, InProcess, Source
from imprint.models import Engine, Loaded, LocalEngine, Prompter, load, prompter
from imprint.models.adapter import find
from imprint.models.sampling import Sampler

COMPUTING = ("torch", "transformers")
WEIGHTS = (".safetensors", ".bin")


@dataclass(frozen=True)
class Named:
    """A model as the user names it.

    Attributes:
        name: ``PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]]``, or the name at a server.
        url: of an OpenAI-compatible server; ``None`` loads the model in this process.
        trust_remote_code: run code that the checkpoint brings along.
    """

    name: str
    url: str | None = None
    trust_remote_code: bool = False

    @cached_property
    def files(self) -> list[Path]:
        """The files of model and adapter; none of a server's.

        Raises:
            CheckpointError: there is no such model.
        """
        if self.url is not None:
            return []
        folders = [folder for folder in find(self.name) if folder is not None]
        return [path for folder in folders for path in sorted(folder.iterdir()) if path.is_file()]

    def settings(self) -> dict[str, Any]:
        """Give what changes the numbers beside the files."""
        if self.url is not None:
            return {"engine": self.url, "model": self.name}
        return {
            "engine": "hf",
            "computed_by": {n: str(require(n, "models").__version__) for n in COMPUTING},
        }

    def describe(self, longest: int, rows: int) -> Iterator[str]:
        """Say how large the weights are, and about how much memory is needed.

        Args:
            longest: tokens of a prompt with its continuation.
            rows: samples in a batch.
        """
        if self.url is not None:
            yield f"model {self.name} at {self.url}"
            return
        size = sum(path.stat().st_size for path in self.files if path.suffix in WEIGHTS)
        yield f"model {self.name}: {size / 2**30:.3g} GiB of weights on disk"
        beside = rows * self._row_bytes(longest)
        yield (
            f"about {(size + beside) / 2**30:.3g} GiB of memory at its peak: weights as stored, "
            f"and {rows} samples with their cache and logits"
        )

    def _row_bytes(self, longest: int) -> int:
        """Give the bytes of keys, values and logits of a sample, in two bytes each."""
        config = require("transformers", "models").AutoConfig.from_pretrained(
            find(self.name)[0],
            local_files_only=True,
            trust_remote_code=self.trust_remote_code,
        )
        text = config.get_text_config()
        heads = text.num_attention_heads
        width = getattr(text, "head_dim", None) or text.hidden_size // heads
        kept = getattr(text, "num_key_value_heads", None) or heads
        cached = 2 * text.num_hidden_layers * kept * width * longest
        return 2 * int(cached + 3 * text.vocab_size)


class Answering:
    """The model at work; loaded when it is first asked."""

    def __init__(self, named: Named, config: MasteryConfig, *, quiet: bool = True):
        self.named, self.config, self.quiet = named, config, quiet
        self._sampler: Sampler | None = None

    @cached_property
    def loaded(self) -> Loaded:
        """The model in this process.

        Raises:
            DataError: it has no tokenizer.
        """
        found = load(
            self.named.name,
            dtype=self.config.dtype,
            device=self.config.device,
            trust_remote_code=self.named.trust_remote_code,
        )
        if found.tokenizer is None:
            raise DataError(
                "has no tokenizer, which prompts need",
                where=str(found.folder),
                remedy="put tokenizer.json and tokenizer_config.json beside its weights.",
            )
        return found

    @cached_property
    def engine(self) -> Engine:
        """The model as an engine."""
        if self.named.url is not None:
            from imprint.models.endpoint import EndpointEngine

            return EndpointEngine(self.named.url, self.named.name)
        return LocalEngine(self.loaded)

    @cached_property
    def prompter(self) -> Prompter:
        """Renders prompts as the model wants them."""
        tokenizer = None if self.named.url is not None else self.loaded.tokenizer
        return prompter(self.config.prompting, tokenizer)

    @property
    def cut(self) -> int:
        """Prompts that lost their beginning so far."""
        return self._sampler.cut if self._sampler else 0

    def source(self, config: MasteryConfig, *, greedy: bool = False) -> Source:
        """Give where samples come from, with the settings of ``config``."""
        temperature = 0.0 if greedy else config.temperature
        if self.named.url is not None:
            return FromEngine(self.engine, temperature, config.max_new_tokens, config.seed)
        if self._sampler is None:
            self._sampler = Sampler(self.loaded, rows=config.batch_size, quiet=self.quiet)
        self._sampler.temperature = temperature
        self._sampler.max_new_tokens = config.max_new_tokens
        return InProcess(self._sampler, config.seed)

    def record(self) -> dict[str, Any]:
        """Give what answered, without loading it for that."""
        where = self.named.url or "hf"
        return {
            "engine": where,
            "model": self.named.name,
            "dtype": self.config.dtype or "stored",
            "device": self.config.device,
        }


def with_length(config: MasteryConfig, tokens: int) -> MasteryConfig:
    """Give the settings with another length of continuations."""
    return replace(config, max_new_tokens=tokens)
