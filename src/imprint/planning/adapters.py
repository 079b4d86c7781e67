"""The sets as other trainers read them: verl, OpenRLHF, open-instruct and prime-rl.

TRL reads the JSON lines of the plan itself. Every generated setting names the metric of verified
accuracy; none relies on a framework's default, which may be a shaped reward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from imprint.planning.config import PlanConfig
from imprint.runs import Content

Json = dict[str, Any]
Sets = Mapping[str, pl.DataFrame]
PLACE = "adapters"
KEPT = ("id", "domain", "pass_rate", "n", "model")


def adapted(sets: Sets, config: PlanConfig, hashes: Sequence[Json]) -> dict[str, Content]:
    """Write the sets for the frameworks asked for.

    Args:
        sets: ``sft_hard``, ``sft_random``, ``rl_band``, ``rl_random``, those that have rows.
        config: frameworks, band, group size, metric.
        hashes: of the files that were read; every generated setting names them.

    Returns:
        Path in the run folder → content.
    """
    made: dict[str, Content] = {}
    writers = {"trl": _trl, "verl": _verl, "openrlhf": _openrlhf,
               "open-instruct": _open_instruct, "prime-rl": _prime_rl}  # fmt: skip
    sets = {name: _answered(frame) for name, frame in sets.items()}
    for name in config.adapters:
        files = writers[name](sets, config)
        for file, content in files.items():
            said = f"{content}{_origin(sets, hashes)}" if isinstance(content, str) else content
            made[f"{PLACE}/{name}/{file}"] = said
    return made


def _origin(sets: Sets, hashes: Sequence[Json]) -> str:
    """Say of which model and from which files the sets are, as a comment."""
    frame = next(iter(sets.values()))
    models = frame["model"].unique().drop_nulls().to_list() if "model" in frame.columns else []
    told = [f"model: {name!r}" for name in models]
    told += [
        f"{Path(entry['path']).name!r}: sha256 {entry.get('sha256', entry.get('sha256_of_sample'))}"
        for entry in hashes
    ]
    return "".join(f"# {line}\n" for line in told)


def lines(frame: pl.DataFrame) -> Callable[[Path], None]:
    """Write a frame as JSON lines when its place is known."""

    def write(path: Path) -> None:
        with path.open("wb") as handle:
            for part in frame.iter_slices(100_000):
                part.write_ndjson(handle)

    return write


def _trl(sets: Sets, config: PlanConfig) -> dict[str, Content]:
    said = f"""# TRL reads sft_hard.jsonl (SFTTrainer) and rl_band.jsonl (GRPOTrainer) as they are.
# The reward function gets the columns `answer` and `id`; let it give verified accuracy, 0 or 1,
# and add shaping as a second function, so that the accuracy stays visible as {config.metric}.
num_generations: {config.group_size}
shuffle_dataset: true  # the files are in random order
remove_unused_columns: false
# watch frac_reward_zero_std: beside it stands what the plan expected, in result.json
"""
    return {"grpo.yaml": said} if "rl_band" in sets else {}


def _verl(sets: Sets, config: PlanConfig) -> dict[str, Content]:
    files: dict[str, Content] = {}
    for name, frame in sets.items():
        shown = _verl_rows(frame, "train") if name.startswith("rl_") else _messages(frame)
        files[f"{name}.parquet"] = shown.write_parquet
    if "rl_band" in sets:
        files[
            "config.yaml"
        ] = f"""# a fragment of verl's settings; paths are relative to this folder
data:
  train_files: rl_band.parquet
  prompt_key: prompt
actor_rollout_ref:
  rollout:
    n: {config.group_size}
algorithm:
  filter_groups:
    enable: true
    metric: {config.metric}  # verified accuracy, never a shaped score
    max_num_gen_batches: 10
"""
    return files


def _verl_rows(frame: pl.DataFrame, split: str) -> pl.DataFrame:
    return frame.select(
        data_source=pl.col("domain"),
        prompt=_chat(frame),
        ability=pl.col("domain"),
        reward_model=pl.struct(
            pl.lit("rule").alias("style"), pl.col("answer").alias("ground_truth")
        ),
        extra_info=pl.struct(
            pl.lit(split).alias("split"),
            pl.int_range(pl.len()).alias("index"),
            *(c for c in (*KEPT, "weight") if c in frame.columns),
        ),
    )


def _openrlhf(sets: Sets, config: PlanConfig) -> dict[str, Content]:
    files: dict[str, Content] = {}
    for name, frame in sets.items():
        asked = pl.col("prompt").alias("input")
        kept = [c for c in KEPT if c in frame.columns]
        if name.startswith("rl_"):
            shown = frame.select(asked, pl.col("answer").alias("label"), *kept, "weight")
        else:
            shown = frame.select(asked, pl.col("completion").alias("output"), *kept)
        files[f"{name}.jsonl"] = lines(shown)
    if "rl_band" in sets:
        files["flags.txt"] = f"""--data.prompt_dataset rl_band.jsonl
--data.input_key input
--data.label_key label
--rollout.n_samples_per_prompt {config.group_size}
--algo.dynamic_filtering_enable
--algo.dynamic_filtering_range 0 1
# the range is on the mean of `scores`: let the reward return verified accuracy ({config.metric})
# as `scores`, 0 or 1, and a shaped reward only as `rewards`
"""
    return files


def _open_instruct(sets: Sets, config: PlanConfig) -> dict[str, Content]:
    files: dict[str, Content] = {}
    for name, frame in sets.items():
        if name.startswith("rl_"):
            truth = pl.col("answer").alias("ground_truth")
            kept = [c for c in KEPT if c in frame.columns]
            shown = frame.select(_chat(frame).alias("messages"), truth, *kept, dataset="domain")
        else:
            shown = _messages(frame)
        files[f"{name}.jsonl"] = lines(shown)
    if "rl_band" in sets:
        files["flags.txt"] = f"""--dataset_mixer_list rl_band.jsonl 1.0
--num_samples_per_prompt_rollout {config.group_size}
--filter_zero_std_samples true
--active_sampling true
--async_steps 8
# `dataset` names the verifier: map the plan's domains to verifiers that return {config.metric}
# without format or length rewards, since the filter looks at the score that they return
"""
    return files


def _prime_rl(sets: Sets, config: PlanConfig) -> dict[str, Content]:
    if "rl_band" not in sets:
        return {}
    low, high = config.band
    weight = config.tail / (1 - 2 * config.tail)
    return {
        "rl_band.jsonl": lines(sets["rl_band"]),
        "rl.toml": f"""# a fragment of prime-rl's settings
# group size, set with the environment: {config.group_size}
[orchestrator.train]
filter_zero_advantages = true

[[orchestrator.train.source]]
# name the environment here; its reward is verified accuracy ({config.metric}) alone, shaping a
# metric of weight 0: pools go by the latest mean reward of a group

[orchestrator.train.source.curriculum.sampler]
type = "difficulty_pool"
seed = {config.seed}

[orchestrator.train.source.curriculum.sampler.pools.hard]
threshold = {low}
weight = {weight:.4g}

[orchestrator.train.source.curriculum.sampler.pools.normal]
threshold = {high}
weight = 1.0

[orchestrator.train.source.curriculum.sampler.pools.easy]
threshold = 1.0
weight = {weight:.4g}

[orchestrator.train.source.curriculum.gates.zero_signal]
type = "advantage_range"
reject_min = 0.0
reject_max = 0.0
""",
    }


def _answered(frame: pl.DataFrame) -> pl.DataFrame:
    """Give prompts without answers an empty one: their verifier knows them by id."""
    if {"answer", "completion"} & set(frame.columns):
        return frame
    return frame.with_columns(answer=pl.lit(None, dtype=pl.String))


def _chat(frame: pl.DataFrame) -> pl.Expr:
    """Give prompts as a list of messages."""
    if frame.schema["prompt"] != pl.String:
        return pl.col("prompt")
    asked = pl.struct(pl.lit("user").alias("role"), pl.col("prompt").alias("content"))
    return pl.concat_list(asked).alias("prompt")


def _messages(frame: pl.DataFrame) -> pl.DataFrame:
    """Give prompt and completion as one conversation."""
    said = pl.col("completion")
    if frame.schema["completion"] == pl.String:
        text = said.str.strip_chars_start(" ")
        said = pl.concat_list(pl.struct(pl.lit("assistant").alias("role"), text.alias("content")))
    whole = pl.concat_list(_chat(frame), said).alias("messages")
    kept = [c for c in KEPT if c in frame.columns]
    return frame.select(whole, *kept, dataset="domain")
