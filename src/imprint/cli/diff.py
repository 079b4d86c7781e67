"""``imprint diff``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from imprint.cli.common import default_out, renames, show, tell


def diff(
    base: str,
    *tuned: str,
    top: str | None = None,
    eps: float = 1e-8,
    region: str = "transformer",
    enrichment_at: float = 0.2,
    rename: Annotated[list[str] | None, Parameter(negative="")] = None,
    spectrum: Annotated[bool, Parameter(negative="")] = False,
    permutations: int | None = None,
    out: Path | None = None,
    seed: int = 0,
    executor: Literal["threads", "ray"] = "threads",
    workers: int | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """What did fine-tuning change in the weights, and is it more than chance would give?

    Compares one or more tuned checkpoints with their base, tensor by tensor: concentration of
    relative and absolute change beside its nulls, enrichment of modules and layers, unchanged
    weights, norms. Writes result.json, tables, report.html and summary.md into --out and prints
    the verdict.

    Examples:

      imprint diff base-model tuned-model

      imprint diff base-model trainer-output --region mlp --json

      imprint diff base-model tuned-model --region q --spectrum

      imprint diff org/base@main base-model+lora-adapter --top 0.01,0.1 --out runs/diff

    Parameters
    ----------
    base
        The checkpoint before, as PATH_OR_REPO[@REVISION][+ADAPTER[@REVISION]].
    tuned
        Checkpoints after; a folder of a Trainer stands for its checkpoint-N in order of steps, and
        then for the weights in itself.
    top
        Shares of the weights, with commas; default 0.01,0.03,0.05,0.1,0.2,0.4,0.6.
    eps
        Added to |base| in the relative change.
    region
        transformer, attention, mlp, embedding, all, a module (q, down, ...), layers 0-3, or a
        regular expression over tensor names.
    enrichment_at
        The share at which modules and layers are compared.
    rename
        REGEX=NEW, from tuned names to those of the base; may repeat.
    spectrum
        Also decompose the change of every matrix, beside a shuffle of it: how many directions it
        has. This takes far longer than all the rest; --dry-run says how many matrices there are.
    permutations
        Draws of the null in which changes are shuffled; default 5, or 2 for more than 134 million
        weights, where draws hardly differ.
    out
        Run folder; default imprint-runs/diff. A run that was cut short goes on from there.
    seed
        Seed of the permutations.
    executor
        Where the work is done: threads of this process, or the workers of a Ray cluster (that in
        RAY_ADDRESS, or one started here) that sees the same files. The numbers are the same.
    workers
        Groups of tensors counted at the same time; default one per processor.
    json
        Print result.json to stdout instead of the summary.
    dry_run
        Open and align everything, print the plan, write nothing.
    quiet
        No progress and no notes on stderr.
    """
    from imprint.errors import ConfigError
    from imprint.executors import executor as crew
    from imprint.report import publish
    from imprint.restoration.config import RATIOS, DiffConfig
    from imprint.restoration.diff import analyse, describe, open_inputs, open_run

    if not tuned:
        raise ConfigError("no tuned checkpoint is named", remedy="imprint diff BASE TUNED.")
    config = DiffConfig(
        top=_ratios(top) if top is not None else RATIOS,
        eps=eps,
        region=region,
        enrichment_at=enrichment_at,
        rename=renames(rename or ()),
        spectrum=spectrum,
        permutations=permutations,
        seed=seed,
        **({} if workers is None else {"workers": workers}),
        quiet=quiet,
    )
    inputs = open_inputs(base, tuned, config)
    config = config.settled(inputs.elements)
    target = out or default_out("diff")
    if dry_run:
        show(describe(inputs, config, target))
        return
    run = open_run(inputs, config, target)
    with crew(executor, config.workers) as many:
        result = analyse(inputs, config, many, unit=run.unit)
    publish(run, result)
    tell(result, target, json=json, quiet=quiet)


def _ratios(text: str) -> tuple[float, ...]:
    from imprint.errors import ConfigError

    try:
        return tuple(float(piece) for piece in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--top {text!r} is no list of ratios", remedy="write --top 0.01,0.2."
        ) from None
