"""Running an experiment of the theory, in a run folder or without."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from imprint.configuration import Settings, build
from imprint.errors import ConfigError, nearest
from imprint.progress import progress
from imprint.report import publish
from imprint.runs import Run
from imprint.stats import one_blas_thread
from imprint.theory.config import TheoryConfig, shown
from imprint.theory.experiments.catalogue import named
from imprint.theory.experiments.experiment import POINTS, Experiment, Unit, gather
from imprint.theory.result import TheoryResult, assemble

OWN = 180 * 2**20  # bytes of the program and its libraries
ALWAYS = ("seed", "quiet", "paper_size")


@dataclass(frozen=True, slots=True)
class Study:
    """One experiment with its settings."""

    name: str
    experiment: Experiment
    config: TheoryConfig


def theory(name: str, out: str | Path | None = None, **settings: Any) -> TheoryResult:
    """Run a named experiment of the weight-prediction theory (arXiv 2603.01293).

    Args:
        name: ``double-descent``, ``context-length``, ``interference``, ``asymptotics``,
            ``curvature``, ``balance``, ``training``, ``errata`` or ``gpt2``.
        out: run folder to write; without it nothing is kept.
        settings: fields of `TheoryConfig` that the experiment reads, as ``seeds=3``.

    Raises:
        ConfigError: an unknown experiment, a setting that it does not read or that makes no sense,
            or ``out`` holds something else.
        DependencyError: gpt2 without torch and transformers.
    """
    study = prepare(name, settings)
    if out is not None:
        run = open_run(study, Path(out))
        result = perform(study, run)
        publish(run, result)
        return result
    with tempfile.TemporaryDirectory() as folder:
        return perform(study, open_run(study, Path(folder) / "run"))


def prepare(name: str, settings: Mapping[str, Any]) -> Study:
    """Settle an experiment's settings: what the user said over the paper's sizes over defaults.

    Raises:
        ConfigError: as `theory`.
    """
    experiment = named(name)
    for key in settings:
        _readable(name, experiment, key, settings)
    given = Settings({**experiment.defaults, **_paper(experiment, settings), **settings})
    if isinstance(settings, Settings):
        given.source, given.lines = settings.source, settings.lines
    return Study(name, experiment, build(TheoryConfig, given))


def _readable(name: str, experiment: Experiment, key: str, settings: Mapping[str, Any]) -> None:
    readable = (*experiment.defaults, *ALWAYS)
    if key in readable:
        return
    known = key in TheoryConfig.__dataclass_fields__
    guess = "" if known else f"; {nearest(key, readable)}"
    raise ConfigError(
        f"{name} does not read {key!r}{guess}",
        where=settings.place((key,)) if isinstance(settings, Settings) and settings.lines else None,
        remedy=f"it reads {', '.join(experiment.defaults)}.",
    )


def _paper(experiment: Experiment, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    return experiment.paper if settings.get("paper_size") else {}


def open_run(study: Study, out: Path) -> Run:
    """Open the run folder; its fingerprint covers experiment, settings and versions."""
    settings = {"experiment": study.name, **study.config.settings}
    return Run(out, "theory", settings, seed=study.config.seed)


def describe(study: Study, out: Path) -> str:
    """Say what a run would do."""
    units = study.experiment.units(study.config, out)
    read = {name: getattr(study.config, name) for name in study.experiment.defaults}
    settings = ", ".join(f"{name} {shown(value)}" for name, value in read.items())
    most = max((unit.memory for unit in units), default=0.0)
    return "\n".join(
        [
            f"{study.name}: {study.experiment.question}",
            settings,
            f"{len(units):,} units of work, {study.config.seeds} seeds each",
            f"about {(OWN + most) / 2**20:,.0f} MiB of memory at its peak",
            f"would write {out}",
        ]
    )


def perform(study: Study, run: Run) -> TheoryResult:
    """Do the units of work that the ledger lacks, and draw conclusions from all of them."""
    config, experiment = study.config, study.experiment
    lines = list(experiment.lines(config))  # first, since a mistake shows here
    units = experiment.units(config, run.out)
    total, frames = sum(unit.cost for unit in units), []
    # a second library thread gains nothing on such matrices where cores are shared
    with one_blas_thread(), progress(total, study.name, quiet=config.quiet) as bar:
        for unit in units:
            frames.append(run.unit(unit.name, lambda unit=unit: _points([unit]))["points"])  # type: ignore[misc]
            bar.advance(unit.cost)
    points = pl.concat(frames) if frames else _points([])["points"]
    curves = gather(points, lines)
    return assemble(study.name, experiment, config, curves, experiment.conclude(config, curves))


def _points(units: Sequence[Unit]) -> dict[str, pl.DataFrame]:
    rows = [tuple(point) for unit in units for point in unit.work()]
    return {"points": pl.DataFrame(rows, schema=POINTS, orient="row")}
