"""``imprint transfer``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from imprint.cli.common import default_out, mapping, show


def transfer(
    *results: Annotated[Path, Parameter(help="Tables or result folders of evaluation tools.")],
    design: Annotated[Path | None, Parameter(name=["--design", "--config"])] = None,
    models: Path | None = None,
    before: str | None = None,
    after: str | None = None,
    cluster: str | None = None,
    map_: Annotated[list[str] | None, Parameter(name="--map", negative="")] = None,
    out: Path | None = None,
    seed: int = 0,
    resamples: int = 10_000,
    permutations: int = 9_999,
    strict: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Which base-model scores survive post-training, and which benchmarks can be trusted?

    Reads scores of many models before and after fine-tuning: our `scores` or `items` tables (CSV,
    JSONL, Parquet), folders of lm-eval, olmes or lighteval, or any other table by a mapping in the
    design file. Writes result.json, tables, report.html and summary.md into --out and prints the
    verdict.

    Examples:

      imprint transfer scores.csv --before pretrained --after sft

      imprint transfer scores.parquet --design design.yaml --out runs/transfer --json

      imprint transfer results/ --models models.csv --before base --after chat

    Parameters
    ----------
    design
        YAML file: stages to compare, unit, cluster, factors, covariates, categories, mapping.
    models
        CSV or YAML that joins result folders to units and stages; without it, a draft is printed.
    before
        Stage on the left of the comparison (short for `compare:` in the design).
    after
        Stage on the right.
    cluster
        Column of units that are not independent; they are resampled together.
    map_
        Read a column under another name, as ours=theirs; may repeat.
    out
        Run folder; default imprint-runs/transfer.
    seed
        Seed of all resampling.
    resamples
        Bootstrap draws.
    permutations
        Monte-Carlo permutations, where enumerating all is too long.
    strict
        Treat findings of the audit as errors.
    json
        Print result.json to stdout instead of the summary.
    dry_run
        Read and check everything, print the plan, write nothing.
    quiet
        No progress and no notes on stderr.
    """
    from dataclasses import replace

    from imprint.errors import ConfigError
    from imprint.progress import note
    from imprint.report import publish
    from imprint.transfer.design import Compare, Design, load_design
    from imprint.transfer.reading import read_inputs
    from imprint.transfer.study import TransferConfig, analyse, describe, open_run, say

    if not results:
        raise ConfigError("no results given", remedy="name a table or a folder; see --help.")
    config = TransferConfig(resamples, permutations, seed, strict, quiet)
    plan = load_design(design) if design else Design()
    if (before is None) != (after is None):
        raise ConfigError("--before and --after belong together")
    if before is not None and after is not None:
        plan = replace(plan, compare=Compare(before=before, after=after))
    if cluster is not None:
        plan = replace(plan, cluster=cluster)
    inputs = read_inputs(list(results), plan, models, mapping(map_ or []), design_file=design)
    target = out or default_out("transfer")
    if dry_run:
        show(describe(inputs, plan, config, target))
        return
    run = open_run(inputs, plan, config, target)
    result = analyse(inputs, plan, config, run=run)
    publish(run, result)
    say(result, quiet=quiet)
    show(result.json() if json else result.summary())
    note(f"report: {target / 'report.html'}", quiet=quiet)
