"""The stages of the transformer: pretraining with a curriculum, SFT, outcome supervision, test."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imprint.errors import require
from imprint.models.load import place
from imprint.runs import dump_json
from imprint.theory.config import TheoryConfig
from imprint.theory.covariance import Covariance
from imprint.theory.experiments.sizes import single
from imprint.theory.gpt2.model import Predictor, Shape
from imprint.theory.gpt2.prompts import examples, targets, tokens
from imprint.theory.gpt2.training import forget, train

Stage = Literal["SFT", "OS"]
PRETRAIN_COT = 8  # the length that section 8 of the paper names, against section 3
EASIEST = 0.3  # share of coordinates and examples that the curriculum starts with
GROWING = 0.5  # share of pretraining over which it grows to all


def length(config: TheoryConfig) -> int:
    """Give the number of examples in a prompt: the one asked for, or 2d.

    Raises:
        ConfigError: several were asked for.
    """
    return single("n", config.n, 2 * config.d)


class Stages:
    """Trains and tests predictors of one setting.

    Args:
        config: sizes, steps, rates.
        folder: run folder; the pretrained weights stay there under ``checkpoints``.

    Raises:
        ConfigError: the device cannot be used.
        DependencyError: torch or transformers is not installed.
    """

    def __init__(self, config: TheoryConfig, folder: Path):
        self.config, self.folder = config, folder / "checkpoints"
        self.device = str(place(config.device))
        self.n = length(config)
        weak = np.arange(config.d) < config.weak_directions
        self.before = Covariance(np.where(weak, config.weak_eig, 1.0))
        self.shift = Covariance(weak.astype(float))
        longest = max(PRETRAIN_COT, *config.cot) + 1
        self.shape = Shape(
            config.d, 2 * self.n + longest, config.layers, config.heads, config.width
        )

    @property
    def test(self) -> Covariance:
        """Σ = Σ₀ + Δ, also the covariance of post-training."""
        return self.before + self.shift

    def pretrained(self, steps: int | None = None) -> Predictor:
        """Give the pretrained model, trained now where no checkpoint has it.

        Args:
            steps: stop after so many, or where the checkpoint is further; all by default.
        """
        config = self.config
        model = Predictor(self.shape, seed=config.seed, device=self.device)
        train(
            model,
            self._pretraining_loss,
            steps=config.pretrain_steps if steps is None else steps,
            learning_rate=config.learning_rate,
            checkpoint=self.folder / f"pretrained-{self._key()}.safetensors",
        )
        return model

    def post_trained(self, stage: Stage, prompts: int, steps: int, seed: int) -> Predictor:
        """Give the pretrained model after SFT or outcome supervision on B prompts.

        Args:
            stage: SFT reads true earlier estimates, OS its own and sees the last step alone.
            prompts: B, drawn once and reused.
            steps: k.
            seed: of prompts and batches.
        """
        config = self.config
        inputs, tasks = examples(self.test, self.n, prompts, seed)
        held = self._tensor(tokens(inputs, tasks)), self._tensor(tasks)
        wanted = self._tensor(targets(tasks, steps, config.target_rate))

        def loss(model: Predictor, step: int) -> Any:
            draw = np.random.default_rng([seed, step, 1])
            rows = draw.integers(prompts, size=min(config.batch, prompts)).tolist()
            if stage == "SFT":
                part = wanted[rows]
                gap = model.next_estimates(held[0][rows], part[:, :-1]) - part[:, 1:]
            else:
                gap = model.rollout(held[0][rows], steps) - held[1][rows]
            return gap.square().mean()

        model = self.pretrained()
        place = self.folder / f"{stage}-{prompts}-{steps}-{seed}-{self._key()}.safetensors"
        train(
            model,
            loss,
            steps=config.sft_steps if stage == "SFT" else config.os_steps,
            learning_rate=config.learning_rate,
            checkpoint=place,
        )
        forget(place)
        return model

    def error(self, model: Predictor, steps: int, seed: int) -> float:
        """Error per dimension on fresh test prompts after k steps of its own."""
        torch = require("torch", "models")
        inputs, tasks = examples(self.test, self.n, self.config.test_prompts, seed)
        with torch.no_grad():
            found = model.rollout(self._tensor(tokens(inputs, tasks)), steps)
        return float((found - self._tensor(tasks)).square().mean())

    def _pretraining_loss(self, model: Predictor, step: int) -> Any:
        """Teacher-forced steps on fresh prompts; dimensions and examples grow at first."""
        config = self.config
        grown = min(1.0, EASIEST + (1 - EASIEST) * step / (GROWING * config.pretrain_steps))
        active, n = (max(1, round(grown * size)) for size in (config.d, self.n))
        inputs, tasks = examples(self.before, n, config.batch, config.seed, step, active=active)
        wanted = self._tensor(targets(tasks, PRETRAIN_COT, config.target_rate))
        prompt = self._tensor(tokens(inputs, tasks))
        gap = model.next_estimates(prompt, wanted[:, :-1]) - wanted[:, 1:]
        return gap.square().mean()

    def _tensor(self, values: Any) -> Any:
        return require("torch", "models").from_numpy(values).to(self.device)

    def _key(self) -> str:
        """Tell settings apart, so that no other run's weights are taken."""
        facts = {**self.config.settings, "seed": self.config.seed}
        for free in ("sizes", "seeds", "test_prompts"):
            facts.pop(free)
        return hashlib.sha256(dump_json(facts, indent=None).encode()).hexdigest()[:12]
