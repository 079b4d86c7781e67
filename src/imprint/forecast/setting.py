"""What every predictor is given: the texts, the model, and how much it may draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from imprint.errors import ConfigError
from imprint.forecast.material import Material, Text
from imprint.models import Loaded, LocalEngine, Prompter
from imprint.models.batching import Batcher


@dataclass(frozen=True, eq=False)
class Setting:
    """One SFT set, the domains, and the model before training.

    Attributes:
        material: SFT examples and domain texts.
        loaded: the model; ``None`` leaves only predictors from text.
        prompter: renders prompts.
        layer: the block whose output is read, from 0; by default the middle one.
        draws: random choices of demonstrations, and of whatever else a predictor draws.
        demonstrations: SFT examples before a query.
        examples: SFT examples that predictors with a model read at most, drawn at random.
        seed: of all draws.
        batcher: puts work together within memory.
        items: number of items of each domain, where that is not the number of its texts.
        base_accuracy: accuracy of each domain before training, where known.
        history: changes seen with another model or SFT set: its name → domain → change.
    """

    material: Material
    loaded: Loaded | None = None
    prompter: Prompter = field(default_factory=Prompter)
    layer: int | None = None
    draws: int = 5
    demonstrations: int = 2
    examples: int = 256
    seed: int = 0
    batcher: Batcher = field(default_factory=Batcher)
    items: Mapping[str, int] = field(default_factory=dict)
    base_accuracy: Mapping[str, float] = field(default_factory=dict)
    history: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def model(self) -> Loaded:
        """The model.

        Raises:
            ConfigError: there is none.
        """
        if self.loaded is None:
            raise ConfigError("this predictor needs a model, and none is given")
        return self.loaded

    @cached_property
    def engine(self) -> LocalEngine:
        """The model as an engine, which remembers what it found about memory."""
        engine = LocalEngine(self.model)
        engine.scorer.batcher = self.batcher
        return engine

    @property
    def texts(self) -> tuple[Text, ...]:
        """The domain texts."""
        return self.material.domains

    @property
    def groups(self) -> dict[str, list[int]]:
        """Domain → numbers of its texts, in the order of their first."""
        found: dict[str, list[int]] = {}
        for number, text in enumerate(self.texts):
            found.setdefault(text.group, []).append(number)
        return found

    def chances(self, *key: int) -> np.random.Generator:
        """Give a generator of its own for each key, the same in every run."""
        return np.random.default_rng([self.seed, *key])

    @cached_property
    def sample(self) -> tuple[Text, ...]:
        """SFT examples that a model reads, in the order of their file."""
        sft = self.material.sft
        if len(sft) <= self.examples:
            return sft
        chosen = self.chances(0).choice(len(sft), self.examples, replace=False)
        return tuple(sft[n] for n in sorted(chosen))

    def drawn(self, draw: int) -> tuple[Text, ...]:
        """Give the demonstrations of one draw, the same ones in the same order for all queries."""
        sft = self.material.sft
        chosen = self.chances(1, draw).permutation(len(sft))[: self.demonstrations]
        return tuple(sft[n] for n in chosen)
