"""TRL reads what `imprint plan` writes for real; other trainers by the fields they list."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from imprint.planning import PlanConfig, plan
from models_support import letters_tokenizer, tiny

pytest.importorskip("trl", reason="trl is not installed")
pytest.importorskip("datasets", reason="datasets is not installed")

import datasets
import trl

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ROWS = 60
# TRL and what it brings along warn on their own account
pytestmark = pytest.mark.filterwarnings("ignore")
TRAINING: dict[str, Any] = {
    "max_steps": 3,
    "use_cpu": True,
    "bf16": False,
    "report_to": [],
    "save_strategy": "no",
    "disable_tqdm": True,
    "logging_steps": 1,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and a plan, half of the rows hopeless and the rest of all rates."""
    folder = tmp_path_factory.mktemp("plan")
    tiny(folder / "model", seed=1)
    with (folder / "rollouts.jsonl").open("w") as out:
        for at in range(ROWS):
            passes = 0 if at % 2 else at % 17
            row = {
                "id": f"p{at}",
                "domain": f"d{at % 3}",
                "prompt": f"{LETTERS[at % 26]} {LETTERS[at // 26]}",
                "answer": LETTERS[at % 26],
                "correct": [n < passes for n in range(16)],
            }
            out.write(json.dumps(row) + "\n")
    plan(
        folder / "rollouts.jsonl",
        PlanConfig(kind="skill", size=12, resamples=100, quiet=True),
        out=folder / "plan",
    )
    return folder


def read(path: Path, cache: Path) -> Any:
    """Read JSON lines as TRL's own examples do."""
    return datasets.load_dataset(
        "json", data_files=str(path), split="train", cache_dir=str(cache / "cache")
    )


def words() -> Any:
    made = letters_tokenizer()
    made.pad_token = made.eos_token
    return made


@pytest.mark.parametrize("name", ["sft_hard", "sft_random"])
def test_sft_trainer_learns_the_completions_of_the_plan(
    name: str, place: Path, tmp_path: Path
) -> None:
    rows = read(place / "plan" / f"{name}.jsonl", tmp_path)
    assert len(rows) == 12
    trainer = trl.SFTTrainer(
        model=str(place / "model"),
        args=trl.SFTConfig(
            output_dir=str(tmp_path), per_device_train_batch_size=4, learning_rate=1e-2, **TRAINING
        ),
        train_dataset=rows,
        processing_class=words(),
    )
    batch = trainer.data_collator([trainer.train_dataset[0]])
    known = batch["labels"][0] != -100
    # the loss is on the answer and the end behind it alone
    learnt = words().decode(batch["input_ids"][0][known], skip_special_tokens=True)
    assert learnt.replace(" ", "") == rows[0]["completion"].strip()
    trainer.train()
    losses = [one["loss"] for one in trainer.state.log_history if "loss" in one]
    assert float(losses[-1]) < float(losses[0])


@pytest.mark.parametrize("name", ["rl_band", "rl_random"])
def test_grpo_trainer_hands_the_answers_to_the_reward(
    name: str, place: Path, tmp_path: Path
) -> None:
    rows = read(place / "plan" / f"{name}.jsonl", tmp_path)
    truth = {row["prompt"]: row["answer"] for row in rows}
    asked: list[str] = []

    def right(prompts: list[str], completions: list[str], answer: list[str], **more: Any) -> Any:
        assert [truth[prompt] for prompt in prompts] == answer
        assert all(rate is not None for rate in more["pass_rate"])
        asked.extend(prompts)
        return [float(text[:1] == one) for text, one in zip(completions, answer, strict=True)]

    trainer = trl.GRPOTrainer(
        model=str(place / "model"),
        processing_class=words(),
        reward_funcs=right,
        args=trl.GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=2,
            **TRAINING,
        ),
        train_dataset=rows,
    )
    trainer.train()
    assert len(asked) == 24
    assert set(asked) <= set(truth)


def test_the_curriculum_starts_from_the_plan(place: Path, tmp_path: Path) -> None:
    from imprint.integrations.trl import CurriculumGRPOTrainer

    rows = read(place / "plan" / "rl_band.jsonl", tmp_path)
    trainer = CurriculumGRPOTrainer(
        model=str(place / "model"),
        processing_class=words(),
        reward_funcs=lambda completions, **_: [1.0] * len(completions),
        args=trl.GRPOConfig(
            output_dir=str(tmp_path), per_device_train_batch_size=8, num_generations=4, **TRAINING
        ),
        train_dataset=rows,
    )
    # in their order, drawn towards each other
    known = np.array(rows["pass_rate"])
    assert np.corrcoef(trainer.curriculum.rates(), known)[0, 1] > 0.99


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.open(encoding="utf-8")]


def test_verl_finds_its_columns(place: Path) -> None:
    frame = pl.read_parquet(place / "plan/adapters/verl/rl_band.parquet")
    assert {"data_source", "prompt", "ability", "reward_model", "extra_info"} <= set(frame.columns)
    truth = {row["id"]: row for row in lines(place / "plan/rl_band.jsonl")}
    for row in frame.iter_rows(named=True):
        own = truth[row["extra_info"]["id"]]
        assert row["prompt"] == [{"role": "user", "content": own["prompt"]}]
        assert row["reward_model"] == {"style": "rule", "ground_truth": own["answer"]}
        assert row["extra_info"]["split"] == "train"
        assert row["extra_info"]["pass_rate"] == own["pass_rate"]
        assert row["extra_info"]["n"] == own["n"]
    assert frame["extra_info"].struct.field("index").to_list() == list(range(len(frame)))
    fragment = (place / "plan/adapters/verl/config.yaml").read_text()
    assert "filter_groups:" in fragment
    assert "metric: acc" in fragment


def test_prime_rl_reads_its_settings(place: Path) -> None:
    folder = place / "plan/adapters/prime-rl"
    told = tomllib.loads((folder / "rl.toml").read_text())
    train = told["orchestrator"]["train"]
    assert train["filter_zero_advantages"] is True
    curriculum = train["source"][0]["curriculum"]
    sampler = curriculum["sampler"]
    assert sampler["type"] == "difficulty_pool"
    edges = [sampler["pools"][name]["threshold"] for name in ("hard", "normal", "easy")]
    assert edges == [0.2, 0.8, 1.0]
    gate = curriculum["gates"]["zero_signal"]
    assert gate == {"type": "advantage_range", "reject_min": 0.0, "reject_max": 0.0}
    assert lines(folder / "rl_band.jsonl") == lines(place / "plan/rl_band.jsonl")


def test_openrlhf_finds_its_keys(place: Path) -> None:
    folder = place / "plan/adapters/openrlhf"
    flags = (folder / "flags.txt").read_text()
    for row, own in zip(
        lines(folder / "rl_band.jsonl"), lines(place / "plan/rl_band.jsonl"), strict=True
    ):
        assert (row["input"], row["label"]) == (own["prompt"], own["answer"])
    assert all(row["output"] for row in lines(folder / "sft_hard.jsonl"))
    for flag in ("--data.input_key input", "--data.label_key label", "dynamic_filtering_range 0 1"):
        assert flag in flags


def test_open_instruct_finds_its_keys(place: Path) -> None:
    folder = place / "plan/adapters/open-instruct"
    flags = (folder / "flags.txt").read_text()
    for row, own in zip(
        lines(folder / "rl_band.jsonl"), lines(place / "plan/rl_band.jsonl"), strict=True
    ):
        assert row["messages"] == [{"role": "user", "content": own["prompt"]}]
        assert row["ground_truth"] == own["answer"]
        assert row["dataset"] == own["domain"]
    roles = [one["role"] for one in lines(folder / "sft_hard.jsonl")[0]["messages"]]
    assert roles == ["user", "assistant"]
    # active sampling refills only with both of these (more than one step in flight)
    for flag in ("--filter_zero_std_samples true", "--active_sampling true", "--async_steps 8"):
        assert flag in flags
