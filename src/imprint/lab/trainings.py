"""Every training of the grid as a unit: pretraining, SFT, RL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any

from imprint.lab import steps
from imprint.lab.checkpoint import Labels, Planned
from imprint.lab.config import Scale, StudyConfig
from imprint.lab.identity import identity
from imprint.lab.ledger import Ledger
from imprint.lab.materials import Materials
from imprint.lab.unit import Work

SPEED = 1.2e11  # multiply-adds of training per second and thread, for the time left


@dataclass
class Trainings:
    """What units of training are like; nothing is trained yet.

    Args:
        config: the study.
        ledger: where units lie.
        materials: what models are trained on.
    """

    config: StudyConfig
    ledger: Ledger
    materials: Materials

    def pretrained(self, name: str, scale: Scale) -> Iterator[Planned]:
        """Give the pretraining runs of a scale: every mixture, every seed."""
        parameters = self.shape(scale).parameters
        for replicate in range(scale.seeds):
            for mixture in self.config.mixtures_of(name):
                labels: Labels = {
                    "unit": mixture.name,
                    "scale": name,
                    "stage": "pretrained",
                    "replicate": str(replicate),
                    "parameters": parameters,
                    "training_tokens": scale.tokens,
                    **mixture.labels,
                }
                yield self._run(labels, scale, mixture.shares, self.config.seed + 1000 * replicate)

    def _run(self, labels: Labels, scale: Scale, shares: dict[str, float], seed: int) -> Planned:
        used = sorted(source for source, share in shares.items() if share > 0)
        tokens = [self.materials.tokens[source] for source in used]
        settings = {
            "shares": {source: shares[source] for source in used},
            "seed": seed,
            "shape": self.shape_settings(scale),
            "optimiser": self.optimiser(scale),
            "engine": self.config.engine,
            "device": self.config.device,
            "dtype": self.config.dtype,
            "processes": self.config.processes,
        }
        sources = {source: work.path for source, work in zip(used, tokens, strict=True)}
        name = f"pretrain-{Planned(labels, '').name}"
        tokenizer = self.materials.tokenizer.path / "tokenizer"
        work = self.ledger.work(
            name,
            settings,
            [self.materials.tokenizer, *tokens],
            partial(steps.build_pretraining, settings, sources, tokenizer),
            code=("imprint.lab.pretraining", "imprint.lab.launching"),
            weight=2 + 6 * self.shape(scale).parameters * scale.tokens / SPEED,
            resumable=True,
        )
        return Planned(labels, str(work.path / steps.MODEL), work)

    def shape_settings(self, scale: Scale) -> dict[str, Any]:
        """Give what makes the shape of a scale."""
        names = ("layers", "width", "heads", "ffn", "context")
        return {**{n: getattr(scale, n) for n in names}, "vocabulary": self._vocabulary}

    @cached_property
    def _vocabulary(self) -> int:
        """Rows of the embedding: a given tokenizer may need more than the settings say."""
        given = self.config.tokenizer
        if given is None:
            return self.config.vocabulary
        from imprint.lab.tokenizer import open_tokenizer

        return max(self.config.vocabulary, len(open_tokenizer(given)))

    def shape(self, scale: Scale) -> Any:
        """Give the shape of a scale."""
        from imprint.lab.pretraining.shape import Shape

        return Shape(**self.shape_settings(scale))

    def optimiser(self, scale: Scale) -> dict[str, Any]:
        """Give the optimiser of a scale with its budget."""
        own = {name: getattr(scale, name) for name in ("lr", "matrix_lr", "batch", "tokens")}
        return {**asdict(self.config.optimiser), **own}

    def sft(self, base: Planned) -> Planned:
        """Fine-tune a checkpoint."""
        config, choice = self.config, self.config.sft
        training = {
            "steps": choice.steps,
            "batch": choice.batch,
            "lr": choice.lr,
            "max_length": choice.max_length,
            "seed": self._seed(base),
            "device": config.device,
        }
        settings = {"training": training, "rows": choice.rows}
        data, content = self.materials.rows(choice.data, "sft.jsonl")
        work = self.ledger.work(
            f"sft-{base.name}",
            {**settings, "data": content, "base": self._told(base)},
            [*self.materials.of_world, *self._needs(base)],
            partial(steps.build_sft, settings, base.model, data, self._reporting),
            code=("imprint.lab.sft", "imprint.lab.methods"),
            weight=2 + self._cost(base, choice.steps * choice.batch * choice.max_length),
        )
        return Planned({**base.labels, "stage": "sft"}, str(work.path / steps.MODEL), work)

    def rl(self, base: Planned) -> Planned:
        """Reinforce a checkpoint."""
        config, choice = self.config, self.config.rl
        kept = ("steps", "prompts_per_step", "group", "lr", "temperature", "max_new_tokens", "kl")
        training = {name: getattr(choice, name) for name in kept}
        training |= {"seed": self._seed(base), "device": config.device}
        settings = {"training": training, "reward": choice.reward}
        data, content = self.materials.rows(choice.data, "rl.jsonl")
        work = self.ledger.work(
            f"rl-{base.name}",
            {**settings, "data": content, "base": self._told(base)},
            [*self.materials.of_world, *self._needs(base)],
            partial(steps.build_rl, settings, base.model, data, self._reporting),
            code=("imprint.lab.rl",),
            weight=3 + 0.5 * choice.steps,
        )
        return Planned({**base.labels, "stage": "rl"}, str(work.path / steps.MODEL), work)

    @property
    def _reporting(self) -> tuple[str, ...]:
        names = (name.strip() for name in self.config.report_to.split(","))
        return tuple(dict.fromkeys(name for name in names if name not in ("", "tensorboard")))

    def _seed(self, base: Planned) -> int:
        """Give replicates seeds of their own; names that are no number have one in common."""
        replicate = str(base.labels.get("replicate") or "0")
        return self.config.seed + (int(replicate) if replicate.isdecimal() else 0)

    def _told(self, base: Planned) -> Any:
        """Tell a given base by its content; one that is trained here is among the needs."""
        return None if base.work else identity(base.model)

    def _needs(self, one: Planned) -> list[Work]:
        return [one.work] if one.work else []

    def _cost(self, one: Planned, tokens: float) -> float:
        return 6 * float(one.labels.get("parameters") or 1e6) * tokens / SPEED
