"""``imprint restore … --evaluate``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from imprint.cli.common import default_out, note_findings, show

if TYPE_CHECKING:
    from imprint.restoration.restore import RestoreConfig


def evaluate(
    base: str,
    tuned: str,
    evaluation: str,
    target: Path | None,
    config: RestoreConfig,
    *,
    tops: bool,
    axis: Literal["ratios", "regions", "layers"],
    layer_groups: int,
    device: str | None,
    dtype: Literal["bf16", "fp16", "fp32"] | None,
    out: Path | None,
    patch: bool,
    overwrite: bool,
    json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Sweep, print the verdict, and write what was chosen.

    Args:
        tops: shares were named; else those of the axis are taken.
    """
    from imprint.progress import note
    from imprint.restoration.config import RATIOS
    from imprint.restoration.sweep import SweepConfig
    from imprint.restoration.sweep.inputs import open_inputs
    from imprint.restoration.sweep.study import describe, open_run, perform, refuse_target

    if not tops and config.by != "spectral":
        config = replace(config, top=RATIOS if axis == "ratios" else (1.0,))
    asked = SweepConfig(config, axis, layer_groups, dtype, device)
    inputs = open_inputs(base, tuned, evaluation, asked)
    beside = target.absolute().with_name(f"{target.name}.run") if target else None
    folder = out or beside or default_out("restore")
    if target is not None:
        refuse_target(inputs, target, patch=patch, overwrite=overwrite)
    if dry_run:
        show(describe(inputs, target, folder))
        return
    run = open_run(inputs, folder)
    result = perform(inputs, run, target=target, patch=patch, overwrite=overwrite, quiet=quiet)
    note_findings(result.findings, quiet=quiet)
    show(result.json() if json else result.summary())
    if target is not None:
        done = f"written: {result.target}" if result.target else f"{target} was not written"
        note(done, quiet=quiet)
    note(f"report: {folder / 'report.html'}", quiet=quiet)
