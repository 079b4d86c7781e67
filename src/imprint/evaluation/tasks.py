"""Tasks of lm-eval, by name or by a YAML file of one's own.

lm-eval builds the requests, applies its filters and metrics; an engine of ours answers. What comes
out is written as lm-eval writes it and read by the reader that serves its users' own results.
"""

from __future__ import annotations

import logging
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from imprint.errors import ConfigError, ImprintError, nearest, require
from imprint.evaluation.config import EvaluateConfig
from imprint.evaluation.engine_lm import engine_lm
from imprint.formats.choices import confidences
from imprint.formats.evaluation import read_runs
from imprint.models import Engine, Prompter
from imprint.runs import Tables

OF_LM_EVAL = re.compile(r"^(task|group|include):", re.MULTILINE)
PLAIN = ("acc", "acc_raw")


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A task or group of lm-eval.

    Attributes:
        name: as lm-eval knows it.
        manager: lm-eval's index of tasks.
        samples: task → the documents that are scored; ``None`` for all.
        items: how many documents there are to score.
        files: what it depends on here.
    """

    name: str
    manager: Any
    samples: dict[str, list[int]] | None
    items: int
    files: tuple[Path, ...] = field(default=())

    def run(self, engine: Engine, prompter: Prompter, config: EvaluateConfig) -> Tables:
        """Evaluate it.

        Args:
            engine: what answers.
            prompter: chat template and system prompt.
            config: normalisation, number of examples, seed.

        Returns:
            ``items`` as ``score_items`` gives them (under the task's own metric where it has no
            options), ``values`` for scores on other scales, such as perplexity, and
            ``lm_eval_files``: results and samples as lm-eval writes them.

        Raises:
            ConfigError: lm-eval cannot run it, or the normalisation needs what it does not ask.
        """
        lm = engine_lm(engine, prompter)
        with tempfile.TemporaryDirectory(prefix="imprint-lm-eval-") as folder:
            self._evaluate(lm, prompter, config, Path(folder))
            (run,) = read_runs(Path(folder))
            files = _written(Path(folder), lm.name)
        items = pl.DataFrame() if run.items is None else run.items
        found: Tables = {"values": _values(run.scores), "lm_eval_files": files}
        if len(items):
            found["items"] = _items(items, lm.cuts, config, self.name)
        return found

    def _evaluate(self, lm: Any, prompter: Prompter, config: EvaluateConfig, target: Path) -> None:
        loggers = require("lm_eval.loggers", "lm-eval")
        evaluator = require("lm_eval.evaluator", "lm-eval")
        tracker = loggers.EvaluationTracker(output_path=str(target))
        with _told_apart(self.name), _silence(config.quiet):
            found = evaluator.simple_evaluate(
                model=lm,
                model_args={"pretrained": lm.name},
                tasks=[self.name],
                task_manager=self.manager,
                num_fewshot=config.num_fewshot,
                samples=self.samples,
                bootstrap_iters=0,
                evaluation_tracker=tracker,
                system_instruction=prompter.prompting.system_prompt,
                apply_chat_template=prompter.template is not None,
                random_seed=config.seed,
                numpy_random_seed=config.seed,
                torch_random_seed=config.seed,
                fewshot_random_seed=config.seed,
            )
            samples = found.pop("samples")
            found["config"]["model"] = "imprint"
            tracker.save_results_aggregated(results=found, samples=samples)
            for name in found["configs"]:
                if name in samples:
                    tracker.save_results_samples(task_name=name, samples=samples[name])


def is_task(name: str) -> bool:
    """Say whether a benchmark's name means a task of lm-eval: no file, or its kind of file."""
    path = Path(name)
    if not path.is_file():
        return not path.suffix and "/" not in name
    if path.suffix.lower() not in (".yaml", ".yml"):
        return False
    try:
        return bool(OF_LM_EVAL.search(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as failed:
        raise ConfigError(f"cannot be read: {failed}", where=name) from failed


def open_tasks(names: Sequence[str], config: EvaluateConfig) -> list[Task]:
    """Find tasks and their documents, so many as ``limit`` allows drawn by the seed.

    Raises:
        ConfigError: no such task, or its data cannot be had.
        DependencyError: lm-eval is not installed.
    """
    if names and config.normalisation == "token":
        raise ConfigError(
            "--normalisation token is not to be had for tasks of lm-eval, which does not keep "
            "the options' lengths in tokens",
            remedy="raw, character or byte.",
        )
    return [_open(name, config) for name in names]


def _open(name: str, config: EvaluateConfig) -> Task:
    tasks = require("lm_eval.tasks", "lm-eval")
    path = Path(name)
    with _told_apart(name), _silence(config.quiet):
        if path.is_file():
            folder = path.parent.resolve()
            manager = tasks.TaskManager(include_path=str(folder), include_defaults=False)
            name = _name_in(path)
        else:
            manager = tasks.TaskManager()
        if name not in manager.all_tasks:
            raise ConfigError(
                f"no file and no task of lm-eval is called {name!r}; "
                + nearest(name, manager.all_tasks)
            )
        loaded = manager.load([name])["tasks"]
        counts = {key: len(task.eval_docs) for key, task in loaded.items()}
    samples = None
    if config.limit is not None:
        samples = {key: _drawn(key, n, config) for key, n in counts.items()}
        counts = {key: len(chosen) for key, chosen in samples.items()}
    files = tuple(_files(path, loaded.values())) if path.is_file() else ()
    return Task(name, manager, samples, sum(counts.values()), files)


def _name_in(path: Path) -> str:
    found = re.search(r"^(?:task|group):\s*['\"]?([\w.\-]+)", path.read_text(), re.MULTILINE)
    if found is None:
        raise ConfigError("the file names no task", where=str(path), remedy="write `task: NAME`.")
    return found[1]


def _drawn(name: str, count: int, config: EvaluateConfig) -> list[int]:
    rng = np.random.default_rng([config.seed, *name.encode()])
    return sorted(int(at) for at in rng.permutation(count)[: config.limit])


def _files(path: Path, tasks: Any) -> Iterator[Path]:
    yield path
    for task in tasks:
        given = (task.config.dataset_kwargs or {}).get("data_files") or {}
        for entry in given.values() if isinstance(given, dict) else [given]:
            for file in entry if isinstance(entry, list) else [entry]:
                if Path(str(file)).is_file():
                    yield Path(str(file))


def _items(
    items: pl.DataFrame, cuts: dict[str, int], config: EvaluateConfig, task: str
) -> pl.DataFrame:
    """Bring options under the normalisation asked for; keep what has no options as recorded."""
    base = pl.col("metric").str.split(",").list.first()
    choices = pl.col("logprobs").is_not_null() & base.is_in(PLAIN)
    chosen = confidences(items.filter(choices), config.scores)
    if len(chosen) and chosen["confidence"].null_count() == len(chosen):
        raise ConfigError(
            f"--normalisation {config.normalisation} needs what the task {task!r} does not ask",
            remedy="raw, or for `unconditional` a task with the metric acc_mutual_info.",
        )
    chosen = chosen.with_columns(metric=pl.lit(config.metric))
    both = pl.concat([chosen, items.filter(~choices.fill_null(value=False))], how="diagonal")
    known = pl.col("prompt").replace_strict(cuts, default=0, return_dtype=pl.Int64)
    return both.with_columns(cut=known if cuts else pl.lit(0, dtype=pl.Int64))


def _values(scores: pl.DataFrame) -> pl.DataFrame:
    return scores.filter(pl.col("value").is_not_null()).drop("group", "group_of", "partial")


def _written(folder: Path, model: str) -> pl.DataFrame:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    rows = [(model, path.name, path.read_text(encoding="utf-8")) for path in files]
    names = ("model", "name", "content")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


@contextmanager
def _told_apart(task: str) -> Iterator[None]:
    """Say what lm-eval could not do; our own errors pass."""
    try:
        yield
    except (ImprintError, KeyboardInterrupt, SystemExit):
        raise
    except Exception as failed:
        reason = (str(failed).strip() or repr(failed)).splitlines()[0]
        raise ConfigError(
            f"lm-eval cannot run the task {task!r}: {type(failed).__name__}: {reason}",
            remedy="its data may need a network, or the path of a file in it may be wrong.",
        ) from failed


@contextmanager
def _silence(quiet: bool) -> Iterator[None]:
    log = logging.getLogger("lm_eval")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with redirect_stderr(StringIO() if quiet or not sys.stderr.isatty() else sys.stderr):
            yield
    finally:
        log.setLevel(level)
