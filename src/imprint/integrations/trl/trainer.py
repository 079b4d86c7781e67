"""TRL's GRPO trainer with a curriculum."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from imprint.errors import ConfigError, DataError, nearest, require
from imprint.integrations.trl.curriculum import Band, Curriculum
from imprint.integrations.trl.rates import measured_rates
from imprint.integrations.trl.sampler import BandSampler

trl = require("trl", "lab")
ROW = "imprint_row"  # column that tells a group which prompt it belongs to
FILE = "curriculum.npz"  # beside the trainer's state in every checkpoint


class CurriculumGRPOTrainer(trl.GRPOTrainer):  # type: ignore[misc, name-defined]
    """TRL's ``GRPOTrainer`` that keeps its prompts in a band of pass rates.

    Takes what ``GRPOTrainer`` takes, by keyword. Estimates start from what was measured before and
    follow the verified rewards of every group that training finishes. The state lies in every
    checkpoint, so that ``train(resume_from_checkpoint=…)`` draws what the unbroken run would have
    drawn, if the checkpoint stands between two generation batches (within one TRL generates anew).

    Args:
        train_dataset: prompts, not streamed.
        band: where prompts are kept.
        plan: folder of a plan, whose pass rates the estimates start from; prompts are found by
            ``id`` where the data set has it, else by ``prompt``. Without it the columns
            ``pass_rate`` and ``n`` of the data set, as ``rl_band.jsonl`` has them; without these
            all prompts are unseen.
        verified: name of the reward function that says right (1), wrong (0) or unknown (None);
            needed where there are several. Shaped rewards are refused: a mean inside the band can
            hide groups that are all alike.
        settings: of ``GRPOTrainer``.

    Raises:
        ConfigError: settings that leave the curriculum without effect, or a reward that is not
            verified.
        DataError: the data set is streamed or too small for a generation batch, or its pass rates
            cannot be used.
    """

    def __init__(
        self,
        *,
        train_dataset: Any,
        band: Band | None = None,
        plan: str | Path | None = None,
        verified: str | None = None,
        **settings: Any,
    ):
        if not hasattr(train_dataset, "add_column") or not hasattr(train_dataset, "__len__"):
            raise DataError(
                f"the data set is a {type(train_dataset).__name__}, which cannot be chosen from",
                remedy="a datasets.Dataset that is not streamed.",
            )
        rows = train_dataset.add_column(ROW, list(range(len(train_dataset))))
        super().__init__(train_dataset=rows, **settings)
        self._verified = _position(self.reward_func_names, verified)
        if self.args.remove_unused_columns or not self.shuffle_dataset:
            name = "shuffle_dataset=False" if not self.shuffle_dataset else "remove_unused_columns"
            raise ConfigError(f"{name} leaves the curriculum without effect", remedy="take it out.")
        rates, rollouts = measured_rates(train_dataset, plan) or (None, None)
        self.curriculum = Curriculum(
            len(train_dataset), band, rates=rates, rollouts=rollouts, seed=self.args.seed
        )
        self._prompts = _hash(train_dataset)

    def _get_train_sampler(self, dataset: Any = None) -> BandSampler:
        sampler = BandSampler(
            self.curriculum,
            mini_repeat_count=self.num_generations,
            batch_size=self.args.generation_batch_size // self.num_generations,
            repeat_count=self.num_iterations * self.args.steps_per_generation,
        )
        self._sampler = sampler
        return sampler

    def _calculate_rewards(self, inputs: Any, *rest: Any, **more: Any) -> Any:
        rewards = super()._calculate_rewards(inputs, *rest, **more)
        if self.model.training:
            self._learn(inputs, rewards)
        return rewards

    def _learn(self, inputs: list[dict[str, Any]], rewards: Any) -> None:
        """Take in a generation batch; ``rewards`` [rollouts of all processes, functions]."""
        gather_object = require("accelerate.utils", "lab").gather_object
        # every process learns from all rollouts, so that all draw the same prompts
        rows = np.array(gather_object([one[ROW] for one in inputs]), dtype=np.int64)
        passed = rewards[:, self._verified].double().cpu().numpy()
        known = np.isfinite(passed)
        if not np.isin(passed[known], (0, 1)).all():
            odd = passed[known][~np.isin(passed[known], (0, 1))][0]
            raise ConfigError(
                f"the reward {self.reward_func_names[self._verified]!r} gave {odd:g}, "
                "neither right (1) nor wrong (0)",
                remedy="name a verified reward, verified=NAME; its weight may be 0.",
            )
        self.curriculum.record(rows[known], passed[known])
        self._report(rows)

    def _report(self, rows: Any) -> None:
        rates, band = self.curriculum.rates(), self.curriculum.band
        inside = (rates >= band.low) & (rates <= band.high)
        told = {
            "in_band": inside.mean(),
            "batch_in_band": inside[rows].mean(),
            "progress": self.curriculum.progress,
        }
        for name, value in told.items():
            self._metrics["train"][f"curriculum/{name}"].append(float(value))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # before the rest: a checkpoint that has the trainer's state has the curriculum too
        if self.args.should_save:
            folder = f"checkpoint-{self.state.global_step}"
            path = Path(self._get_output_dir(trial=trial)) / folder / FILE
            self.curriculum.save(path, self._prompts)
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        self.curriculum.load(Path(checkpoint) / FILE, self._prompts)
        within = not float(self.state.epoch or 0).is_integer()
        # trainers skip what an epoch had seen by walking through its batches
        self._sampler.replay = within and not self.args.ignore_data_skip


def _position(names: list[str], verified: str | None) -> int:
    if verified is None and len(names) == 1:
        return 0
    if verified not in names:
        raise ConfigError(
            f"verified={verified!r} names no reward function; {nearest(str(verified), names)}",
            remedy="verified=NAME of the one that says right (1) or wrong (0).",
        )
    return names.index(verified)


def _hash(dataset: Any) -> str:
    prompts = json.dumps(list(dataset["prompt"]), sort_keys=True, default=str)
    return hashlib.sha256(prompts.encode()).hexdigest()
