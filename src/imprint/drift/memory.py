"""Which models are in memory: the base and one tuned model, or one of them at a time."""

from __future__ import annotations

from typing import Any

from imprint.checkpoints import Checkpoint
from imprint.drift.config import DriftConfig
from imprint.drift.inputs import Models
from imprint.models import Loaded, load
from imprint.models.batching import release
from imprint.models.hidden import Head, check_head

PROBE = 16  # tokens that the output heads are checked on


class Memory:
    """Loads models when they are asked for, and lets go of those that are not.

    Attributes:
        base_on_disk: the base's hidden states are kept on disk and its decoder leaves memory.
    """

    def __init__(self, models: Models, config: DriftConfig):
        self.models, self.config = models, config
        self.base_on_disk = config.one_model or len(models.tuned) > 1 or config.null > 0
        self._base: Loaded | None = None
        self._base_head: Head | None = None
        self._tuned: tuple[int, Loaded, Head] | None = None

    def base(self) -> Loaded:
        """Give the base, whole."""
        if self._base is None:
            if self.base_on_disk:
                self.forget_tuned()
            self._base_head = None
            self._base = self._load(self.models.base)
        return self._base

    def base_head(self) -> Head:
        """Give the base's output head; where hidden states are on disk, its decoder is freed."""
        if self._base_head is None:
            loaded = self.base()
            self._base_head = _checked(loaded, keep=not self.base_on_disk)
            if self.base_on_disk:
                self._base = None
                release()
        return self._base_head

    def tuned(self, number: int) -> tuple[Loaded, Head]:
        """Give a tuned model and its output head."""
        if self._tuned is None or self._tuned[0] != number:
            self.forget_tuned()
            if self.base_on_disk and self._base is not None:
                self.base_head()
            loaded = self._load(self.models.tuned[number])
            self._tuned = number, loaded, _checked(loaded, keep=True)
        return self._tuned[1:]

    def fresh_base(self) -> tuple[Loaded, Head]:
        """Load the base once more, for a caller who will change its weights."""
        self.forget_tuned()
        loaded = self._load(self.models.base)
        return loaded, _checked(loaded, keep=True)

    def forget_tuned(self) -> None:
        """Let go of the tuned model."""
        self._tuned = None
        release()

    def _load(self, checkpoint: Checkpoint) -> Loaded:
        config = self.config
        return load(
            str(checkpoint.reference),
            dtype=config.dtype,
            device=config.device,
            trust_remote_code=config.trust_remote_code,
        )


def _checked(loaded: Loaded, *, keep: bool) -> Head:
    size = int(loaded.model.get_input_embeddings().weight.shape[0])
    ids: list[Any] = [n * 7919 % size for n in range(1, PROBE + 1)]
    check_head(loaded, Head(loaded, keep=True), ids)
    return Head(loaded, keep=keep)
