"""What pretraining runs share, checked before the first step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from imprint.errors import ConfigError, require
from imprint.lab.pretraining.batched import Precision
from imprint.lab.pretraining.engines import Name
from imprint.lab.pretraining.llama import Stored
from imprint.lab.pretraining.mixture import Mixture
from imprint.lab.pretraining.optimiser import Optimiser
from imprint.lab.pretraining.shape import Shape
from imprint.progress import Bar
from imprint.runs import dump_json, file_hash

Log = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class PretrainRun:
    """One model to train.

    Attributes:
        name: of the run.
        mixture: what it reads.
        seed: of its start and of the order in which it reads.
        out: folder of the checkpoint; it appears when the run is whole.
    """

    name: str
    mixture: Mixture
    seed: int
    out: Path


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A trained model on disk.

    Attributes:
        name: of the run.
        path: folder of the checkpoint.
        tokens: read in training, the same token as often as it was read.
        passes: source → how many times it was read.
        loss: mean over the last twentieth of the steps, in nats.
    """

    name: str
    path: Path
    tokens: int
    passes: Mapping[str, float]
    loss: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What all runs share."""

    sources: Mapping[str, Any]
    hashes: Mapping[str, str]
    shape: Shape
    optimiser: Optimiser
    steps: int
    device: str | None
    dtype: Precision
    engine: Name
    tokenizer: Any
    stored: Stored
    save_every: int | None
    state_seconds: float
    log_every: int
    log: Log | None
    progress: Bar
    stop: Event = field(default_factory=Event)

    def fingerprint(self, runs: Sequence[PretrainRun]) -> str:
        """Tell apart what would give other numbers."""
        used = {name for run in runs for name in run.mixture.shares}
        facts = {
            "runs": [(r.seed, sorted(r.mixture.shares.items())) for r in runs],
            "sources": {name: self.hashes[name] for name in sorted(used & self.hashes.keys())},
            "shape": asdict(self.shape),
            "optimiser": asdict(self.optimiser),
            "how": (self.dtype, self.engine, self.stored, self.save_every),
        }
        return hashlib.sha256(dump_json(facts, indent=None).encode()).hexdigest()

    def entry(self, losses: Any, taken: int) -> dict[str, Any]:
        """Sum up the steps since the last entry, losses [steps]."""
        recent = losses[max(0, taken - self.log_every) : taken]
        return {
            "step": taken,
            "tokens": taken * self.optimiser.batch * self.shape.context,
            "loss": round(float(recent.mean(dtype=np.float64)), 6),
            "lr": self.optimiser.lr_at(taken - 1, self.steps),
        }


def best_dtype(device: str) -> Precision:
    """Choose bfloat16 where it is multiplied by hardware, else float32."""
    torch = require("torch", "lab")
    if device != "cpu":
        return "bf16"
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"


def source_hash(path: Path) -> str:
    """Hash the tokens of a source."""
    return file_hash(path / "tokens.npy" if path.is_dir() else path)


def fitting_tokenizer(folder: Path | None, shape: Shape) -> Any:
    """Open the tokenizer that is written with each checkpoint.

    Raises:
        ConfigError: it has more tokens than the shape's embedding.
    """
    if folder is None:
        return None
    found = require("transformers", "lab").AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    if len(found) > shape.vocabulary:
        problem = f"the tokenizer has {len(found)} tokens, the shape {shape.vocabulary}"
        remedy = "use shape.with_vocabulary(len(tokenizer))."
        raise ConfigError(problem, where=str(folder), remedy=remedy)
    return found


def refuse_unfit(
    runs: Sequence[PretrainRun], engine: Name, device: str, threads: int, together: int
) -> None:
    """Refuse runs that the engine cannot train, by ConfigError."""
    problem = None
    if threads < 1 or together < 1:
        problem = f"threads is {threads} and together is {together}: both are 1 at least"
    elif engine == "batched" and device != "cpu":
        problem = f"the batched program runs on the CPU, not on {device!r}"
    elif len({run.out.absolute() for run in runs}) < len(runs):
        problem = "two runs share a folder"
    if problem:
        raise ConfigError(problem, where="pretraining")
