"""Pretraining by several processes that share each batch: a GPU each, or for tests a processor.

They are started as ``accelerate launch`` starts them, by ``torch.distributed.run``; accelerate then
finds its place among them. Each ends with the process that started it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imprint.errors import ImprintError
from imprint.lab.pool import end_with_parent
from imprint.runs import dump_json, write_atomic

MODULE = "imprint.lab.launching"  # also where it runs as the main one
JOB, LOG = "job.json", "launch.log"


def launch(
    settings: Mapping[str, Any], sources: Mapping[str, Path], tokenizer: Path, out: Path
) -> None:
    """Train one model by ``settings["processes"]`` processes; arguments as of the training.

    Raises:
        ImprintError: a process failed; what they said is in ``launch.log``.
    """
    paths = {name: str(path.absolute()) for name, path in sources.items()}
    told = {"settings": settings, "sources": paths, "tokenizer": str(tokenizer.absolute())}
    write_atomic(out / JOB, dump_json({**told, "out": str(out.absolute())}))
    command = [sys.executable, "-m", MODULE, str(settings["processes"]), str(out / JOB)]
    with (out / LOG).open("w") as log:
        code = subprocess.run(  # noqa: S603 (ourselves)
            command, stdout=log, stderr=subprocess.STDOUT, check=False
        ).returncode
    if code:
        said = [line for line in (out / LOG).read_text().splitlines() if "imprint.errors" in line]
        reason = said[0].split(": ", 1)[-1] if said else f"exit {code}"
        raise ImprintError(f"a launched training failed: {reason}", where=str(out / LOG))


def main(processes: str, job: str) -> None:
    """Start the processes, or be one of them."""
    end_with_parent()
    if "RANK" in os.environ:
        _train(json.loads(Path(job).read_text()))
        return
    from torch.distributed.run import main as run

    how = ["--standalone", "--nproc-per-node", processes]
    run([*how, "-m", MODULE, processes, job])


def _train(job: Mapping[str, Any]) -> None:
    from imprint.lab.steps import train_one

    sources = {name: Path(path) for name, path in job["sources"].items()}
    train_one(job["settings"], sources, Path(job["tokenizer"]), Path(job["out"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
