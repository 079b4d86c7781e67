"""The whole study: train what is missing, score it, analyse it, write one report."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from imprint.errors import ImprintError
from imprint.lab.chapters.chapter import Budget, Chapter, Material, lacking
from imprint.lab.checkpoint import given_checkpoints
from imprint.lab.config import CHAPTERS, StudyConfig
from imprint.lab.encoding import sft_rows
from imprint.lab.grid import Grid
from imprint.lab.ledger import Ledger, computed_by
from imprint.lab.memory import peak_bytes
from imprint.lab.result import StudyResult, assemble
from imprint.lab.unit import Unit
from imprint.progress import Bar, note, progress
from imprint.report import publish
from imprint.runs import Run

# expected seconds of each chapter in the default study, the longest first
SECONDS = {
    "data": 90.0,
    "claims": 90.0,
    "foresight": 60.0,
    "movement": 60.0,
    "knowledge": 50.0,
    "rankings": 5.0,
}
WORLD_FILES = {
    "facts": "facts.jsonl",
    "templates": "templates.json",
    "sft": "sft.jsonl",
    "domains": "domains.jsonl",
    "rl": "rl.jsonl",
}


@dataclass(frozen=True)
class Study:
    """A study that is set up; nothing is built yet.

    Attributes:
        config: its settings.
        grid: its units.
        out: its folder.
    """

    config: StudyConfig
    grid: Grid
    out: Path

    @property
    def workers(self) -> int:
        """Units worked on at a time."""
        return self.grid.ledger.workers


def study(config: StudyConfig | None = None, *, out: str | Path | None = None) -> StudyResult:
    """Run a study, or go on with one that was cut short.

    Args:
        config: the settings (``load_config``); by default those of the preset ``default``.
        out: its folder, by default ``imprint-runs/study``. Finished units lie in ``units`` below
            and are found again.

    Raises:
        ConfigError: settings that do not make sense.
        DataError: an input that cannot be used, or a folder that cannot be written.
        DependencyError: torch, transformers or trl is not installed.
    """
    from imprint.lab.config import load_config

    opened = open_study(config or load_config(), Path(out or Path("imprint-runs") / "study"))
    return perform(opened)


def open_study(config: StudyConfig, out: Path) -> Study:
    """Set a study up: check settings and rows, name its units; nothing is built."""
    config.check()
    for rows in (config.sft.data, *config.sft_sets.values()):
        if rows is not None:
            sft_rows(rows)  # a mistake in them is said before anything is pretrained
    workers = config.workers or min(os.cpu_count() or 1, 16)
    threads = config.threads
    # a numbered GPU is shared by all workers, and processes that share a run need every GPU
    apart = config.device in (None, "cuda") and config.processes == 1
    ledger = Ledger(
        out, workers=workers, executor=config.executor, threads=threads, gpus_apart=apart
    )
    return Study(config, Grid(config, ledger, given_checkpoints(config)), out)


def perform(opened: Study) -> StudyResult:
    """Build every unit, write the chapters, and put report and tables into the folder."""
    config, grid = opened.config, opened.grid
    _refuse_absent(opened)
    run = Run(opened.out, "study", config.settings(), _inputs(config), seed=config.seed)
    total = sum(work.weight for work in grid.works) + sum(SECONDS[n] for n in config.analyses)
    begun = time.perf_counter()
    grid.ledger.forget_use()
    with progress(total, "study", quiet=config.quiet) as bar:
        units = grid.ledger.run(grid.works, bar)
        note(f"study: {_took(units, begun)}", quiet=config.quiet)
        material = gather(opened)
        chapters = write_chapters(config.analyses, material, bar)
    written = [name for name in CHAPTERS if name in config.analyses]
    _tell_costs(run, units, dict(zip(written, chapters, strict=True)))
    result = assemble(opened, material, units, chapters, time.perf_counter() - begun)
    publish(run, result, {"models.csv": material.checkpoints_csv()})
    if config.prune:
        note(f"study: {len(grid.ledger.prune())} units removed", quiet=config.quiet)
    return result


def _refuse_absent(opened: Study) -> None:
    """Refuse a checkpoint or a device that is not here; a cluster may have the device."""
    from imprint.models.adapter import find

    for one in opened.grid.given:
        find(one.model)
    config = opened.config
    if config.device is not None and config.executor != "ray":
        from imprint.models.load import place

        place(config.device)


def _tell_costs(run: Run, units: Sequence[Unit], chapters: Mapping[str, Chapter]) -> None:
    """Put seconds and peak memory of each unit and chapter into the manifest."""
    run.timings |= {unit.name: unit.seconds for unit in units}
    run.timings |= {f"chapter {name}": one.seconds for name, one in chapters.items()}
    peaks = {unit.name: unit.peak_bytes for unit in units}
    peaks |= {f"chapter {name}": one.peak_bytes for name, one in chapters.items()}
    run.facts |= {"peak_memory_by_part": peaks, "computed_by": computed_by()}


def gather(opened: Study) -> Material:
    """Collect what the chapters read; parts that are not there stay empty."""
    config, grid = opened.config, opened.grid
    items, scores = (_joined(grid, name) for name in ("items", "scores"))
    world = grid.materials.world.path if grid.materials.world else None
    paths: dict[str, Any] = {
        name: _path(getattr(config, name, None)) or (world / file if world else None)
        for name, file in WORLD_FILES.items()
        if name not in ("sft", "rl")
    }
    for name in ("sft", "rl"):
        given = getattr(config, name).data
        paths[name] = Path(given) if given else world / WORLD_FILES[name] if world else None
    texts = _path(config.texts) or (world / "corpora" / "curated.jsonl" if world else None)
    sets = {name: Path(path) for name, path in config.sft_sets.items()}
    if world and not sets:
        sets = {path.stem: path for path in sorted((world / "sft_sets").glob("*.jsonl"))}
    return Material(
        ledger=grid.ledger,
        checkpoints=grid.models,
        items=items,
        scores=scores,
        benchmarks=tuple(grid.benchmarks),
        categories=_categories(grid, items),
        texts=texts,
        sft_sets=sets,
        corpora=_local(grid.materials.corpora) if config.trains else {},
        tokens={name: work.path for name, work in grid.materials.tokens.items()}
        if config.trains
        else {},
        tokenizer=grid.materials.tokenizer.path / "tokenizer" if config.trains else None,
        sae=config.sae,
        transfer=_transfer(grid),
        pretraining=grid.pretraining_settings(),
        budget=config.budget,
        preset=config.preset,
        seed=config.seed,
        device=config.device,
        quiet=config.quiet,
        **{name: path if path is None or path.exists() else None for name, path in paths.items()},
    )


def write_chapters(names: Sequence[str], material: Material, bar: Bar) -> list[Chapter]:
    """Write chapters, several at a time, the longest first; in their order in the report."""
    order = sorted(names, key=lambda name: -SECONDS[name])
    found: dict[str, Chapter] = {}
    several = material.ledger.workers > 1
    with material.ledger.pool() as pool:
        running: dict[Any, str] = {}
        while order or running:
            while order and len(running) < pool.workers:
                name = order.pop(0)
                bar.describe(name)
                own = replace(material, quiet=True) if several else material
                if name != "rankings":
                    own = replace(own, items=None)  # many, and no other chapter reads them
                running[pool.submit(partial(write_chapter, name, own))] = name
            for future in pool.wait(list(running)):
                name = running.pop(future)
                found[name] = pool.result(future)
                bar.advance(SECONDS[name])
    return [found[name] for name in CHAPTERS if name in found]


def write_chapter(name: str, material: Material) -> Chapter:
    """Write one chapter; what a user could mend is said in it and stops no other."""
    module = importlib.import_module(f"imprint.lab.chapters.{name}")
    try:
        chapter: Chapter = module.run(material)
    except ImprintError as failed:
        number = getattr(module, "NUMBER", CHAPTERS.index(name) + 1)
        return lacking(number, getattr(module, "TITLE", name), [str(failed)])
    chapter.peak_bytes = max(chapter.peak_bytes, peak_bytes())
    return chapter


def describe(opened: Study) -> str:
    """Say what a study would do: units, tokens, minutes, memory."""
    config, grid = opened.config, opened.grid
    kinds: dict[str, list[float]] = {}
    for work in grid.works:
        kinds.setdefault(work.name.split("-")[0], []).append(work.weight)
    lines = [f"study, preset {config.preset}: {len(grid.works)} units, {opened.workers} at a time"]
    timed = config.device in (None, "cpu")  # speeds are those of processors
    took = {k: f", about {sum(w) / 60:.1f} min" if timed else "" for k, w in kinds.items()}
    lines += [f"  {k}: {len(w)} units{took[k]}" for k, w in kinds.items()]
    for name, scale in config.scales.items() if config.trains else ():
        runs = len(config.mixtures_of(name)) * scale.seeds
        lines.append(
            f"  scale {name}: {grid.parameters[name]:,} parameters, {runs} runs of "
            f"{scale.tokens:,} tokens"
        )
    lines.append(f"{len(grid.checkpoints)} checkpoints; chapters: {', '.join(config.analyses)}")
    seconds = sum(work.weight for work in grid.works) + sum(SECONDS[n] for n in config.analyses)
    minutes = seconds / 60 / min(opened.workers, os.cpu_count() or 1)
    time_needed = f"about {minutes:.0f} minutes" if timed else f"minutes on {config.device} unknown"
    lines.append(f"{time_needed}, {opened.workers * _memory(grid) / 2**30:.1f} GiB of memory")
    return "\n".join([*lines, f"would write {opened.out}"])


def _memory(grid: Grid) -> float:
    """Estimate a worker's peak: libraries, then weights, gradients and moments in float32."""
    largest = max(grid.parameters.values(), default=0)
    return 1.1 * 2**30 + 24.0 * largest


def _took(units: Sequence[Unit], begun: float) -> str:
    return f"{len(units)} units are there after {(time.perf_counter() - begun) / 60:.1f} minutes"


def _inputs(config: StudyConfig) -> list[Path]:
    named = [config.facts, config.templates, config.texts, config.domains, config.models]
    named += [*config.benchmarks, *config.corpora.values(), config.sft.data, config.rl.data]
    return [Path(name) for name in named if name is not None and Path(name).is_file()]


def _local(corpora: Mapping[str, Path | str]) -> dict[str, Path]:
    """Take the corpora that chapters can read again: those on disk."""
    return {name: Path(source) for name, source in corpora.items() if Path(source).exists()}


def _path(given: str | None) -> Path | None:
    return None if given is None else Path(given)


def _joined(grid: Grid, name: str) -> pl.DataFrame | None:
    parts = [pl.read_parquet(work.path / f"{name}.parquet") for work in grid.evaluations]
    return pl.concat(parts, how="diagonal_relaxed") if parts else None


def _transfer(grid: Grid) -> Path | None:
    folder = grid.transfer.path / "transfer" if grid.transfer else None
    return folder if folder is not None and folder.is_dir() else None


def _categories(grid: Grid, items: pl.DataFrame | None) -> dict[str, str]:
    if grid.categories:
        return {name: kind for kind, names in grid.categories.items() for name in names}
    if items is None or "category" not in items.columns:
        return {}
    known = items.select("benchmark", "category").drop_nulls().unique(maintain_order=True)
    return dict(known.iter_rows())


__all__ = ["Budget", "Study", "describe", "open_study", "perform", "study"]
