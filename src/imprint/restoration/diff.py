"""What fine-tuning changed: base and tuned checkpoints compared as streams, beside their nulls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imprint.executors import Executor, Name, Threads
from imprint.executors import executor as crew
from imprint.progress import progress
from imprint.report import publish
from imprint.restoration.concentration import Counted, Counter
from imprint.restoration.config import DiffConfig
from imprint.restoration.counting import Counting
from imprint.restoration.diff_result import DiffResult, Study, assemble
from imprint.restoration.folders import refuse_within
from imprint.restoration.inputs import Inputs as Inputs
from imprint.restoration.inputs import open_inputs as open_inputs
from imprint.restoration.kept import Unit
from imprint.restoration.rounding import rounded_absolute
from imprint.restoration.sample import sample
from imprint.restoration.settings import configured
from imprint.restoration.spectrum import Row, matrices, spectrum_rows
from imprint.runs import Run
from imprint.stats.products import one_blas_thread


def diff(
    base: str | Path,
    tuned: str | Path | Sequence[str | Path],
    config: DiffConfig | None = None,
    *,
    out: str | Path | None = None,
    executor: Name = "threads",
    **settings: Any,
) -> DiffResult:
    """Compare tuned checkpoints with their base (arXiv 2509.16596, concentration).

    Args:
        base: ``PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]]``.
        tuned: one or several such names; the output folder of a Trainer stands for its
            ``checkpoint-N`` folders in the order of their steps, and for the weights in itself.
        config: region, ratios, eps and the like.
        out: run folder to write; without it nothing is written.
        executor: ``threads``, or ``ray`` for the workers of a Ray cluster.
        settings: fields of `DiffConfig`, as ``top=(0.01, 0.2)`` or ``region="mlp"``.

    Raises:
        CheckpointError: a checkpoint is damaged, or does not fit the base.
        ConfigError: a setting makes no sense, or ``out`` holds something else.
        DependencyError: Ray is asked for and not installed.
    """
    config = configured(DiffConfig, config, settings)
    given = [tuned] if isinstance(tuned, (str, Path)) else list(tuned)
    inputs = open_inputs(base, given, config)
    config = config.settled(inputs.elements)
    run = None if out is None else open_run(inputs, config, Path(out))
    with crew(executor, config.workers) as many:
        result = analyse(inputs, config, many, unit=run.unit if run else None)
    if run:
        publish(run, result)
    return result


def open_run(inputs: Inputs, config: DiffConfig, out: Path) -> Run:
    """Open the run folder whose fingerprint covers checkpoints, settings and versions."""
    refuse_within(out, (checkpoint.path for checkpoint in (inputs.base, *inputs.tuned)))
    settings = {
        **config.settings,
        "base": str(inputs.base.reference),
        "tuned": [str(checkpoint.reference) for checkpoint in inputs.tuned],
    }
    return Run(out, "diff", settings, inputs.files, seed=config.seed)


def describe(inputs: Inputs, config: DiffConfig, out: Path) -> str:
    """Say what a run would do."""
    lines = [
        f"{inputs.base.reference}: {inputs.base.parameters:,} parameters, "
        f"{inputs.elements:,} in the region {config.region!r}"
    ]
    for name, alignment in zip(inputs.names, inputs.alignments, strict=True):
        lines.append(f"compared with {name}: {len(alignment.pairs)} tensors")
        lines += [f"  {line}" for line in alignment.map_lines()]
        lines += [f"  {finding.check}: {finding.detail}" for finding in alignment.findings]
    ratios = ", ".join(f"{ratio:g}" for ratio in config.top)
    lines.append(f"ratios {ratios}; {config.permutations} permutations, seed {config.seed}")
    if config.spectrum:
        lines.append(_work(inputs))
    lines.append(f"would write {out}")
    return "\n".join(lines)


def analyse(
    inputs: Inputs,
    config: DiffConfig,
    executor: Executor | None = None,
    *,
    unit: Unit | None = None,
) -> DiffResult:
    """Count all changes, and decompose them where the spectrum is asked for.

    Args:
        inputs, config: what to count.
        executor: works on several groups of tensors at a time, by default as many threads as
            ``workers``.
        unit: keeps what is finished, as `imprint.runs.Run.unit`, for the same command after a kill.

    Raises:
        CheckpointError: a weight is NaN or infinite, or a file became shorter.
    """
    config = config.settled(inputs.elements)
    many = executor or Threads(config.workers)
    counter = Counter(inputs.base, inputs.tuned, config)
    weights = sum(s.elements * len(s.tuned) for group in inputs.groups for s in group.sites)
    # each of our threads takes a core; a library that starts more would only stand in the way
    with one_blas_thread(), progress(weights, "diff (weights)", quiet=config.quiet) as bar:
        total = Counting(counter, inputs.groups, many, unit, bar).count()
    rounded = tuple(_rounded(counter, inputs, total, n) for n in range(len(inputs.tuned)))
    spectrum = _spectrum(inputs, config, many, unit) if config.spectrum else None
    float8 = tuple(_has_float8(inputs, number) for number in range(len(inputs.tuned)))
    study = Study(
        inputs.names, inputs.steps, inputs.groups, total, config, rounded, float8, spectrum
    )
    findings = [finding for alignment in inputs.alignments for finding in alignment.findings]
    about = {
        "base": str(inputs.base.reference),
        "tuned_references": [str(checkpoint.reference) for checkpoint in inputs.tuned],
    }
    return assemble(study, list(dict.fromkeys(findings)), about)


def _rounded(counter: Counter, inputs: Inputs, total: Counted, number: int) -> list[float] | None:
    tally, config = total.tallies[number], counter.config
    rms = math.sqrt(tally.total("squares") / (tally.relative.elements or 1))
    return rounded_absolute(sample(counter, inputs.groups, number), config.top, rms, config.seed)


def _has_float8(inputs: Inputs, number: int) -> bool:
    spans = (s.tuned[number] for g in inputs.groups for s in g.sites if number in s.tuned)
    return any(inputs.tuned[number].info(span.name).dtype.startswith("F8") for span in spans)


def _spectrum(inputs: Inputs, config: DiffConfig, many: Executor, unit: Unit | None) -> list[Row]:
    count = len(matrices(inputs.tuned, inputs.groups))
    with progress(count, "spectrum (matrices)", quiet=config.quiet) as bar:
        return spectrum_rows(
            inputs.base, inputs.tuned, inputs.groups, config.seed, many, unit=unit, bar=bar
        )


def _work(inputs: Inputs) -> str:
    found = matrices(inputs.tuned, inputs.groups)
    if not found:
        return "spectrum: no matrix lies in the region"
    rows, columns = max((work.shape for work in found), key=math.prod)
    return (
        f"spectrum: {len(found):,} matrices, the largest {rows:,} × {columns:,}, each decomposed "
        "twice (the change and its shuffle)"
    )
