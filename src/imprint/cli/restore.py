"""``imprint restore``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from imprint.cli.common import renames, show
from imprint.errors import ConfigError

if TYPE_CHECKING:
    from imprint.checkpoints import Checkpoint
    from imprint.restoration.restore import RestoreConfig


def restore(
    base: str,
    tuned: str,
    target: Path | None = None,
    /,
    *,
    by: Literal[
        "relative", "absolute", "random", "fapm", "interpolate", "dare", "spectral"
    ] = "relative",
    top: str | None = None,
    strength: str | None = None,
    order: Literal["top", "bottom"] = "top",
    scope: Literal["global", "layer", "module", "tensor"] | None = None,
    region: str = "transformer",
    seed: int | None = None,
    eps: float = 1e-8,
    rename: Annotated[list[str] | None, Parameter(negative="")] = None,
    compat: Literal["paramrestore"] | None = None,
    dtype: Literal["bf16", "fp16", "fp32"] | None = None,
    evaluate: str | None = None,
    axis: Literal["ratios", "regions", "layers"] | None = None,
    layer_groups: int | None = None,
    device: str | None = None,
    patch: Annotated[bool, Parameter(negative="")] = False,
    out: Path | None = None,
    executor: Literal["threads", "ray"] = "threads",
    workers: int | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Put a share of what fine-tuning changed back to the base model's weights.

    Reads BASE and TUNED (folders or repositories, `TUNED+ADAPTER` for a LoRA) as streams and writes
    the repaired checkpoint to TARGET, or one per share to TARGET/top-0.05 and so on. A killed run
    leaves nothing there; the same command goes on where it stopped.

    Examples:

      imprint restore base tuned repaired --top 0.2

      imprint restore base tuned sweep --top 0.01,0.05,0.2 --by absolute --scope layer

      imprint restore base tuned repair.safetensors --top 0.05 --patch

      imprint restore base tuned repaired --evaluate evaluation.yaml

    Parameters
    ----------
    base
        The checkpoint before fine-tuning.
    tuned
        The checkpoint after it; its layout and types are kept.
    target
        Folder to write, or the patch's file with --patch. May be left out with --evaluate.
    by
        What goes back first: relative or absolute change, chance, what FAPM would not keep.
        interpolate shrinks all changes to the norm that the top share by relative change leaves;
        dare drops changes at random and rescales the others; spectral keeps the singular values
        of each matrix' change that stand above noise.
    top
        Share put back, 0 to 1; several separated by commas; default 0.2.
    strength
        For spectral, instead of --top: multiple of the threshold; several separated by commas;
        default 1.
    order
        Put back the highest scores, or the lowest.
    scope
        What competes: all weights of the region, or those of a layer, module type or tensor.
        Default global; tensor for fapm.
    region
        transformer, attention, mlp, embedding, all, a module type (q, down, ...), layers 0-3, or a
        regular expression over tensor names.
    seed
        Seed of random and dare; default 0, with --compat 32.
    eps
        Added to the base weight's size in the relative change.
    rename
        Tuned name to base name, as REGEX=NEW; may repeat.
    compat
        Select as the published code of the method does (Llama names only).
    dtype
        The dtype whose arithmetic --compat follows, default bf16; with --evaluate the one that the
        model runs in, default that of its weights.
    evaluate
        Sweep shares in memory, choose one by evaluation and write it to TARGET if it is better on
        dev: a YAML file with dev, test and retain texts, or package.module:function.
    axis
        With --evaluate: sweep shares, module types, or groups of layers; default ratios.
    layer_groups
        With --axis layers: the number of groups; default 4.
    device
        With --evaluate: where the model runs; default a GPU where there is one.
    patch
        Write a sparse patch for `imprint apply` instead of a checkpoint.
    out
        Run folder; default TARGET.run, beside the target; without one imprint-runs/restore.
    executor
        Where the work is done: threads of this process, or the workers of a Ray cluster (that in
        RAY_ADDRESS, or one started here) that sees the same files. The bytes written are the same.
    workers
        Tensors worked on at the same time; default one per processor.
    overwrite
        Replace what the target holds.
    json
        Print result.json to stdout instead of the summary.
    dry_run
        Check everything but the weights themselves, print the plan, write nothing.
    quiet
        No progress and no notes on stderr.
    """
    from imprint.checkpoints import open_checkpoint
    from imprint.executors import executor as crew
    from imprint.progress import note, progress
    from imprint.restoration.outcome import finish, open_run, summary
    from imprint.restoration.restore import RestoreConfig, plan, refuse_targets, survey, write

    config = RestoreConfig(
        by=by,
        top=() if top is None else numbers("--top", top),
        strength=() if strength is None else numbers("--strength", strength),
        order=order,
        scope=scope,
        region=region,
        seed=(32 if compat else 0) if seed is None else seed,
        eps=eps,
        rename=renames(rename or []),
        compat=compat,
        dtype=dtype or "bf16",
        **({} if workers is None else {"workers": workers}),
    )
    if evaluate is not None:
        from imprint.cli import restore_sweep

        restore_sweep.evaluate(
            base,
            tuned,
            evaluate,
            target,
            config,
            tops=top is not None,
            axis=axis or "ratios",
            layer_groups=4 if layer_groups is None else layer_groups,
            device=device,
            dtype=dtype,
            out=out,
            patch=patch,
            overwrite=overwrite,
            json=json,
            dry_run=dry_run,
            quiet=quiet,
        )
        return
    target = _without_evaluation(target, axis, layer_groups, device)
    before, after = open_checkpoint(base), open_checkpoint(tuned, merge_in="stored")
    folder = out or target.absolute().with_name(f"{target.name}.run")
    refuse_targets(before, after, config, target, patch=patch, overwrite=overwrite, run=folder)
    if dry_run:
        show(_described(before, after, target, config, patch=patch))
        return
    survey(before, after, config)
    run = open_run(before, after, config, folder)
    command = shlex.join(["imprint", *sys.argv[1:]])
    total = 0 if patch else len(config.levels) * sum(i.bytes for i in after.stored.values())
    with crew(executor, config.workers) as many:
        with progress(None, "analysis (weights)", quiet=quiet) as bar:
            made = plan(before, after, config, executor=many, unit=run.unit, bar=bar)
        with progress(total or None, "restore", quiet=quiet) as bar:
            written = write(
                made,
                target,
                command=command,
                patch=patch,
                overwrite=overwrite,
                executor=many,
                bar=bar,
            )
        found = finish(made, run, written, many)
    from imprint.runs import dump_json

    show(dump_json(found) if json else summary(made, found))
    note(f"report: {run.out / 'report.html'}", quiet=quiet)


def _without_evaluation(target: Path | None, *only_with: object) -> Path:
    if any(given is not None for given in only_with):
        raise ConfigError("--axis, --layer-groups and --device are read only with --evaluate")
    if target is None:
        raise ConfigError(
            "no target is named",
            remedy="write imprint restore BASE TUNED TARGET, or add --evaluate CONFIG.",
        )
    return target


def numbers(flag: str, text: str) -> tuple[float, ...]:
    """Read ``--top 0.01,0.05`` and its like.

    Raises:
        ConfigError: something that is no number.
    """
    try:
        return tuple(float(piece) for piece in text.split(","))
    except ValueError:
        raise ConfigError(
            f"{flag} {text!r} is no list of numbers", remedy=f"write {flag} 0.2 or {flag} 0.05,1."
        ) from None


def _described(
    before: Checkpoint, after: Checkpoint, target: Path, config: RestoreConfig, *, patch: bool
) -> str:
    from imprint.restoration.restore import survey, targets
    from imprint.restoration.selection import place_of

    alignment, parts = survey(before, after, config)
    total = sum(part.pair.elements for part in parts)
    paths = targets(config, target, patch=patch)
    lines = [
        f"{total:,} of {after.parameters:,} weights lie in the region {config.region}, "
        f"in {len(parts)} tensors.",
        *alignment.map_lines(),
        *(f"{finding.level}: {finding.detail}" for finding in alignment.findings),
        *(
            f"{config.axis} {level:g}"
            + (f" ({place_of(level, total):,} weights)" if config.axis == "top" else "")
            + f" would be written to {path}"
            for level, path in zip(config.levels, paths, strict=True)
        ),
    ]
    return "\n".join(lines)
