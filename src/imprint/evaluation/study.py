"""The evaluation itself: every model on every benchmark and prompt, a block of items at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from imprint.errors import ConfigError, require
from imprint.evaluation.choices import choose_items, score_items
from imprint.evaluation.config import EvaluateConfig
from imprint.evaluation.engines import model_files, open_engine
from imprint.evaluation.result import EvaluateResult, assemble
from imprint.evaluation.rollouts import choose_prompts, roll_out
from imprint.evaluation.subjects import LABELS, Subject, subjects
from imprint.evaluation.tasks import Task, is_task, open_tasks
from imprint.evaluation.verification import verifier
from imprint.formats.questions import (
    Benchmark,
    Prompt,
    Question,
    benchmark_name,
    read_benchmark,
    read_prompts,
)
from imprint.models import Engine, Prompter, Prompting, prompter
from imprint.progress import Bar, progress
from imprint.report import publish
from imprint.runs import Run, Tables

BLOCK = 512  # items between two entries in the ledger
PROMPTS = 64  # prompts of rollouts between two entries
TYPES: dict[str, pl.DataType] = {
    **dict.fromkeys(("unit", "cluster", "scale", "stage", "replicate"), pl.String()),
    "parameters": pl.Float64(),
    "step": pl.Int64(),
}


@dataclass(frozen=True)
class Asked:
    """A benchmark with the items that are scored and the examples before them."""

    benchmark: Benchmark
    items: tuple[Question, ...]
    shots: tuple[Question, ...]

    @property
    def name(self) -> str:
        """Of the benchmark."""
        return self.benchmark.name


@dataclass(frozen=True)
class Inputs:
    """What an evaluation works on, read and checked; no model is loaded.

    Attributes:
        subjects: the models with their labels.
        config: the settings.
        benchmarks: files of questions.
        tasks: tasks of lm-eval.
        prompts: prompts of rollouts.
        prompt_shots: answered examples before them.
        files: everything read but the models.
    """

    subjects: list[Subject]
    config: EvaluateConfig
    benchmarks: list[Asked] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    prompt_shots: list[Prompt] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    @property
    def stages(self) -> set[str]:
        """All stages that are named."""
        return {subject.stage for subject in self.subjects if subject.stage}

    @property
    def prompts_name(self) -> str:
        """What the prompts are called as a benchmark."""
        return benchmark_name(Path(self.config.prompts or ""))

    @property
    def steps(self) -> int:
        """How many items and prompts are worked on, over all models."""
        items = sum(len(asked.items) for asked in self.benchmarks)
        tasks = sum(task.items for task in self.tasks)
        return len(self.subjects) * (items + tasks + len(self.prompts))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Everything that changes what the numbers mean."""
        packages = () if self.config.remote else ("torch", "transformers")
        return {
            **self.config.settings(),
            "models": [{"model": s.model, **s.labels} for s in self.subjects],
            "computed_by": {name: str(require(name, "models").__version__) for name in packages},
        }


def evaluate(
    models: Sequence[str],
    config: EvaluateConfig,
    *,
    models_table: str | Path | None = None,
    stages: Sequence[str] = (),
    out: str | Path | None = None,
) -> EvaluateResult:
    """Score multiple-choice benchmarks and verified rollouts of models.

    Args:
        models: ``PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]]``, or names on a server.
        config: benchmarks, prompts and how they are asked.
        models_table: labels (``unit``, ``stage``, …) of the models; without models all of its.
        stages: labels without a table.
        out: run folder; without it nothing is written, and a killed evaluation begins anew.

    Raises:
        ConfigError: a setting, benchmark or server that does not serve.
        DataError: questions, prompts or answers that cannot be used.
        CheckpointError: a model that cannot be loaded.
        DependencyError: torch, transformers or lm-eval is not installed.
    """
    table = None if models_table is None else Path(models_table)
    inputs = open_inputs(subjects(models, table, stages), config, table)
    return perform(inputs, None if out is None else open_run(inputs, Path(out)))


def open_inputs(found: list[Subject], config: EvaluateConfig, table: Path | None = None) -> Inputs:
    """Read questions, prompts and tasks; no model is loaded."""
    config.check()
    rename = dict(config.rename)
    ours = [Path(name) for name in config.benchmarks if not is_task(name)]
    benchmarks = []
    for path in ours:
        benchmark = read_benchmark(path, rename=rename, style=config.style)
        benchmarks.append(Asked(benchmark, *choose_items(benchmark, config)))
    tasks = open_tasks([name for name in config.benchmarks if is_task(name)], config)
    prompts: list[Prompt] = []
    shots: list[Prompt] = []
    if config.prompts is not None:
        verifier(config.verify)
        read_all = read_prompts(Path(config.prompts), rename=rename)
        prompts, shots = choose_prompts(read_all, config)
    _refuse_twice([*(b.name for b in benchmarks), *(t.name for t in tasks)])
    read = [*ours, *(asked.benchmark.path for asked in benchmarks)]
    read += [file for task in tasks for file in task.files]
    read += [Path(p) for p in (config.prompts, table) if p is not None]
    read += [Path(v) for v in _templates(config) if Path(v).is_file()]
    files = list(dict.fromkeys(read))
    return Inputs(found, config, benchmarks, tasks, prompts, shots, files)


def open_run(inputs: Inputs, out: Path) -> Run:
    """Open the run folder; its fingerprint covers models, questions, settings and versions."""
    weights = [p for s in inputs.subjects for p in model_files(s.model, inputs.config)]
    files = list(dict.fromkeys([*inputs.files, *weights]))
    return Run(out, "evaluate", inputs.settings, files, seed=inputs.config.seed)


def describe(inputs: Inputs, out: Path) -> str:
    """Say what an evaluation would do, and with how many requests."""
    config = inputs.config
    lines = [f"{len(inputs.subjects)} models with engine {config.engine}:"]
    lines += [f"  {subject.model} ({subject.name})" for subject in inputs.subjects]
    requests = 0
    for asked in inputs.benchmarks:
        options = sum(len(question.options) for question in asked.items)
        requests += options
        lines.append(
            f"{asked.name} ({asked.benchmark.layout}): {len(asked.items):,} items, {options:,} "
            f"options, {config.num_fewshot or 0} shots"
        )
    lines += [f"{task.name} (lm-eval): {task.items:,} items" for task in inputs.tasks]
    if inputs.prompts:
        total = len(inputs.prompts) * config.samples
        lines.append(
            f"{inputs.prompts_name}: {len(inputs.prompts):,} prompts × {config.samples} samples = "
            f"{total:,} generations of at most {config.max_new_tokens} tokens, --verify "
            f"{config.verify}"
        )
    weights = sum(
        path.stat().st_size
        for subject in inputs.subjects
        for path in model_files(subject.model, config)
    )
    largest = max(
        (sum(p.stat().st_size for p in model_files(s.model, config)) for s in inputs.subjects),
        default=0,
    )
    lines.append(f"{requests * len(inputs.subjects):,} options to score in all")
    if not config.remote:
        lines.append(
            f"{weights:,} bytes of weights to read; one model in memory at a time, the largest "
            f"{largest:,} bytes as stored, logits and caches apart"
        )
    return "\n".join([*lines, f"would write {out}"])


def perform(inputs: Inputs, run: Run | None) -> EvaluateResult:
    """Do the work, or take what is done from the ledger, and put the result together."""
    parts: dict[str, list[pl.DataFrame]] = {}
    engines, prompters = [], []
    with progress(inputs.steps, "evaluate", quiet=inputs.config.quiet) as bar:
        for number, subject in enumerate(inputs.subjects):
            work = _Work(inputs, subject, number, run, bar)
            for name, frame in work.tables():
                own = frame if name == "lm_eval_files" else _labelled(frame, subject)
                parts.setdefault(name, []).append(own)
            engines.append(work.identity)
            prompters.append(work.prompter)
    # a column of the models table may be empty for one model and hold texts for another
    tables = {name: pl.concat(found, how="diagonal_relaxed") for name, found in parts.items()}
    about = {"engines": engines, "settings": inputs.settings, "seed": inputs.config.seed}
    files = tables.pop("lm_eval_files", pl.DataFrame())
    found = assemble(tables, inputs.config, about)
    found = replace(found, prompters=prompters, lm_eval_files=files)
    if run is not None:
        publish(run, found)
    return found


@dataclass
class _Work:
    """One model; it is loaded when the first unit that is not in the ledger needs it."""

    inputs: Inputs
    subject: Subject
    number: int
    run: Run | None
    bar: Bar

    @cached_property
    def engine(self) -> Engine:
        self.bar.describe(f"load {self.subject.name}")
        return open_engine(self.subject.model, self.inputs.config)

    @cached_property
    def prompter(self) -> Prompter:
        """How the model is asked; kept, since a template comes with the model."""
        unit, compute = f"m{self.number:03d}-asked", self._prompter
        found = self.run.unit(unit, compute) if self.run else compute()
        told = json.loads(found["prompter"]["json"][0])
        return Prompter(**{**told, "prompting": Prompting(**told["prompting"])})

    def _prompter(self) -> Tables:
        prompting = self.inputs.config.prompting(self.subject.stage, self.inputs.stages)
        made = asdict(prompter(prompting, self.engine.tokenizer))
        return {"prompter": pl.DataFrame({"json": [json.dumps(made)]})}

    @property
    def identity(self) -> dict[str, Any]:
        """What answered; a run that was resumed whole has loaded nothing, and knows less."""
        loaded = "engine" in self.__dict__
        known = self.engine.identity.record() if loaded else {"engine": self.inputs.config.engine}
        return {**known, "model": self.subject.model, **self.subject.labels}

    def tables(self) -> Iterator[tuple[str, pl.DataFrame]]:
        for place, asked in enumerate(self.inputs.benchmarks):
            for block in range(0, len(asked.items), BLOCK):
                name = f"m{self.number:03d}-b{place:03d}-{block // BLOCK:04d}"
                items = asked.items[block : block + BLOCK]
                self.bar.describe(f"{self.subject.name}: {asked.name}")
                yield from self._unit(
                    name, len(items), lambda a=asked, i=items: self._choices(a, i)
                )
        for place, task in enumerate(self.inputs.tasks):
            self.bar.describe(f"{self.subject.name}: {task.name}")
            yield from self._unit(
                f"m{self.number:03d}-t{place:03d}", task.items, lambda t=task: self._task(t)
            )
        for block in range(0, len(self.inputs.prompts), PROMPTS):
            prompts = self.inputs.prompts[block : block + PROMPTS]
            self.bar.describe(f"{self.subject.name}: rollouts")
            number = block // PROMPTS
            yield from self._unit(
                f"m{self.number:03d}-r{number:04d}",
                len(prompts),
                lambda p=prompts, n=number: self._rollouts(p, n),
            )

    def _unit(self, name: str, steps: int, compute: Any) -> Iterator[tuple[str, pl.DataFrame]]:
        found: Tables = self.run.unit(name, compute) if self.run else compute()
        self.bar.advance(steps)
        yield from found.items()

    def _choices(self, asked: Asked, items: Sequence[Question]) -> Tables:
        frame = score_items(
            items,
            asked.shots,
            self.engine,
            self.prompter,
            self.inputs.config,
            delimiter=asked.benchmark.delimiter,
        )
        metric = pl.lit(self.inputs.config.metric)
        named = {"benchmark": pl.lit(asked.name), "metric": metric}
        return {"items": frame.with_columns(**named, **self._choice())}

    def _task(self, task: Task) -> Tables:
        found = task.run(self.engine, self.prompter, self.inputs.config)
        files = {"lm_eval_files": found.pop("lm_eval_files")}
        told = self._choice(task)
        return {**files, **{name: frame.with_columns(**told) for name, frame in found.items()}}

    def _rollouts(self, prompts: Sequence[Prompt], block: int) -> Tables:
        config = self.inputs.config
        frame = roll_out(
            prompts,
            self.engine,
            self.prompter,
            verifier(config.verify),
            config,
            seed=config.seed * 1_000_003 + block,
            shots=self.inputs.prompt_shots,
        )
        asked = {
            "benchmark": pl.lit(self.inputs.prompts_name),
            "verify": pl.lit(config.verify),
            "temperature": pl.lit(config.temperature),
            "max_new_tokens": pl.lit(config.max_new_tokens, dtype=pl.Int64),
        }
        return {"rollouts": frame.with_columns(**asked, **self._choice())}

    def _choice(self, task: Task | None = None) -> dict[str, pl.Expr]:
        """Give how the model was asked, for every row."""
        told = self.prompter.columns
        identity = self.engine.identity
        given = self.prompter.prompting.num_fewshot
        shots = {} if task else {"shots": pl.lit(given, dtype=pl.Int64)}
        template = self.prompter.template
        texts = {
            "template": None if template is None else sha256(template.encode()).hexdigest(),
            "chat_template": told["chat_template"],
            "system_prompt": told["system_prompt"],
            "engine": identity.engine,
            "dtype": identity.dtype,
        }
        columns = {name: pl.lit(value, dtype=pl.String) for name, value in texts.items()}
        return {**shots, **columns}


def _labelled(frame: pl.DataFrame, subject: Subject) -> pl.DataFrame:
    known = {name: subject.labels.get(name) for name in LABELS}
    extra = {name: value for name, value in subject.labels.items() if name not in LABELS}
    labels = {name: pl.lit(value, dtype=TYPES[name]) for name, value in known.items()}
    return frame.with_columns(**labels, **{name: pl.lit(value) for name, value in extra.items()})


def _templates(config: EvaluateConfig) -> list[str]:
    return [entry.partition("=")[2] or entry for entry in config.chat_template]


def _refuse_twice(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"two benchmarks are called {twice[0]!r}",
            remedy="give one of them another name by a YAML file with `name` and `path`.",
        )
