"""Real training steps with TRL: the curriculum, and files that plan writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imprint.errors import CheckpointError, ConfigError, DataError
from imprint.integrations.trl import Band, BandSampler, Curriculum
from models_support import letters_tokenizer, state, tiny, transformers

torch = pytest.importorskip("torch", reason="torch is not installed")
trl = pytest.importorskip("trl", reason="trl is not installed")
datasets = pytest.importorskip("datasets", reason="datasets is not installed")

from imprint.integrations.trl import CurriculumGRPOTrainer  # noqa: E402

LETTERS = "abcdefghijklmnopqrstuvwxyz"
# TRL and what it brings along warn on their own account
pytestmark = pytest.mark.filterwarnings("ignore")


def rows(count: int = 24) -> Any:
    """Prompts of graded difficulty: the first letter must be one of none up to all."""
    graded = [LETTERS[: 26 * at // (count - 1)] for at in range(count)]
    return datasets.Dataset.from_dict(
        {
            "prompt": [f"{LETTERS[at % 26]} {LETTERS[at // 26]}" for at in range(count)],
            "allowed": graded,
        }
    )


def in_allowed(completions: list[str], allowed: list[str], **_: Any) -> list[float]:
    return [
        float(text[:1] in right and text != "")
        for text, right in zip(completions, allowed, strict=True)
    ]


def length(completions: list[str], **_: Any) -> list[float]:
    return [len(text) / 10 for text in completions]


def settings(out: Path, **more: Any) -> Any:
    asked = {
        "output_dir": str(out),
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 2,
        "max_steps": 6,
        "save_steps": 2,
        "learning_rate": 1e-3,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "seed": 3,
        "logging_steps": 1,
        "disable_tqdm": True,
        "gradient_checkpointing": False,
    }
    return trl.GRPOConfig(**{**asked, **more})


def trainer(out: Path, **more: Any) -> Any:
    of_trainer = {name: more.pop(name) for name in ("band", "plan", "verified") if name in more}
    words = letters_tokenizer()
    words.pad_token = words.eos_token
    return CurriculumGRPOTrainer(
        model=str(next(up for up in out.parents if (up / "model").exists()) / "model"),
        processing_class=words,
        reward_funcs=more.pop("reward_funcs", in_allowed),
        train_dataset=more.pop("train_dataset", None) or rows(),
        args=settings(out, **more),
        **of_trainer,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grpo")
    tiny(folder / "model", seed=1)
    return folder


@pytest.mark.parametrize(
    ("each", "batch", "again"), [(1, 1, 1), (2, 3, 4), (4, 5, 1), (3, 24, 2), (2, 7, 3)]
)
def test_the_order_has_the_shape_of_trls_own(each: int, batch: int, again: int) -> None:
    from trl.trainer.utils import RepeatSampler

    theirs = RepeatSampler(range(24), each, batch, again, seed=0)
    ours = BandSampler(Curriculum(24), each, batch, again)
    one, other = list(theirs), list(ours)
    assert len(ours) == len(theirs) == len(other) == len(one)
    size = each * batch * again
    for at in range(0, len(one), size):
        # positions at which the same prompt stands
        shapes = [
            np.equal.outer(np.array(order[at : at + size]), np.array(order[at : at + size]))
            for order in (one, other)
        ]
        np.testing.assert_array_equal(*shapes)


def test_an_epoch_that_holds_no_batch_is_refused() -> None:
    with pytest.raises(DataError, match="takes 30 prompts, and there are 24"):
        BandSampler(Curriculum(24), 2, 30)


def test_training_learns_rates_and_resumes_with_the_same_order(place: Path) -> None:
    whole = trainer(place / "whole")
    whole.train()
    # six batches of two prompts with four rollouts each; all were taken in
    assert whole.curriculum.draws == 7  # the loader looks one batch ahead
    assert whole.curriculum.seen.sum() == 48
    logged = [entry for entry in whole.state.log_history if "curriculum/in_band" in entry]
    assert len(logged) == 6

    broken = trainer(place / "broken")
    broken.add_callback(KillAt(5))
    with pytest.raises(KilledError):
        broken.train()
    resumed = trainer(place / "broken")
    resumed.train(resume_from_checkpoint=str(place / "broken" / "checkpoint-4"))
    assert resumed.curriculum.epoch == whole.curriculum.epoch
    np.testing.assert_array_equal(resumed.curriculum.rates(), whole.curriculum.rates())
    one, other = state(place / "whole/checkpoint-6"), state(place / "broken/checkpoint-6")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_resuming_at_the_end_of_an_epoch_goes_on(place: Path) -> None:
    few = rows(8)
    many = {"train_dataset": few, "max_steps": 10, "save_steps": 4, "steps_per_generation": 2}
    whole = trainer(place / "epochs", gradient_accumulation_steps=2, **many)
    whole.train()
    for step in (4, 8):
        again = trainer(place / "epochs-again", gradient_accumulation_steps=2, **many)
        again.train(resume_from_checkpoint=str(place / f"epochs/checkpoint-{step}"))
        assert again.curriculum.draws == whole.curriculum.draws
        np.testing.assert_array_equal(again.curriculum.drawn, whole.curriculum.drawn)
        np.testing.assert_array_equal(again.curriculum.rates(), whole.curriculum.rates())


def test_the_plan_is_where_estimates_start(place: Path) -> None:
    planned = rows().add_column("pass_rate", [0.5] * 24).add_column("n", [16] * 24)
    made = trainer(place / "plan", train_dataset=planned, band=Band(trust=6))
    np.testing.assert_allclose(made.curriculum.rates(), 0.5)
    np.testing.assert_allclose(made.curriculum.weight, 6)


@pytest.mark.parametrize("by", ["id", "prompt"])
def test_a_plans_folder_gives_rates_to_other_data(by: str, place: Path) -> None:
    folder, data = place / f"by-{by}", rows(8)
    folder.mkdir()
    with (folder / "pool.jsonl").open("w") as out:
        for at in (5, 2):
            row = {"id": f"p{at}", "prompt": data[at]["prompt"], "pass_rate": at / 8, "n": 8}
            out.write(json.dumps(row) + "\n")
        out.write(json.dumps({"id": "other", "prompt": "z z", "pass_rate": None, "n": 0}) + "\n")
    if by == "id":
        data = data.add_column("id", [f"p{at}" for at in range(8)])
    made = trainer(folder, train_dataset=data, plan=folder)
    assert made.curriculum.weight.tolist() == [0, 0, 8, 0, 0, 8, 0, 0]
    rates, mean = made.curriculum.rates(), 8 / 18  # of the pool, which counts for two
    assert rates[[2, 5, 0]] == pytest.approx([(2 + 2 * mean) / 10, (5 + 2 * mean) / 10, mean])
    with pytest.raises(DataError, match="none of the 24 prompts"):
        trainer(folder, train_dataset=rows().map(lambda one: {"prompt": "y" + one["prompt"]}),
                plan=folder)  # fmt: skip
    with pytest.raises(DataError, match="cannot be read"):
        trainer(folder, plan=folder / "no-such")
    with pytest.raises(DataError, match="pass_rate and no n"):
        trainer(folder, train_dataset=rows(8).add_column("pass_rate", [0.5] * 8))


def test_only_verified_rewards_count(place: Path) -> None:
    both = [length, in_allowed]
    with pytest.raises(ConfigError, match="names no reward function"):
        trainer(place / "two", reward_funcs=both)
    made = trainer(place / "two", reward_funcs=both, verified="in_allowed", max_steps=1)
    made.train()
    assert made.curriculum.seen.sum() == 8
    shaped = trainer(place / "shaped", reward_funcs=length, max_steps=1)
    with pytest.raises(ConfigError, match="neither right"):
        shaped.train()


def test_other_data_and_settings_without_effect_are_refused(place: Path) -> None:
    made = trainer(place / "base", max_steps=2)
    made.train()
    other = trainer(place / "base", train_dataset=rows().select(range(23, -1, -1)))
    with pytest.raises(CheckpointError, match="other prompts"):
        other.train(resume_from_checkpoint=str(place / "base/checkpoint-2"))
    with pytest.raises(ConfigError, match="shuffle_dataset=False"):
        trainer(place / "fixed", shuffle_dataset=False)
    with pytest.raises(DataError, match="cannot be chosen from"):
        trainer(place / "stream", train_dataset=rows().to_iterable_dataset())


class KilledError(Exception):
    """Ends a run in the middle."""


class KillAt(transformers.TrainerCallback):
    """Ends a run after a step; nothing is left of it but its checkpoints."""

    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= self.step:
            raise KilledError
