"""What SFT and RL have in common: quiet, lean trainers, and checkpoints that appear whole."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

from imprint.errors import CheckpointError, ConfigError, DependencyError, require
from imprint.runs import dump_json, file_hash, write_atomic

Dtype = Literal["auto", "fp32", "bf16"]
Schedule = Literal["cosine", "linear", "constant_with_warmup"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
METRICS = "metrics.json"  # written last: a folder that has it is whole
WORK = ".work"  # a training under way, with its own checkpoints
POINTS = 20  # of the loss curve


def check_settings(values: Mapping[str, Any]) -> None:
    """Refuse settings of training that make no sense.

    Raises:
        ConfigError: the first that is wrong, with its value.
    """
    for name in ("lr", "batch", "steps", "epochs", "prompts_per_step", "max_length", "save_every"):
        value = values.get(name)
        if value is not None and not value > 0:
            raise ConfigError(f"{name} is {value}", remedy="above 0.")
    for name in ("warmup", "noise"):
        if not 0 <= values[name] <= 1:
            raise ConfigError(f"{name} is {values[name]:g}", remedy="a share from 0 to 1.")
    if values["dtype"] not in DTYPES:
        raise ConfigError(f"dtype is {values['dtype']!r}", remedy=f"one of {', '.join(DTYPES)}.")


def common_arguments(values: Mapping[str, Any], work: Path, steps: int) -> dict[str, Any]:
    """Give the arguments of TRL's trainers that SFT and RL have in common."""
    _require_trackers(values["report_to"])
    on_cpu = values["device"] == "cpu" or not require("torch", "lab").cuda.is_available()
    half = values["dtype"] == "bf16" or (values["dtype"] == "auto" and fast_half(on_cpu))
    return {
        "output_dir": str(work),
        "max_steps": steps,
        "learning_rate": values["lr"],
        "lr_scheduler_type": values["schedule"],
        "warmup_steps": round(values["warmup"] * steps),
        "weight_decay": values["weight_decay"],
        "seed": values["seed"],
        "data_seed": values["seed"],
        "use_cpu": on_cpu,
        "bf16": half,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "report_to": list(values["report_to"]),
        "logging_steps": max(1, steps // POINTS),
        "logging_first_step": True,
        "save_strategy": "steps" if values["save_every"] else "no",
        "save_steps": values["save_every"] or 500,
        "save_total_limit": 1,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
    }


def _require_trackers(names: Sequence[str]) -> None:
    for name in names:
        if name in ("tensorboard", "wandb", "trackio") and find_spec(name) is None:
            raise DependencyError(
                f"report_to names {name}, which is not installed", remedy=f"pip install {name}"
            )


def fast_half(on_cpu: bool) -> bool:
    """Tell whether this machine computes in bfloat16 without emulating it."""
    torch = require("torch", "lab")
    if not on_cpu:
        return bool(torch.cuda.is_bf16_supported())
    kinds = getattr(torch.backends.cpu, "get_cpu_capability", lambda: "")()
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0]
    except OSError:
        return False
    return "AVX512" in kinds and ("avx512_bf16" in flags or "amx_bf16" in flags)


def open_model(base: str | Path, *, device: str | None = None) -> tuple[Any, Any]:
    """Load a model in float32 to be trained, and its tokenizer, which is sure to pad.

    Raises:
        CheckpointError: it cannot be loaded, or has no tokenizer.
    """
    from imprint.models import load

    loaded = load(base, dtype="fp32", device=device)
    tokenizer = loaded.tokenizer
    if tokenizer is None:
        raise CheckpointError("has no tokenizer", where=str(loaded.folder))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.bos_token
    if loaded.device.type == "cpu" and (loaded.context or 0) <= 256:
        loaded.model.set_attn_implementation("eager")  # faster than SDPA at such lengths
    return loaded.model, tokenizer


def data_identity(rows: Sequence[Mapping[str, Any]] | str | Path) -> str:
    """Tell one set of rows from another: the sha256 of its file or of the rows."""
    if isinstance(rows, str | Path):
        path = Path(rows)
        return file_hash(path) if path.is_file() else str(path)
    told = json.dumps([dict(row) for row in rows], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()


def finished(out: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give the metrics of a training that is there already.

    Raises:
        ConfigError: the folder holds another training, or something else.
    """
    path = out / METRICS
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text())
        if found.get("settings") == json.loads(dump_json(dict(settings))):
            return found
        problem = "the folder holds a training with other settings"
    elif not out.exists() or not [one for one in out.iterdir() if one.name != WORK]:
        return None
    else:
        problem = "the folder holds something else than a training of ours"
    raise ConfigError(problem, where=str(out), remedy="choose another folder, or remove it.")


def begun(out: Path, settings: Mapping[str, Any]) -> tuple[Path, str | None]:
    """Open the working folder of a training; give it and the checkpoint to go on from, if any.

    What another training left behind there is removed.
    """
    work, told = out / WORK, dump_json(dict(settings))
    note = work / "settings.json"
    if not note.is_file() or note.read_text() != told:
        shutil.rmtree(work, ignore_errors=True)
        write_atomic(note, told)
    points = [one for one in work.glob("checkpoint-*") if (one / "trainer_state.json").is_file()]
    newest = max(points, key=lambda one: int(one.name.rpartition("-")[2]), default=None)
    return work, None if newest is None else str(newest)


def finish(out: Path, model: Any, tokenizer: Any, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Write the checkpoint and then the metrics, and remove what was only needed on the way."""
    made = out / WORK / "model"
    shutil.rmtree(made, ignore_errors=True)
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    logs = out / WORK / "runs"
    if logs.is_dir():
        logs.replace(made / "runs")
    for one in sorted(made.iterdir()):
        _replace(one, out / one.name)
    told = dump_json(dict(metrics))
    write_atomic(out / METRICS, told)
    shutil.rmtree(out / WORK, ignore_errors=True)
    done: dict[str, Any] = json.loads(told)
    return done


def loss_curve(history: Sequence[Mapping[str, Any]], *names: str) -> list[dict[str, float]]:
    """Give step and loss, and other values of the names, of a trainer's log."""
    wanted = ("loss", *names)
    return [
        {"step": row["step"], **{name: float(row[name]) for name in wanted if name in row}}
        for row in history
        if "loss" in row
    ]


@contextmanager
def quiet() -> Iterator[float]:
    """Keep TRL and what it brings along from talking; give the time it began."""
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    transformers, datasets = require("transformers", "lab"), require("datasets", "lab")
    told = transformers.utils.logging
    level, bars = told.get_verbosity(), told.is_progress_bar_enabled()
    names = ("trl", "accelerate", "peft")
    levels = {name: logging.getLogger(name).level for name in names}
    shown = datasets.utils.logging.is_progress_bar_enabled()
    told.set_verbosity_error()
    told.disable_progress_bar()
    datasets.disable_progress_bars()
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # the libraries deprecate for one another: nothing that a user can mend
            warnings.simplefilter("ignore")
            yield time.perf_counter()
    finally:
        told.set_verbosity(level)
        if bars:
            told.enable_progress_bar()
        if shown:
            datasets.enable_progress_bars()
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)


def _replace(source: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)
