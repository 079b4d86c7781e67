"""Pretraining runs of one shape to checkpoints on disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imprint.errors import ConfigError, require
from imprint.lab.pretraining.batched import Precision
from imprint.lab.pretraining.engines import BatchedEngine, Engine, Name, TransformersEngine
from imprint.lab.pretraining.events import Events
from imprint.lab.pretraining.folder import finish, finished
from imprint.lab.pretraining.llama import Stored, write_checkpoint
from imprint.lab.pretraining.mixture import Sequences, open_tokens
from imprint.lab.pretraining.optimiser import Optimiser
from imprint.lab.pretraining.plan import (
    Log,
    Plan,
    Pretrained,
    PretrainRun,
    best_dtype,
    fitting_tokenizer,
    refuse_unfit,
    source_hash,
)
from imprint.lab.pretraining.shape import Shape
from imprint.lab.pretraining.state import load_state, save_state
from imprint.progress import Bar, Silent


def pretrain(
    runs: Sequence[PretrainRun],
    sources: Mapping[str, Path],
    shape: Shape,
    optimiser: Optimiser,
    *,
    tokenizer: Path | None = None,
    threads: int = 1,
    together: int = 1,
    device: str | None = "cpu",
    dtype: Precision | Literal["auto"] = "auto",
    engine: Name | Literal["auto"] = "auto",
    stored: Stored = "fp32",
    save_every: int | None = None,
    state_seconds: float = 30.0,
    log_every: int = 20,
    log: Log | None = None,
    progress: Bar | None = None,
) -> list[Pretrained]:
    """Train models of one shape, each on its mixture; write each as a checkpoint folder.

    A folder holds a ``LlamaForCausalLM`` with its tokenizer, ``losses.jsonl``, TensorBoard events
    and ``pretraining.json``. While a run is under way its state lies in ``.NAME.partial`` beside
    the folder; the same call after a kill goes on from there, to the same bytes, and takes finished
    folders as they are. On one machine with the same versions a run's bytes depend on its settings,
    its seed, and on nothing that runs beside it.

    Args:
        runs: the models.
        sources: name → ``tokens.npy`` or the folder that holds it (``corpora.encode_corpus``).
        shape: of every model.
        optimiser: of every run, with the budget.
        tokenizer: folder of the tokenizer, written with each checkpoint.
        threads: runs that are trained at once, on a core each; for ``transformers`` on the CPU,
            the threads of torch.
        together: runs that share one batched program. One is fastest where a core's cache is
            small; the numbers are the same to rounding.
        device: ``cpu``, ``cuda``, …; ``None`` takes a GPU where there is one.
        dtype: of matrix products; ``auto`` is bfloat16 where the processor multiplies it.
        engine: ``batched`` on CPU cores, ``transformers`` for GPUs and under ``accelerate launch``;
            ``auto`` goes by the device.
        stored: type of the weights on disk.
        save_every: also keep a checkpoint in ``checkpoints/step-N`` every so many steps.
        state_seconds: time between writes of the state.
        log_every: steps between entries of ``losses.jsonl`` and events; an entry is their mean.
        log: is told each entry, with the name of the run.
        progress: advances by a step of a run.

    Raises:
        ConfigError: settings do not fit each other, or a folder holds something else.
        DataError: a source cannot be read or is too short, or a file cannot be written.
        DependencyError: torch, transformers or accelerate is not installed.
    """
    device = device or ("cuda" if require("torch", "lab").cuda.is_available() else "cpu")
    name: Name = ("batched" if device == "cpu" else "transformers") if engine == "auto" else engine
    refuse_unfit(runs, name, device, threads, together)
    plan = Plan(
        sources={key: open_tokens(path) for key, path in sources.items()},
        hashes={key: source_hash(path) for key, path in sources.items()},
        shape=shape,
        optimiser=optimiser,
        steps=optimiser.steps_at(shape.context),
        device=device,
        dtype=best_dtype(device) if dtype == "auto" else dtype,
        engine=name,
        tokenizer=fitting_tokenizer(tokenizer, shape),
        stored=stored,
        save_every=save_every,
        state_seconds=state_seconds,
        log_every=log_every,
        log=log,
        progress=progress or Silent(),
    )
    size = together if name == "batched" else 1
    groups = [runs[at : at + size] for at in range(0, len(runs), size)]
    at_once = min(threads, len(groups)) if name == "batched" else 1
    with _threads(1 if name == "batched" else threads), ThreadPoolExecutor(at_once) as pool:
        try:
            found = list(pool.map(lambda group: _train(group, plan), groups))
        except BaseException:
            plan.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return [done for group in found for done in group]


def _train(runs: Sequence[PretrainRun], plan: Plan) -> list[Pretrained]:
    """Train a group, or take what is there."""
    fingerprint = plan.fingerprint(runs)
    done = [finished(run, plan, fingerprint) for run in runs]
    if all(done):
        plan.progress.advance(plan.steps * len(runs))
        return [one for one in done if one]
    built = _engine(runs, plan)
    work = [run.out.with_name(f".{run.out.name}.partial") for run in runs]
    losses = np.zeros((len(runs), plan.steps), np.float32)
    first = _resume(built, work[0], fingerprint, losses)
    plan.progress.advance(first * len(runs))
    order = [
        Sequences(
            run.mixture,
            plan.sources,
            plan.shape.context,
            plan.optimiser.batch,
            plan.steps,
            run.seed,
        )
        for run in runs
    ]
    with _events(work, first, built) as events:
        _loop(built, order, runs, plan, losses, first, work, events, fingerprint)
    return [
        finish(built, r, run, plan, order[r], losses[r], work[r], fingerprint)
        for r, run in enumerate(runs)
    ]


def _loop(
    built: Engine,
    order: Sequence[Sequences],
    runs: Sequence[PretrainRun],
    plan: Plan,
    losses: Any,
    first: int,
    work: Sequence[Path],
    events: Sequence[Events],
    fingerprint: str,
) -> None:
    saved = time.monotonic()
    for step in range(first, plan.steps):
        windows = np.stack([sequences[step] for sequences in order])
        lr = plan.optimiser.lr_at(step, plan.steps)
        losses[:, step] = built.step(windows, step, lr)
        plan.progress.advance(len(runs))
        taken = step + 1
        if not np.isfinite(losses[:, step]).all():
            _diverged(runs, losses[:, step], taken)
        if not built.writes:
            continue
        if taken % plan.log_every == 0:
            for r, run in enumerate(runs):
                entry = plan.entry(losses[r], taken)
                events[r].add(taken, {"loss": entry["loss"], "learning rate": entry["lr"]})
                if plan.log:
                    plan.log({"run": run.name, **entry})
        if plan.save_every and taken % plan.save_every == 0 and taken < plan.steps:
            for r, place in enumerate(work):
                kept = place / "checkpoints" / f"step-{taken}"
                write_checkpoint(plan.shape, built.llama(r), kept, plan.tokenizer, plan.stored)
        stopped = plan.stop.is_set()
        if stopped or time.monotonic() - saved > plan.state_seconds:
            save_state(work[0], fingerprint, taken, built.state(), losses)
            saved = time.monotonic()
        if stopped:
            raise CancelledError


def _diverged(runs: Sequence[PretrainRun], losses: Any, step: int) -> None:
    bad = next(run.name for run, loss in zip(runs, losses, strict=True) if not np.isfinite(loss))
    problem = f"the loss of run {bad!r} is no longer a number at step {step}"
    raise ConfigError(problem, where="pretraining", remedy="lower the learning rate.")


def _engine(runs: Sequence[PretrainRun], plan: Plan) -> Engine:
    if plan.engine == "batched":
        return BatchedEngine(plan.shape, [r.seed for r in runs], plan.optimiser, plan.dtype)
    return TransformersEngine(plan.shape, runs[0].seed, plan.optimiser, plan.dtype, plan.device)


def _resume(built: Engine, folder: Path, fingerprint: str, losses: Any) -> int:
    found = load_state(folder, fingerprint)
    if found is None:
        return 0
    step, state, known = found
    built.restore(state)
    losses[:, :step] = known
    return step


@contextmanager
def _events(work: Sequence[Path], first: int, built: Engine) -> Iterator[list[Events]]:
    """Open a file of events per run, in the process that writes."""
    if not built.writes:
        yield []
        return
    opened = []
    for place in work:
        if first == 0:
            shutil.rmtree(place, ignore_errors=True)
        opened.append(Events(place / "events", first))
    try:
        yield opened
    finally:
        for one in opened:
            one.close()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    torch = require("torch", "lab")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
