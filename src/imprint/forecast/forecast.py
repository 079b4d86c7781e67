"""Which domains an SFT set will change, before any training."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from imprint.configuration import build
from imprint.errors import require
from imprint.forecast.config import ForecastConfig
from imprint.forecast.describe import missing
from imprint.forecast.inputs import Inputs, gather
from imprint.forecast.judged import Judged, score
from imprint.forecast.replay import mixture_file, plan
from imprint.forecast.result import ForecastResult, assemble
from imprint.forecast.sources import Sources
from imprint.forecast.work import Work
from imprint.progress import progress
from imprint.report import publish
from imprint.runs import Run

MIXTURE = "mixture.jsonl"
COMPUTING = ("torch", "transformers")
Paths = str | Path | Sequence[str | Path]


def forecast(
    model: str | Path,
    config: ForecastConfig | None = None,
    *,
    sft: Paths = (),
    domains: Paths = (),
    sae: str | Path | None = None,
    observed: Paths = (),
    history: Paths = (),
    others: Paths = (),
    tuned: str | Path | None = None,
    rollouts: str | Path | None = None,
    labels: str | Path | None = None,
    unrelated: str | Path | None = None,
    rename: dict[str, str] | None = None,
    out: str | Path | None = None,
    **settings: Any,
) -> ForecastResult:
    """Forecast which domains SFT will change, beside baselines and nulls.

    Args:
        model: ``PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]]``, the model before SFT.
        config: how; fields of it may also be given by name.
        sft: one or several files of SFT examples (:func:`texts.read_sft`).
        domains: files of domain texts (:func:`texts.read_domains`), or names of lm-eval tasks.
        sae: ``PATH_OR_REPO[@REVISION][:SUBPATH]``; without it every other predictor runs.
        observed: a table of ``domain``, ``change`` (and ``se``, ``sft``), or two ``scores`` tables,
            before and after.
        history: run folders of past forecasts with outcomes.
        others: tables of changes seen with another model or SFT set.
        tuned: the fine-tuned model, for ``shift="sft"``.
        rollouts: samples with rewards, for ``shift="rollout"``.
        labels: what latents are called, an export of Neuronpedia.
        unrelated: texts whose words stand in place of demonstrations under the null of
            ``shift="icl"``, cut to their length; by default the demonstrations' own tokens,
            shuffled.
        rename: our column name → the name in the files.
        out: run folder to write; without it nothing is kept.
        settings: fields of `ForecastConfig`, as ``draws=3``.

    Raises:
        CheckpointError: a checkpoint or SAE is damaged, or does not fit the model.
        ConfigError: a setting makes no sense, or ``out`` holds something else.
        DataError: texts or tables that cannot be used.
        DependencyError: torch or transformers is not installed.
    """
    checked = build(ForecastConfig, settings)
    given = {name: getattr(checked, name) for name in settings}
    config = replace(config, **given) if config else checked
    sources = Sources(
        sft=_paths(sft),
        domains=tuple(map(str, _paths(domains))),
        sae=None if sae is None else str(sae),
        observed=_paths(observed),
        history=_paths(history),
        others=_paths(others),
        tuned=None if tuned is None else str(tuned),
        rollouts=None if rollouts is None else Path(rollouts),
        labels=None if labels is None else Path(labels),
        unrelated=None if unrelated is None else Path(unrelated),
        rename=tuple((rename or {}).items()),
    )
    inputs = gather(model, sources, config)
    if out is not None:
        run = open_run(inputs, Path(out))
        result, files = perform(inputs, run)
        save(run, result, files)
        return result
    with tempfile.TemporaryDirectory() as folder:
        return perform(inputs, open_run(inputs, Path(folder) / "run"))[0]


def _paths(given: Paths) -> tuple[Path, ...]:
    return (Path(given),) if isinstance(given, (str, Path)) else tuple(map(Path, given))


def open_run(inputs: Inputs, out: Path) -> Run:
    """Open the run folder whose fingerprint covers models, texts, settings and versions."""
    sources = inputs.sources
    settings = {
        **inputs.config.settings,
        "model": str(inputs.base.reference),
        "sae": sources.sae,
        "sft": list(inputs.sets),
        "domains": inputs.domains,
        "texts": inputs.digest,
        "tuned": sources.tuned,
        "prompts": inputs.prompter.columns,
        "rename": sources.rename,
        "computed_by": {n: str(require(n, "models").__version__) for n in COMPUTING},
    }
    return Run(out, "forecast", settings, inputs.files, seed=inputs.config.seed)


def perform(inputs: Inputs, run: Run) -> tuple[ForecastResult, dict[str, str | bytes]]:
    """Run every predictor on every SFT set and put the result together.

    Each finished unit is kept in the run; the same command resumes there.

    Returns:
        The result, and further files for the run folder (the mixture, where one was asked for).
    """
    quiet = inputs.config.quiet
    with progress(None, "forecast", quiet=quiet) as bar:
        work = Work(inputs, run, bar)
        fit = work.fit()
        work.shifts()
        found = [work.found(number, sft) for number, sft in enumerate(inputs.sets)]
        judged = score(inputs, found)
        extra, files = _mixture(work, judged[0]) if inputs.config.budget else ({}, {})
    if fit is not None:
        extra["fit"] = fit
    return assemble(inputs, judged, extra, [*missing(inputs), *work.findings]), files


def save(run: Run, result: ForecastResult, files: dict[str, str | bytes]) -> None:
    """Write the run folder; the mixture of an earlier run in it goes."""
    publish(run, result, files)
    if MIXTURE not in files:
        (run.out / MIXTURE).unlink(missing_ok=True)


def _mixture(work: Work, judged: Judged) -> tuple[dict[str, pl.DataFrame], dict[str, str | bytes]]:
    """Plan what to add to the first SFT set, and write it ready for training."""
    frame, texts, findings = plan(work.inputs, judged)
    work.findings += findings
    said = work.replayed(texts)
    content = mixture_file(work.inputs, judged.found.sft, texts, said)
    return {"mixture": frame}, {MIXTURE: content}
