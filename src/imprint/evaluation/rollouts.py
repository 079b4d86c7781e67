"""Verified rollouts: what a model writes for each prompt, and how often that is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from imprint.errors import ConfigError, DataError
from imprint.evaluation.config import EvaluateConfig
from imprint.evaluation.pass_at_k import (
    mean_interval,
    pass_at_k,
    pass_at_k_interval,
    powers,
    wilson,
)
from imprint.evaluation.verification import Verifier
from imprint.formats.questions import Prompt
from imprint.models import Engine, Prompter

LINE_END = ("\n",)
TYPES: dict[str, pl.DataType] = {
    "item": pl.String(),
    "domain": pl.String(),
    "sample": pl.Int64(),
    "prompt": pl.String(),
    "answers": pl.List(pl.String),
    "completion": pl.String(),
    "reward": pl.Float64(),
    "passed": pl.Boolean(),
    "tokens": pl.Int64(),
    "ended": pl.String(),
}


def choose_prompts(
    prompts: Sequence[Prompt], config: EvaluateConfig
) -> tuple[list[Prompt], list[Prompt]]:
    """Draw the prompts, so many as ``limit`` allows, and the answered examples before them.

    Both depend on the seed alone; examples are not asked.

    Returns:
        Prompts in file order, and the examples.

    Raises:
        ConfigError: too few rows for the examples asked for.
    """
    rng = np.random.default_rng([config.seed, 1])
    order = [int(at) for at in rng.permutation(len(prompts))]
    wanted = config.num_fewshot or 0
    shots, left = order[:wanted], order[wanted:]
    if not left:
        problem = f"--num-fewshot {wanted} leaves none of {len(prompts)} prompts"
        raise ConfigError(problem, where=config.prompts)
    kept = sorted(left[: config.limit])
    return [prompts[at] for at in kept], [prompts[at] for at in shots]


def roll_out(
    prompts: Sequence[Prompt],
    engine: Engine,
    prompter: Prompter,
    verify: Verifier,
    config: EvaluateConfig,
    *,
    seed: int,
    shots: Sequence[Prompt] = (),
) -> pl.DataFrame:
    """Sample completions and verify each.

    Args:
        prompts: what is asked.
        shots: answered examples that stand before each prompt.
        seed: of the draws.

    Returns:
        One row per prompt and sample: ``item``, ``domain``, ``sample``, ``prompt`` as the model
        read it, ``answers``, ``completion``, ``reward`` in [0, 1], ``passed`` (reward 1),
        ``tokens``, ``ended``.

    Raises:
        ConfigError: messages without a chat template, or a verifier that fails.
    """
    examples = [(_asked(shot), shot.answers[0]) for shot in shots]
    texts = [_text(prompt, prompter, examples) for prompt in prompts]
    rows: list[dict[str, Any]] = []
    for stop in sorted({_stop(prompt, config) for prompt in prompts}):
        chosen = [at for at, prompt in enumerate(prompts) if _stop(prompt, config) == stop]
        written = engine.generate(
            [texts[at] for at in chosen],
            n=config.samples,
            temperature=config.temperature,
            max_new_tokens=config.max_new_tokens,
            seed=seed,
            stop=stop,
        )
        for one in written:
            at = chosen[one.prompt]
            reward = verify(prompts[at], one.text)
            rows.append(
                {
                    "at": at,
                    "item": prompts[at].item,
                    "domain": prompts[at].domain,
                    "sample": one.sample,
                    "prompt": texts[at],
                    "answers": list(prompts[at].answers),
                    "completion": one.text,
                    "reward": reward,
                    "passed": reward >= 1,
                    "tokens": one.tokens,
                    "ended": one.ended,
                }
            )
    frame = pl.DataFrame(rows, schema={"at": pl.Int64(), **TYPES})
    return frame.sort("at", "sample").drop("at")


def pass_rates(rollouts: pl.DataFrame, labels: Sequence[str]) -> pl.DataFrame:
    """Count what passed, per prompt.

    Args:
        rollouts: rows of ``roll_out`` with label columns.
        labels: the label columns.

    Returns:
        One row per prompt with ``n``, ``c``, ``pass_rate`` and its Wilson interval (``ci_low``,
        ``ci_high``), ``mean_reward``, and lists over ``k``: ``pass_at_k``, ``pass_at_k_low``,
        ``pass_at_k_high``.
    """
    keys = [*labels, "item", "domain", "prompt"]
    counted = rollouts.group_by(keys, maintain_order=True).agg(
        answers=pl.col("answers").first(),
        n=pl.len().cast(pl.Int64),
        c=pl.col("passed").sum().cast(pl.Int64),
        mean_reward=pl.col("reward").mean(),
    )
    ends = wilson(counted["c"].to_numpy(), counted["n"].to_numpy())
    lists: dict[str, list[list[Any]]] = {"k": [], "pass_at_k": [], "low": [], "high": []}
    for c, n in counted.select("c", "n").iter_rows():
        ks = powers(n)
        both = [pass_at_k_interval(c, n, k) for k in ks]
        lists["k"].append(ks)
        lists["pass_at_k"].append([pass_at_k(c, n, k) for k in ks])
        lists["low"].append([float(low) for low, _ in both])
        lists["high"].append([float(high) for _, high in both])
    floats = pl.List(pl.Float64)
    return counted.with_columns(
        pass_rate=pl.col("c") / pl.col("n"),
        ci_low=pl.Series(ends[:, 0]),
        ci_high=pl.Series(ends[:, 1]),
        ci_method=pl.lit("wilson"),
        k=pl.Series(lists["k"], dtype=pl.List(pl.Int64)),
        pass_at_k=pl.Series(lists["pass_at_k"], dtype=floats),
        pass_at_k_low=pl.Series(lists["low"], dtype=floats),
        pass_at_k_high=pl.Series(lists["high"], dtype=floats),
    )


def pass_at_k_means(rates: pl.DataFrame, labels: Sequence[str], seed: int) -> pl.DataFrame:
    """Average pass@k over prompts, with an interval of the bootstrap over prompts.

    Returns:
        One row per labels and ``k``: ``prompts``, ``pass_at_k``, ``low``, ``high``.
    """
    long = rates.select(*labels, "k", "pass_at_k").explode("k", "pass_at_k")
    rows = []
    for key, part in long.group_by([*labels, "k"], maintain_order=True):
        mean, low, high = mean_interval(part["pass_at_k"].to_list(), seed=seed)
        row = dict(zip([*labels, "k"], key, strict=True))
        rows.append({**row, "prompts": len(part), "pass_at_k": mean, "low": low, "high": high})
    types = {**{name: rates.schema[name] for name in labels}, "k": pl.Int64()}
    numbers = {"prompts": pl.Int64(), **dict.fromkeys(("pass_at_k", "low", "high"), pl.Float64())}
    frame = pl.DataFrame(rows, schema={**types, **numbers})
    return frame.with_columns(pl.col("low", "high").fill_nan(None))


def _asked(prompt: Prompt) -> str:
    return prompt.messages[-1]["content"] if prompt.text is None else prompt.text


def _text(prompt: Prompt, prompter: Prompter, examples: Sequence[tuple[str, str]]) -> str:
    if prompt.text is not None:
        return prompter.context(prompt.text, examples)
    if prompter.template is None:
        raise ConfigError(
            "the prompt is a conversation, and no chat template says how it reads",
            where=f"line {prompt.line} of the prompts",
            remedy="--chat-template auto, or the path of a template.",
        )
    return _conversation(prompt, prompter, examples)


def _conversation(prompt: Prompt, prompter: Prompter, examples: Sequence[tuple[str, str]]) -> str:
    """Render messages: a system prompt, if any, then turns of user and assistant, a user's last."""
    messages = list(prompt.messages)
    if messages[0]["role"] == "system":
        told = replace(prompter.prompting, system_prompt=messages.pop(0)["content"])
        prompter = replace(prompter, prompting=told)
    roles = [message["role"] for message in messages]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise DataError(
            f"the turns are {', '.join(roles) or 'none'}; they must alternate and end with user",
            where=f"line {prompt.line} of the prompts",
        )
    turns = [message["content"] for message in messages]
    told_before = list(zip(turns[:-1:2], turns[1::2], strict=True))
    return prompter.context(turns[-1], [*examples, *told_before])


def _stop(prompt: Prompt, config: EvaluateConfig) -> tuple[str, ...]:
    # a base model goes on with questions of its own after the line with its answer
    return config.stop or (LINE_END if prompt.open else ())
