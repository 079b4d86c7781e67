"""What fine-tuning changed: base and tuned checkpoints compared as streams, beside their nulls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imprint.checkpoints import (
    Alignment,
    Checkpoint,
    align,
    open_checkpoint,
    trainer_checkpoints,
    weight_files,
)
from imprint.checkpoints.dtypes import Float32
from imprint.errors import ConfigError
from imprint.executors import Executor, Threads
from imprint.progress import Bar, progress
from imprint.restoration.concentration import Counted, Counter, Tally, Wanted, batches
from imprint.restoration.config import DiffConfig
from imprint.restoration.diff_result import DiffResult, Study, assemble
from imprint.restoration.selection import likely_windows, missing_windows, place_of
from imprint.restoration.sites import Group, groups
from imprint.runs import Run
from imprint.stats.products import one_blas_thread

SAMPLE = 1 << 20


@dataclass(frozen=True)
class Inputs:
    """Checkpoints that were opened and aligned.

    Attributes:
        base: the one before.
        tuned: those after.
        names: how each tuned checkpoint is called in tables; distinct.
        steps: the training step of each, where its folder says so.
        alignments: how each meets the base.
        groups: what lies in the region.
    """

    base: Checkpoint
    tuned: tuple[Checkpoint, ...]
    names: tuple[str, ...]
    steps: tuple[int | None, ...]
    alignments: tuple[Alignment, ...]
    groups: tuple[Group, ...]

    @property
    def files(self) -> list[Path]:
        """The files that are read: weights, configs and adapters."""
        checkpoints = (self.base, *self.tuned)
        return list(dict.fromkeys(path for c in checkpoints for path in weight_files(c)))


def diff(
    base: str | Path,
    tuned: str | Path | Sequence[str | Path],
    config: DiffConfig | None = None,
    *,
    out: str | Path | None = None,
) -> DiffResult:
    """Compare tuned checkpoints with their base (arXiv 2509.16596, concentration).

    Args:
        base: ``PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]]``.
        tuned: one or several such names; a folder that holds ``checkpoint-N`` folders stands for
            these, in the order of their steps.
        config: region, ratios, eps and the like.
        out: run folder to write; without it nothing is written.

    Raises:
        CheckpointError: a checkpoint is damaged, or does not fit the base.
        ConfigError: a setting makes no sense, or ``out`` holds something else.
    """
    config = config or DiffConfig()
    given = [tuned] if isinstance(tuned, (str, Path)) else list(tuned)
    inputs = open_inputs(base, given, config)
    if out is None:
        return analyse(inputs, config)
    run = open_run(inputs, config, Path(out))
    result = analyse(inputs, config)
    write(run, result)
    return result


def open_inputs(base: str | Path, tuned: Sequence[str | Path], config: DiffConfig) -> Inputs:
    """Open and align all checkpoints; headers and configs are read, no weights."""
    named = [pair for name in tuned for pair in _expand(str(name))]
    if not named:
        raise ConfigError("no tuned checkpoint is named")
    before = open_checkpoint(base)
    after = [open_checkpoint(name) for name, _ in named]
    alignments = [align(before, checkpoint, config.rename) for checkpoint in after]
    return Inputs(
        before,
        tuple(after),
        tuple(_short_names([name for name, _ in named])),
        tuple(step for _, step in named),
        tuple(alignments),
        tuple(groups(alignments, config.region)),
    )


def open_run(inputs: Inputs, config: DiffConfig, out: Path) -> Run:
    """Open the run folder whose fingerprint covers checkpoints, settings and versions."""
    settings = {
        **config.settings,
        "base": str(inputs.base.reference),
        "tuned": [str(checkpoint.reference) for checkpoint in inputs.tuned],
    }
    return Run(out, "diff", settings, inputs.files, seed=config.seed)


def write(run: Run, result: DiffResult) -> None:
    """Write result.json, tables, report and summary into the run folder, whole or not at all."""
    result.data["fingerprint"] = run.fingerprint
    wanted = ("fingerprint", "inputs", "versions", "settings", "seed", "command")
    result.notes["manifest"] = {k: v for k, v in run.manifest({}).items() if k in wanted}
    files = {
        "result.json": result.json(),
        "report.html": result.html(),
        "summary.md": result.summary(),
    }
    run.finish(tables=result.tables, files=files, notes={"headline": result.headline})


def describe(inputs: Inputs, config: DiffConfig, out: Path) -> str:
    """Say what a run would do."""
    counted = sum(site.elements for group in inputs.groups for site in group.sites)
    lines = [
        f"{inputs.base.reference}: {inputs.base.parameters:,} parameters, "
        f"{counted:,} in the region {config.region!r}"
    ]
    for name, alignment in zip(inputs.names, inputs.alignments, strict=True):
        lines.append(f"compared with {name}: {len(alignment.pairs)} tensors")
        lines += [f"  {line}" for line in alignment.map_lines()]
        lines += [f"  {finding.check}: {finding.detail}" for finding in alignment.findings]
    ratios = ", ".join(f"{ratio:g}" for ratio in config.ratios)
    lines.append(f"ratios {ratios}; {config.permutations} permutations, seed {config.seed}")
    lines.append(f"would write {out}")
    return "\n".join(lines)


def analyse(inputs: Inputs, config: DiffConfig, executor: Executor | None = None) -> DiffResult:
    """Count all changes, in one pass over the weights where the sample guessed well.

    Args:
        inputs, config: what to count.
        executor: counts several groups of tensors at a time, by default as many threads as
            ``workers``.

    Raises:
        CheckpointError: a weight is NaN or infinite, or a file became shorter.
    """
    counter = Counter(inputs.base, inputs.tuned, config)
    crew = executor or Threads(config.workers)
    wanted = [
        _likely(counter, inputs.groups, number, config) for number in range(len(inputs.tuned))
    ]
    elements = sum(site.elements for group in inputs.groups for site in group.sites)
    # each of our threads takes a core; a library that starts more would only stand in the way
    with one_blas_thread(), progress(elements, "diff", quiet=config.quiet) as bar:
        total = _count(counter, inputs.groups, wanted, config.permutations, crew, bar)
        while any(missing := [_missing(tally, config) for tally in total.tallies]):
            wanted = [more or Wanted() for more in missing]
            _refine(total, _count(counter, inputs.groups, wanted, 0, crew, bar))
    study = Study(inputs.names, inputs.steps, inputs.groups, total, config)
    findings = [finding for alignment in inputs.alignments for finding in alignment.findings]
    about = {
        "base": str(inputs.base.reference),
        "tuned_references": [str(checkpoint.reference) for checkpoint in inputs.tuned],
    }
    return assemble(study, list(dict.fromkeys(findings)), about)


def _count(
    counter: Counter,
    found: Sequence[Group],
    wanted: Sequence[Wanted],
    draws: int,
    executor: Executor,
    bar: Bar,
) -> Counted:
    total, together = counter.empty(wanted, draws), list(batches(found))
    counts = executor.map_in_order(
        lambda at: counter.count(together[at], wanted, draws), range(len(together))
    )
    for batch, counted in zip(together, counts, strict=True):
        total.merge(counted)
        bar.advance(sum(site.elements for group in batch for site in group.sites))
    return total


def _refine(total: Counted, more: Counted) -> None:
    for tally, extra in zip(total.tallies, more.tallies, strict=True):
        tally.relative.fine.refine(extra.relative.fine)
        tally.absolute.fine.refine(extra.absolute.fine)
        for mine, theirs in zip(tally.parts, extra.parts, strict=True):
            mine.profiles.update(theirs.profiles)


def _likely(counter: Counter, found: Sequence[Group], number: int, config: DiffConfig) -> Wanted:
    relative, absolute = _sample(counter, found, number)
    kept = likely_windows(relative, [config.enrichment_at])
    ratios = (config.enrichment_at, *config.ratios)
    return Wanted(
        likely_windows(relative, ratios), likely_windows(absolute, config.ratios), tuple(kept)
    )


def _sample(counter: Counter, found: Sequence[Group], number: int) -> tuple[Float32, Float32]:
    sites = [site for group in found for site in group.sites if number in site.tuned]
    elements = sum(site.elements for site in sites)
    drawn = [
        counter.sample(site, number, math.ceil(SAMPLE * site.elements / elements))
        for site in sites
        if site.elements
    ]
    if not drawn:
        return np.empty(0, np.float32), np.empty(0, np.float32)
    return np.concatenate([d[0] for d in drawn]), np.concatenate([d[1] for d in drawn])


def _missing(tally: Tally, config: DiffConfig) -> Wanted | None:
    elements = tally.relative.elements
    kept = missing_windows(tally.relative, [place_of(config.enrichment_at, elements)])
    places = [place_of(ratio, elements) for ratio in config.ratios]
    relative = {**kept, **missing_windows(tally.relative, places)}
    absolute = missing_windows(tally.absolute, places)
    return Wanted(relative, absolute, tuple(kept)) if relative or absolute else None


def _expand(name: str) -> list[tuple[str, int | None]]:
    steps = trainer_checkpoints(Path(name)) if Path(name).is_dir() else []
    if steps:
        return [(str(path), int(path.name.rpartition("-")[2])) for path in steps]
    number = Path(name).name.rpartition("checkpoint-")[2]
    return [(name, int(number) if number.isdecimal() and "checkpoint-" in name else None)]


def _short_names(names: Sequence[str]) -> list[str]:
    short = [Path(name).name or name for name in names]
    if len(set(short)) == len(short):
        return short
    if len(set(names)) < len(names):
        raise ConfigError("the same tuned checkpoint is named twice")
    return list(names)
