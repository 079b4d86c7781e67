"""Reinforcement learning from verified answers with TRL's GRPO, lean enough for small models."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imprint.errors import ConfigError, DataError, require
from imprint.evaluation.verification import Verifier, verifier
from imprint.formats.questions import Prompt, read_prompts
from imprint.lab.noise import flipped
from imprint.lab.rollouts import sample
from imprint.lab.trainers import (
    Dtype,
    Schedule,
    begun,
    check_settings,
    common_arguments,
    data_identity,
    finish,
    finished,
    loss_curve,
    open_model,
    quiet,
)
from imprint.runs import write_atomic

CURVE = ("reward", "reward_std", "frac_reward_zero_std", "kl", "completions/mean_length")


@dataclass(frozen=True, slots=True)
class RlSettings:
    """How to reinforce.

    Attributes:
        steps: optimiser steps, each on rollouts made for it.
        prompts_per_step: different prompts of a step.
        group: rollouts of a prompt; their rewards are compared with one another.
        lr, schedule, weight_decay: of AdamW.
        warmup: share of the steps in which the learning rate rises.
        temperature: of the rollouts.
        max_new_tokens: the length at which a rollout ends.
        kl: weight of the divergence from the base (TRL's ``beta``); 0 keeps no second model.
        noise: probability that a reward r is turned into 1 − r.
        curriculum: choose prompts by their pass rate (``CurriculumGRPOTrainer``).
        plan: folder of an `imprint plan` whose pass rates the curriculum starts from.
        chat: put a prompt that is a text into the tokenizer's chat template, as the user's turn,
            where it has one.
        seed: of prompts, rollouts and noise.
        dtype: ``fp32``, or ``bf16`` for bfloat16 arithmetic on float32 weights; ``auto`` takes it
            where the machine has it. Small models sample in float32.
        device: ``cpu``, ``cuda``; by default a GPU where there is one.
        report_to: trackers of transformers (``tensorboard``, ``wandb``, ``trackio``).
        engine: ``lean`` samples with a small loop of ours, ``trl`` as TRL does; ``auto`` is lean
            in a single process.
        save_every: steps between TRL's own checkpoints, from which a killed training goes on.
    """

    steps: int = 20
    prompts_per_step: int = 8
    group: int = 8
    lr: float = 2e-4
    schedule: Schedule = "constant_with_warmup"
    warmup: float = 0.1
    weight_decay: float = 0.0
    temperature: float = 1.0
    max_new_tokens: int = 8
    kl: float = 0.0
    noise: float = 0.0
    curriculum: bool = False
    plan: str | None = None
    chat: bool = True
    seed: int = 0
    dtype: Dtype = "auto"
    device: str | None = None
    report_to: tuple[str, ...] = ()
    engine: str = "auto"
    save_every: int | None = None

    def __post_init__(self) -> None:
        check_settings(asdict(self))
        if self.group < 2:
            raise ConfigError(
                f"group is {self.group}", remedy="at least 2: rewards are compared within a group."
            )
        for name, low in (("temperature", 0), ("max_new_tokens", 0), ("kl", -1)):
            if not asdict(self)[name] > low:
                raise ConfigError(f"{name} is {asdict(self)[name]}", remedy=f"above {max(low, 0)}.")
        if self.engine not in ("auto", "lean", "trl"):
            raise ConfigError(f"engine is {self.engine!r}", remedy="auto, lean or trl.")
        if self.plan is not None and not self.curriculum:
            raise ConfigError("a plan is given and no curriculum uses it", remedy="curriculum=True")


def rl(
    base: str | Path,
    prompts: Sequence[Mapping[str, Any]] | str | Path,
    out: str | Path,
    settings: RlSettings | None = None,
    *,
    reward: Verifier | str = "exact",
    callbacks: Sequence[Any] = (),
) -> dict[str, Any]:
    """Reinforce a model by GRPO; write a checkpoint in Hugging Face layout.

    The same seed on the same machine, with the same number of threads, gives the same weights. A
    training that was killed goes on from its last checkpoint (``save_every``) or begins anew; one
    that is there already is not repeated.

    Args:
        base: the model, as ``imprint.models.load`` takes it.
        prompts: ``prompt`` (a text or messages) and ``answer``; a list or a JSONL file.
        out: folder of the checkpoint, with ``metrics.json``.
        settings: how.
        reward: ``exact``, ``math``, ``regex``, ``package.module:function``, or a function of a
            prompt and a completion; in [0, 1].
        callbacks: of transformers.

    Returns:
        What ``metrics.json`` holds: ``losses`` (a curve, with the mean reward and the share of
        groups without signal), ``seconds``, ``steps``, ``prompts``, ``rollouts``, ``parameters``,
        ``settings``.

    Raises:
        ConfigError: ``out`` holds something else, or the reward is none.
        DataError: prompts that cannot be used, or too few for a step.
        CheckpointError: the model cannot be loaded.
        DependencyError: a package of ``imprint[lab]`` is not installed.
    """
    how, folder = settings or RlSettings(), Path(out)
    rule = verifier(reward) if isinstance(reward, str) else reward
    told = reward if isinstance(reward, str) else f"{reward.__module__}:{reward.__qualname__}"
    known = {"base": str(base), "data": data_identity(prompts), "reward": told, **asdict(how)}
    done = finished(folder, known)
    if done is not None:
        return done
    with quiet() as start:
        work, resume = begun(folder, known)
        asked = _prompts(prompts, work)
        if len(asked) < how.prompts_per_step:
            raise DataError(
                f"a step takes {how.prompts_per_step} prompts, and there are {len(asked)}",
                remedy="more prompts, or a smaller prompts_per_step.",
            )
        model, tokenizer = open_model(base, device=how.device)
        trainer = _trainer(model, tokenizer, asked, rule, how, work, callbacks)
        trainer.train(resume_from_checkpoint=resume)
        metrics = {
            "losses": loss_curve(trainer.state.log_history, *CURVE),
            "steps": trainer.state.global_step,
            "prompts": len(asked),
            "rollouts": trainer.state.global_step * how.prompts_per_step * how.group,
            "parameters": model.num_parameters(),
            "seconds": round(time.perf_counter() - start, 3),
            "settings": known,
        }
        return finish(folder, model, tokenizer, metrics)


def _prompts(prompts: Sequence[Mapping[str, Any]] | str | Path, work: Path) -> list[Prompt]:
    if isinstance(prompts, str | Path):
        return read_prompts(Path(prompts))
    path = work / "prompts.jsonl"
    write_atomic(path, "".join(json.dumps(dict(row)) + "\n" for row in prompts))
    return read_prompts(path)


def _trainer(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    rule: Verifier,
    how: RlSettings,
    work: Path,
    callbacks: Sequence[Any],
) -> Any:
    trl, datasets = require("trl", "lab"), require("datasets", "lab")
    arguments = trl.GRPOConfig(
        **common_arguments(asdict(how), work, how.steps),
        per_device_train_batch_size=how.prompts_per_step * how.group,
        num_generations=how.group,
        max_completion_length=how.max_new_tokens,
        temperature=how.temperature,
        beta=how.kl,
        remove_unused_columns=False,
        shuffle_dataset=how.curriculum,
    )
    more: dict[str, Any] = {}
    rows = _rows(prompts, tokenizer, chat=how.chat)
    if how.curriculum:
        more = {"plan": how.plan, "verified": "reward"}
    else:
        # laid out beforehand: a resumed trainer would shuffle anew at every epoch
        rows = [rows[at] for at in _order(len(rows), how)]
    trainer = _class(trl, how)(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows),
        reward_funcs=_rewards(prompts, rule, how),
        processing_class=tokenizer,
        callbacks=list(callbacks),
        **more,
    )
    trainer.remove_callback(require("transformers", "lab").PrinterCallback)
    return trainer


def _rows(prompts: Sequence[Prompt], tokenizer: Any, *, chat: bool) -> list[dict[str, Any]]:
    """Give the data set of TRL: all prompts as messages, or all as texts."""
    wrap = chat and bool(tokenizer.chat_template)
    if not wrap and any(one.messages for one in prompts):
        if not tokenizer.chat_template:
            raise DataError(
                "prompts are messages, and the tokenizer has no chat template",
                where=str(tokenizer.name_or_path),
                remedy="give prompts as texts.",
            )
        wrap = all(one.messages for one in prompts)
        if not wrap:
            raise DataError("some prompts are messages and some are texts", remedy="chat=True")
    rows = []
    for at, one in enumerate(prompts):
        turns = [dict(turn) for turn in one.messages]
        turns = turns or [{"role": "user", "content": one.text or ""}]
        rows.append({"prompt": turns if wrap else one.text, "id": one.item, "place": at})
    return rows


def _order(count: int, how: RlSettings) -> list[int]:
    """Give the prompts of all steps: every one once, in another order each time round."""
    whole = count // how.prompts_per_step * how.prompts_per_step
    rounds = -(-how.steps * how.prompts_per_step // whole)
    order = [np.random.default_rng([how.seed, n]).permutation(count)[:whole] for n in range(rounds)]
    return [int(at) for at in np.concatenate(order)[: how.steps * how.prompts_per_step]]


def _rewards(prompts: Sequence[Prompt], rule: Verifier, how: RlSettings) -> Any:
    def reward(completions: Any, place: Any, trainer_state: Any, **_: Any) -> list[float]:
        said = [one if isinstance(one, str) else one[-1]["content"] for one in completions]
        found = [float(rule(prompts[at], text)) for at, text in zip(place, said, strict=True)]
        return flipped(found, how.noise, (how.seed, int(trainer_state.global_step)))

    return reward


def _class(trl: Any, how: RlSettings) -> Any:
    """Give TRL's trainer, or the one with a curriculum, with rollouts by ``sample``."""
    parent = trl.GRPOTrainer
    if how.curriculum:
        from imprint.integrations.trl import CurriculumGRPOTrainer

        parent = CurriculumGRPOTrainer

    class Trainer(parent):  # type: ignore[misc, valid-type]
        def _generate_single_turn(self, prompt_ids: Any, *rest: Any, **more: Any) -> Any:
            alone = self.accelerator.num_processes == 1 and not self.use_vllm
            if how.engine == "trl" or (how.engine == "auto" and not alone):
                return super()._generate_single_turn(prompt_ids, *rest, **more)
            model = self.accelerator.unwrap_model(self.model)
            model.eval()
            found = sample(
                model,
                prompt_ids,
                ends=set(self.eos_token_ids),
                temperature=how.temperature,
                max_new_tokens=how.max_new_tokens,
                seed=(how.seed, self.state.global_step),
            )
            model.train()
            return found, None

    return Trainer
