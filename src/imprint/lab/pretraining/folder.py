"""The folder of a pretrained model: written whole, and taken where it is there."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from imprint.errors import ConfigError, DataError
from imprint.lab.pretraining.engines import (
    Engine,
)
from imprint.lab.pretraining.llama import write_checkpoint
from imprint.lab.pretraining.mixture import Sequences
from imprint.lab.pretraining.plan import Plan, Pretrained, PretrainRun
from imprint.lab.pretraining.state import NAME as STATE
from imprint.runs import dump_json, write_atomic

ABOUT = "pretraining.json"


def finish(
    built: Engine,
    r: int,
    run: PretrainRun,
    plan: Plan,
    order: Sequences,
    losses: Any,
    work: Path,
    fingerprint: str,
) -> Pretrained:
    """Write the folder and give it its name."""
    last = losses[-max(1, plan.steps // 20) :]
    done = Pretrained(
        run.name,
        run.out,
        plan.steps * plan.optimiser.batch * plan.shape.context,
        order.passes,
        round(float(last.mean(dtype=np.float64)), 6),
    )
    if built.writes:
        write_checkpoint(plan.shape, built.llama(r), work, plan.tokenizer, plan.stored)
        marks = [*range(plan.log_every, plan.steps + 1, plan.log_every)] or [plan.steps]
        rows = [dump_json(plan.entry(losses, mark), indent=None) for mark in marks]
        write_atomic(work / "losses.jsonl", "\n".join(rows) + "\n")
        write_atomic(work / ABOUT, dump_json(_about(done, run, plan, fingerprint)))
        (work / STATE).unlink(missing_ok=True)
        shutil.rmtree(run.out, ignore_errors=True)
        work.replace(run.out)
    built.wait()
    return done


def _about(done: Pretrained, run: PretrainRun, plan: Plan, fingerprint: str) -> dict[str, Any]:
    return {
        "fingerprint": fingerprint,
        "name": run.name,
        "mixture": {"name": run.mixture.name, "shares": dict(run.mixture.shares)},
        "seed": run.seed,
        "shape": asdict(plan.shape),
        "parameters": plan.shape.parameters,
        "optimiser": asdict(plan.optimiser),
        "engine": plan.engine,
        "dtype": plan.dtype,
        "steps": plan.steps,
        "tokens": done.tokens,
        "passes": dict(done.passes),
        "loss": done.loss,
    }


def finished(run: PretrainRun, plan: Plan, fingerprint: str) -> Pretrained | None:
    """Take a finished folder of the same run.

    Raises:
        ConfigError: the folder holds something that no run here wrote.
    """
    import json

    path = run.out / ABOUT
    if not path.is_file():
        if run.out.exists() and (not run.out.is_dir() or any(run.out.iterdir())):
            problem = "holds something that is no pretrained model"
            raise ConfigError(problem, where=str(run.out), remedy="choose another folder.")
        return None
    try:
        about = json.loads(path.read_text())
    except ValueError as failed:
        raise DataError(f"is no JSON: {failed}", where=str(path)) from None
    if about.get("fingerprint") != fingerprint:
        return None
    return Pretrained(run.name, run.out, about["tokens"], about["passes"], about["loss"])
