"""Does the advice of `imprint plan` help? Train on its sets and on their controls, and compare.

A Llama of a few hundred thousand parameters learns a small world of graded tasks
(`plan_world.py`). `imprint evaluate` rolls out and verifies, `imprint plan` chooses. Then the model
is fine-tuned with TRL on the SFT subset, on its random control of equal size and on everything,
and trained by GRPO on the RL band, on its control and with the curriculum, each with several
seeds. Tests are tasks that no set holds; the measure is the exact probability of the right answer,
that is the pass rate at temperature 1. The outcome is printed whichever way it falls.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/plan_outcome.py [--seeds 5] [--out FOLDER] [--page MD]

What is finished stays in the folder; the same command goes on after a stop.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

import imprint
from imprint.errors import require
from imprint.planning import PlanConfig, plan
from imprint.runs import write_atomic
from imprint.stats import Draws, percentile_interval
from plan_world import Item, measure, pool_and_tests, pretrain

Floats = npt.NDArray[np.float64]
DRAWS = 4000  # of the bootstrap
PAIRS = (
    ("sft_hard", "sft_random", "SFT: planned subset − random control of equal size"),
    ("sft_hard", "sft_all", "SFT: planned subset − everything, equal steps"),
    ("sft_hard", "sft_all_epochs", "SFT: planned subset − everything, equal epochs"),
    ("rl_band", "rl_random", "RL: planned band − random control of equal size"),
    ("rl_curriculum", "rl_band", "RL: curriculum over the pool − planned band"),
    ("rl_curriculum", "rl_random", "RL: curriculum over the pool − random control"),
)


@dataclass(frozen=True)
class Sizes:
    """How large the experiment is.

    Attributes:
        steps, width: pretraining steps, and the model's width.
        pool, tests: tasks of every kind and level to choose from, and to test on.
        samples: rollouts per task that the plan is made from.
        subset: rows of the SFT subset.
        sft_steps, sft_batch, sft_lr: of SFT.
        rl_steps, rl_prompts, rl_group, rl_lr: GRPO steps, prompts per step, rollouts per prompt.
        seeds: plans and trainings of each arm.
        seed: of the world and the model.
    """

    steps: int = 1000
    width: int = 96
    pool: int = 200
    tests: int = 20
    samples: int = 16
    subset: int = 800
    sft_steps: int = 100
    sft_batch: int = 32
    sft_lr: float = 5e-4
    rl_steps: int = 100
    rl_prompts: int = 16
    rl_group: int = 8
    rl_lr: float = 1e-4
    seeds: int = 5
    seed: int = 0


@dataclass
class Stage:
    """A folder with the world, the model and its rollouts; what is there is not made again."""

    out: Path
    sizes: Sizes
    pool: list[Item] = field(default_factory=list)
    tests: list[Item] = field(default_factory=list)

    def prepare(self) -> None:
        """Draw the tasks, train the model, roll out."""
        self._refuse_other()
        self.pool, self.tests = pool_and_tests(self.sizes.pool, self.sizes.tests, self.sizes.seed)
        if not (self.model / "tokenizer.json").exists():
            told = self.sizes
            pretrain(self.model, steps=told.steps, width=told.width, seed=told.seed)
        rows = [_row(at, item) for at, item in enumerate(self.pool)]
        write_atomic(self.prompts, "".join(json.dumps(row) + "\n" for row in rows))
        if not (self.out / "rollouts" / "result.json").exists():
            config = imprint.EvaluateConfig(
                prompts=str(self.prompts),
                samples=self.sizes.samples,
                verify="exact",
                max_new_tokens=12,
                seed=self.sizes.seed,
                device="cpu",
                quiet=True,
            )
            imprint.evaluate([str(self.model)], config, out=self.out / "rollouts")

    def plan(self, seed: int) -> Path:
        """Plan with a seed; give the folder of its sets."""
        folder = self.out / f"plan-{seed}"
        if not (folder / "result.json").exists():
            plan(
                self.out / "rollouts",
                PlanConfig(
                    kind="skill",
                    size=self.sizes.subset,
                    group_size=self.sizes.rl_group,
                    seed=seed,
                    quiet=True,
                ),
                out=folder,
            )
        return folder

    @property
    def model(self) -> Path:
        """Where the model lies."""
        return self.out / "model"

    @property
    def prompts(self) -> Path:
        """The tasks to choose from, as evaluate reads them."""
        return self.out / "pool.jsonl"

    def outcome(self, arm: str, seed: int) -> Path:
        """Where the tests of an arm with a seed lie."""
        return self.out / "outcomes" / f"{arm}-{seed}.json"

    def _refuse_other(self) -> None:
        told, path = json.dumps(asdict(self.sizes)), self.out / "sizes.json"
        if path.exists() and path.read_text() != told:
            raise SystemExit(f"{self.out} holds an experiment of other sizes; name another --out")
        write_atomic(path, told)


def _row(at: int, item: Item) -> dict[str, Any]:
    return {"id": str(at), "domain": item.domain, "prompt": item.prompt, "answer": item.answer}


def main() -> None:
    """Run the experiment and print."""
    asked = argparse.ArgumentParser()
    for name, value in asdict(Sizes()).items():
        asked.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    asked.add_argument("--out", type=Path, default=Path("imprint-runs/plan-outcome"))
    asked.add_argument("--page", type=Path, help="write the outcome to this Markdown file too")
    asked.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    asked.add_argument("--workers", type=int, default=2, help="processes that train side by side")
    given = vars(asked.parse_args())
    out, page, workers, arms = (given.pop(name) for name in ("out", "page", "workers", "arms"))
    begun = time.perf_counter()
    found = experiment(out, Sizes(**given), workers, arms)
    print(told(found))
    if page is not None:
        write_atomic(page, as_page(found, Sizes(**given)))
    print(f"{time.perf_counter() - begun:.0f} s in all")


def experiment(
    out: Path, sizes: Sizes, workers: int = 1, arms: Sequence[str] = ()
) -> dict[str, pl.DataFrame]:
    """Do all of it in a folder.

    Args:
        out: the folder.
        sizes: how large.
        workers: processes that train side by side.
        arms: which to train, all by default.

    Returns:
        ``arms``: per arm its pass rate and greedy accuracy, means over tasks and seeds;
        ``pairs``: differences with intervals; ``cells``: pass rate per arm and level.
    """
    _quiet()
    stage = Stage(out, sizes)
    stage.prepare()
    for seed in range(sizes.seeds):
        stage.plan(seed)
    asked = [("base", 0), *((arm, seed) for seed in range(sizes.seeds) for arm in arms or ARMS)]
    left = [one for one in asked if not stage.outcome(*one).exists()]
    if workers > 1 and left:
        # a process per core: models this small gain nothing from a second thread
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, spawn, _quiet) as workforce:
            for done in [workforce.submit(_train, stage, *one) for one in left]:
                done.result()
    else:
        for arm, seed in left:
            _train(stage, arm, seed)
    outcome = pl.concat([_outcome(stage, arm, seed) for arm, seed in asked])
    outcome.write_parquet(out / "outcome.parquet")
    return tables(outcome)


def _train(stage: Stage, arm: str, seed: int) -> None:
    """Train and test an arm with a seed; keep what was found."""
    transformers, begun = require("transformers", "lab"), time.perf_counter()
    if arm == "base":
        model = transformers.AutoModelForCausalLM.from_pretrained(stage.model)
    else:
        model = ARMS[arm](stage, stage.plan(seed), seed)
    words = transformers.AutoTokenizer.from_pretrained(stage.model)
    rate, greedy = measure(model.eval(), words, stage.tests)
    found = {"rate": rate.tolist(), "greedy": greedy.tolist()}
    write_atomic(stage.outcome(arm, seed), json.dumps(found))
    print(f"{arm} {seed}: {rate.mean():.4f}, {time.perf_counter() - begun:.0f} s", flush=True)


def _outcome(stage: Stage, arm: str, seed: int) -> pl.DataFrame:
    found = json.loads(stage.outcome(arm, seed).read_text())
    return pl.DataFrame(
        {
            "arm": arm,
            "seed": seed,
            "item": [item.prompt for item in stage.tests],
            "cell": [item.cell for item in stage.tests],
            "level": [item.level for item in stage.tests],
            **found,
        }
    )


def _quiet() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    transformers, datasets = require("transformers", "lab"), require("datasets", "lab")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    logging.getLogger("trl").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)  # of the libraries, to themselves
    require("torch", "lab").set_num_threads(1)


COMMON: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "report_to": [],
    "save_strategy": "no",
    "logging_strategy": "no",
    "disable_tqdm": True,
    "gradient_checkpointing": False,
}


def _rows(path: Path) -> Any:
    datasets = require("datasets", "lab")
    return datasets.Dataset.from_list([json.loads(line) for line in path.open(encoding="utf-8")])


def _everything(stage: Stage) -> Any:
    datasets = require("datasets", "lab")
    rows = [{"prompt": one.prompt, "completion": one.answer} for one in stage.pool]
    return datasets.Dataset.from_list(rows)


def _sft(stage: Stage, rows: Any, seed: int, steps: int) -> Any:
    trl, sizes = require("trl", "lab"), stage.sizes
    config = trl.SFTConfig(
        output_dir=str(stage.out / "scratch"),
        per_device_train_batch_size=sizes.sft_batch,
        max_steps=steps,
        learning_rate=sizes.sft_lr,
        lr_scheduler_type="cosine",
        seed=seed,
        **COMMON,
    )
    trainer = trl.SFTTrainer(model=str(stage.model), args=config, train_dataset=rows)
    return _run(trainer)


def _run(trainer: Any) -> Any:
    trainer.remove_callback(require("transformers", "lab").PrinterCallback)
    trainer.train()
    return trainer.model


def exact(completions: list[str], answer: list[str], **_: Any) -> list[float]:
    """Reward an answer that is right."""
    return [float(said.strip() == right) for said, right in zip(completions, answer, strict=True)]


def _grpo(stage: Stage, rows: Any, seed: int, *, curriculum: bool = False) -> Any:
    trl, sizes = require("trl", "lab"), stage.sizes
    config = trl.GRPOConfig(
        output_dir=str(stage.out / "scratch"),
        per_device_train_batch_size=sizes.rl_prompts * sizes.rl_group,
        num_generations=sizes.rl_group,
        max_completion_length=12,
        max_steps=sizes.rl_steps,
        learning_rate=sizes.rl_lr,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=max(1, sizes.rl_steps // 10),
        seed=seed,
        **COMMON,
    )
    made: Any = trl.GRPOTrainer
    if curriculum:
        from imprint.integrations.trl import CurriculumGRPOTrainer

        made = CurriculumGRPOTrainer
    trainer = made(model=str(stage.model), reward_funcs=exact, args=config, train_dataset=rows)
    return _run(trainer)


def _pool_with_rates(stage: Stage) -> Any:
    """Give all tasks with the rates that evaluate measured, for the curriculum."""
    datasets = require("datasets", "lab")
    rates = pl.read_parquet(stage.out / "rollouts" / "tables" / "pass_rates.parquet")
    known = {item: (rate, n) for item, rate, n in rates.select("item", "pass_rate", "n").rows()}
    rows = []
    for at, one in enumerate(stage.pool):
        rate, n = known[str(at)]
        rows.append({"prompt": one.prompt, "answer": one.answer, "pass_rate": rate, "n": n})
    return datasets.Dataset.from_list(rows)


def _same_epochs(stage: Stage) -> int:
    return round(stage.sizes.sft_steps * len(stage.pool) / stage.sizes.subset)


ARMS: dict[str, Callable[[Stage, Path, int], Any]] = {
    "sft_hard": lambda s, plan, n: _sft(s, _rows(plan / "sft_hard.jsonl"), n, s.sizes.sft_steps),
    "sft_random": lambda s, plan, n: _sft(
        s, _rows(plan / "sft_random.jsonl"), n, s.sizes.sft_steps
    ),
    "sft_all": lambda s, _, n: _sft(s, _everything(s), n, s.sizes.sft_steps),
    "sft_all_epochs": lambda s, _, n: _sft(s, _everything(s), n, _same_epochs(s)),
    "rl_band": lambda s, plan, n: _grpo(s, _rows(plan / "rl_band.jsonl"), n),
    "rl_random": lambda s, plan, n: _grpo(s, _rows(plan / "rl_random.jsonl"), n),
    "rl_curriculum": lambda s, _, n: _grpo(s, _pool_with_rates(s), n, curriculum=True),
}


def tables(outcome: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Summarise outcomes: one row per arm, per pair of arms and measure, per arm and level."""
    means = pl.col("rate", "greedy").mean()
    arms = outcome.group_by("arm", maintain_order=True).agg(means, pl.col("seed").n_unique())
    per_seed = outcome.group_by("arm", "seed").agg(pl.col("rate").mean())
    spread = per_seed.group_by("arm").agg(sd_over_seeds=pl.col("rate").std())
    cells = outcome.group_by("arm", "level", maintain_order=True).agg(pl.col("rate").mean())
    known = set(outcome["arm"].unique())
    pairs = [
        compared(outcome, one, other, measure) | {"pair": name}
        for one, other, name in PAIRS
        for measure in ("rate", "greedy")
        if {one, other} <= known
    ]
    return {
        "arms": arms.join(spread, on="arm", how="left", maintain_order="left"),
        "pairs": pl.DataFrame(pairs),
        "cells": cells.pivot("level", index="arm", values="rate", maintain_order=True),
    }


def compared(outcome: pl.DataFrame, one: str, other: str, measure: str) -> dict[str, Any]:
    """Compare two arms on the same tasks, seed by seed.

    The interval draws seeds and clusters of tasks (a kind at a level) anew, both at once.

    Returns:
        ``difference``, ``low``, ``high``, ``ahead`` (seeds in which the first is better), and
        ``verdict``.
    """
    first, second = (_matrix(outcome, arm, measure) for arm in (one, other))
    D = first - second
    cells = outcome.filter(arm=one, seed=0)["cell"].rank("dense").to_numpy().astype(np.int64)
    W = np.concatenate(list(Draws(cells, DRAWS, 0).blocks()))
    S = np.concatenate(list(Draws(np.arange(len(D)), DRAWS, 1).blocks()))
    drawn = np.einsum("rs,si,ri->r", S, D, W, optimize=True) / (S.sum(1) * W.sum(1))
    low, high = (float(end) for end in percentile_interval(drawn))
    return {
        "one": one,
        "other": other,
        "measure": measure,
        "difference": float(D.mean()),
        "low": low,
        "high": high,
        "ahead": int((D.mean(axis=1) > 0).sum()),
        "seeds": len(D),
        "verdict": verdict(low, high),
    }


def _matrix(outcome: pl.DataFrame, arm: str, measure: str) -> Floats:
    """Give the measure of an arm, [seeds, tasks]."""
    own = outcome.filter(pl.col("arm") == arm).sort("seed", maintain_order=True)
    return own[measure].to_numpy().reshape(own["seed"].n_unique(), -1)


def verdict(low: float, high: float) -> str:
    """Say what an interval of a difference says.

    >>> verdict(-0.01, 0.02), verdict(0.01, 0.02), verdict(-0.02, -0.01)
    ('no difference shown', 'better', 'worse')
    """
    if low > 0:
        return "better"
    return "worse" if high < 0 else "no difference shown"


NAMES = {
    "base": "the model before",
    "sft_hard": "SFT, planned subset",
    "sft_random": "SFT, random control of equal size",
    "sft_all": "SFT, everything, equal steps",
    "sft_all_epochs": "SFT, everything, equal epochs",
    "rl_band": "GRPO, planned band",
    "rl_random": "GRPO, random control of equal size",
    "rl_curriculum": "GRPO, curriculum over the pool",
}


def told(found: dict[str, pl.DataFrame]) -> str:
    """Put the outcome in words and two tables of Markdown, points of 100."""
    lines = [
        "| trained on | pass rate | sd over seeds | greedy | by level 0 to 4 |",
        "|---|---|---|---|---|",
    ]
    levels = {row[0]: row[1:] for row in found["cells"].iter_rows()}
    order = list(NAMES)
    for row in sorted(found["arms"].to_dicts(), key=lambda one: order.index(one["arm"])):
        sd = "-" if row["sd_over_seeds"] is None else f"{100 * row['sd_over_seeds']:.1f}"
        graded = ", ".join(f"{100 * one:.0f}" for one in levels[row["arm"]])
        lines.append(
            f"| {NAMES[row['arm']]} | {100 * row['rate']:.1f} | {sd} "
            f"| {100 * row['greedy']:.1f} | {graded} |"
        )
    lines += [
        "",
        "| difference | measure | points | 95 % interval | seeds ahead | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["pairs"].iter_rows(named=True):
        measured = "pass rate" if row["measure"] == "rate" else "greedy"
        lines.append(
            f"| {row['pair']} | {measured} | {100 * row['difference']:+.1f} "
            f"| {100 * row['low']:+.1f} to {100 * row['high']:+.1f} "
            f"| {row['ahead']} of {row['seeds']} | {row['verdict']} |"
        )
    return "\n".join(lines)


def as_page(found: dict[str, pl.DataFrame], sizes: Sizes) -> str:
    """Write the page of the outcome."""
    usual = asdict(Sizes())
    flags = [
        f"--{name.replace('_', '-')} {value:g}"
        for name, value in asdict(sizes).items()
        if value != usual[name]
    ]
    return PAGE.format(
        outcome=told(found),
        words="\n".join([in_words(found["pairs"]), beside_before(found["arms"])]),
        flags=" ".join(["", *flags]),
        **asdict(sizes),
    )


def in_words(pairs: pl.DataFrame) -> str:
    """Say of each comparison, by pass rate, how it fell out."""
    lines = []
    for row in pairs.filter(measure="rate").iter_rows(named=True):
        one, _, other = row["pair"].partition(" − ")
        spread = f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f} points"
        lines.append(f"- {one} beside {other}: **{row['verdict']}** ({spread}).")
    return "\n".join(lines)


def beside_before(arms: pl.DataFrame) -> str:
    """Say which trainings left the model better than it was, by the mean pass rate alone."""
    before = arms.filter(arm="base")["rate"][0]
    better = [NAMES[arm] for arm in arms.filter(pl.col("rate") > before)["arm"]]
    told = "; ".join(better) if better else "none; all these trainings cost more than they taught"
    return f"- Above the model before ({100 * before:.1f}): {told}."


PAGE = """# Does the plan help? One small experiment

`python benchmarks/plan_outcome.py{flags}` wrote this page. It is one small model in one small
world. It says whether the advice of `imprint plan` paid there, not whether it
pays for you: for that, train on a set and on the control that lies beside it.

{words}

## What was done

A Llama of about 0.36 million parameters (width {width}) learnt six kinds of tasks on characters
(reversing, sorting, stepping along the alphabet, counting, adding, remainders), each at five
levels, for {steps} steps; every level is less common than the one below it. From at most {pool}
tasks of each kind and level `imprint evaluate --verify exact` took {samples} rollouts each at
temperature 1, and `imprint plan --kind skill --size {subset}` chose, anew for every seed.

- SFT (TRL's `SFTTrainer`): {sft_steps} steps of {sft_batch} at learning rate {sft_lr:g}; "equal
  epochs", where shown, repeats every row of the pool as often as the subset's rows are repeated.
- RL (TRL's `GRPOTrainer`): {rl_steps} steps of {rl_prompts} prompts with {rl_group} rollouts at
  learning rate {rl_lr:g}, starting from the model the plan was made on. The curriculum
  (`CurriculumGRPOTrainer`) chooses from the whole pool.
- Tests: at most {tests} other tasks of each kind and level, the same for all. The pass rate is the
  exact probability of the right answer at temperature 1; greedy is the share that greedy decoding
  gets right.
- Random controls are those the plan writes: equal size, mix of kinds and total length. They are the
  null here. Longer tasks are harder in this world, so the SFT control is hard too.

Differences are paired by task and seed. Intervals draw seeds ({seeds}) and clusters of tasks (a
kind at a level) anew, 4,000 times; so few seeds make them a little too narrow, and they say nothing
about other pretrained models. Two comparisons were asked beforehand: each planned set beside its
control, by pass rate. The others are shown beside them, uncorrected. Steps and learning rates were
chosen so that training on everything helps.

## Outcome

In points of 100.

{outcome}
"""


if __name__ == "__main__":
    main()
