"""``imprint study``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from imprint.cli.common import default_out, show, tell

Flag = Annotated[bool, Parameter(negative="")]


def study(
    config: Path | None = None,
    /,
    *,
    preset: Literal["smoke", "default", "standard", "gpu"] | None = None,
    config_file: Annotated[Path | None, Parameter(name="--config")] = None,
    models: str | None = None,
    base: str | None = None,
    tuned: str | None = None,
    benchmarks: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)] = None,
    texts: str | None = None,
    facts: str | None = None,
    templates: str | None = None,
    sft: str | None = None,
    domains: str | None = None,
    sae: str | None = None,
    analyses: str | None = None,
    limit: int | None = None,
    steps_between: int | None = None,
    device: str | None = None,
    dtype: Literal["auto", "bf16", "fp32"] | None = None,
    workers: int | None = None,
    threads: int | None = None,
    executor: Literal["processes", "ray"] | None = None,
    report_to: str | None = None,
    prune: Flag = False,
    out: Path | None = None,
    seed: int | None = None,
    json: Flag = False,
    dry_run: Flag = False,
    quiet: Flag = False,
) -> None:
    """Answer every question end to end: train a family of small models, score, analyse, report.

    Without arguments everything lives in a built-in world: nine mixtures at two scales are
    pretrained, fine-tuned and reinforced, and chapters say whether rankings survive, what
    the models know, where they moved, what could have been known before, and what data to take
    next. A YAML puts other corpora and sizes in place of any part; checkpoints that exist are
    taken instead of trained ones.

    Examples:

      imprint study

      imprint study --preset smoke --out runs/smoke

      imprint study my-study.yaml --workers 4

      imprint study --base B --tuned T --texts texts.jsonl --facts facts.jsonl

    Parameters
    ----------
    config
        YAML with any settings of a study; what it does not name comes from its preset.
    preset
        smoke (a minute), default (under ten minutes on two cores), standard (over an hour), gpu.
    config_file
        The same YAML, named by a flag.
    models
        A models table (model, unit, stage, scale, …): what it names is not trained.
    base
        A base checkpoint: with --tuned in place of everything trained.
    tuned
        The same model after post-training.
    benchmarks
        Files of questions in place of the world's.
    texts
        Texts that drift is measured on.
    facts
        Facts, as imprint mastery reads them.
    templates
        Their templates.
    sft
        Rows of messages to fine-tune on.
    domains
        Rows of domain, prompt and answer.
    sae
        A sparse autoencoder of the base model.
    analyses
        Chapters to write, with commas: rankings, knowledge, movement, foresight, data, claims.
    limit
        Items of each benchmark.
    steps_between
        Proportions between two neighbours at the smallest scale: 3 makes 27 mixtures of nine.
    device
        Where models compute.
    dtype
        That pretraining multiplies in.
    workers
        Units at a time; default one per processor.
    threads
        Threads of each worker; default the processors shared out.
    executor
        processes of this machine, or ray.
    report_to
        Where trainings are logged beside TensorBoard: wandb, trackio.
    prune
        Remove finished units in the folder that this study, with these settings, does not use.
    out
        The study's folder; default imprint-runs/study. Finished units are found there again.
    seed
        Seed of everything; default 0.
    json
        Print result.json to stdout instead of the summary.
    dry_run
        Print units, tokens, minutes and memory; write nothing.
    quiet
        No progress and no notes on stderr.
    """
    from imprint.errors import ConfigError
    from imprint.lab.config import load_config
    from imprint.lab.study import describe, open_study, perform

    if config is not None and config_file is not None:
        raise ConfigError("two configurations are named", remedy="name one YAML.")
    given: dict[str, Any] = {
        "models": models,
        "base": base,
        "tuned": tuned,
        "benchmarks": benchmarks,
        "texts": texts,
        "facts": facts,
        "templates": templates,
        "domains": domains,
        "sae": sae,
        "analyses": analyses.split(",") if analyses else None,
        "limit": limit,
        "steps_between": steps_between,
        "device": device,
        "dtype": dtype,
        "workers": workers,
        "threads": threads,
        "executor": executor,
        "report_to": report_to,
        "prune": prune or None,
        "seed": seed,
        "quiet": quiet or None,
    }
    settings = load_config(config or config_file, preset, given, sft=sft)
    target = out or default_out("study")
    opened = open_study(settings, target)
    if dry_run:
        show(describe(opened))
        return
    result = perform(opened)
    tell(result, target, json=json, quiet=quiet)
