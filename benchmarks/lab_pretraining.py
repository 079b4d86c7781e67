"""Pretraining several small models: our program against the plain Hugging Face loop.

Tokens per second summed over runs, everything included that a run does after the processes are up
(building the model, sampling, schedule, losses, checkpoint). The peer trains the runs one after the
other: ``LlamaForCausalLM`` with its defaults (SDPA, loss from labels), bfloat16, torch's AdamW with
its defaults, all cores; as bfloat16 weights and as autocast over float32 weights, of which the
faster counts. A tuned peer (autocast, eager attention, fused AdamW) stands beside them, and
ours with Muon, which takes longer for a step and fewer tokens to learn the same. All take
turns, and medians are told; seconds of core time too, which other work on the machine disturbs
less. With ``--keep-memory`` glibc keeps what is freed, for all.

    python benchmarks/lab_pretraining.py
    python benchmarks/lab_pretraining.py --shapes 1M --steps 20 --repeats 1   # a quick look
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import transformers

from imprint.lab.pretraining import Mixture, Optimiser, PretrainRun, Shape, pretrain
from imprint.lab.pretraining.batched import Precision
from imprint.lab.pretraining.optimiser import Method

SHAPES = {
    "0.25M": Shape(layers=3, width=64, heads=4, ffn=192),
    "1M": Shape(layers=4, width=128, heads=4, ffn=384),
    "4M": Shape(layers=6, width=224, heads=7, ffn=640),
}


class Asked(argparse.Namespace):
    """What the command line says."""

    shapes: list[str]
    runs: int
    peers: int
    steps: int
    repeats: int
    keep_memory: bool


BATCH, CORES = 8, os.cpu_count() or 1
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h


def ours(
    shape: Shape, tokens: Path, asked: Asked, dtype: Precision, method: Method, out: Path
) -> None:
    """Train the runs, as many at once as there are cores."""
    mixture = Mixture("all", {"text": 1.0})
    runs = [PretrainRun(f"{i}", mixture, i, out / f"{i}") for i in range(asked.runs)]
    optimiser = Optimiser(method=method, lr=1e-3, steps=asked.steps, batch=BATCH)
    pretrain(runs, {"text": tokens}, shape, optimiser, threads=CORES, dtype=dtype)


def peer(shape: Shape, tokens: Path, asked: Asked, kind: str, out: Path) -> None:
    """Train the runs one after the other in the plain loop."""
    corpus = torch.from_numpy(np.load(tokens).astype(np.int64))
    config = shape.llama_config()
    if kind == "tuned":
        config._attn_implementation = "eager"
    for run in range(asked.peers):
        torch.manual_seed(run)
        model: Any = transformers.LlamaForCausalLM(config)
        if kind == "weights":
            model.to(torch.bfloat16)
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=kind == "tuned" or None)
        model.train()
        for _ in range(asked.steps):
            starts = torch.randint(len(corpus) - shape.context, (BATCH,)).tolist()
            rows = torch.stack([corpus[at : at + shape.context] for at in starts])
            with torch.autocast("cpu", torch.bfloat16, enabled=kind != "weights"):
                loss = model(input_ids=rows, labels=rows).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
        model.save_pretrained(out / f"{run}")


def seconds(work: Callable[[Path], None]) -> tuple[float, float]:
    """Time work that writes into a folder of its own: on the clock, and of all cores."""
    with tempfile.TemporaryDirectory() as folder:
        begun, busy = time.perf_counter(), time.process_time()
        work(Path(folder))
        return time.perf_counter() - begun, time.process_time() - busy


def keep_memory() -> None:
    """Keep glibc from giving memory back between steps; nothing elsewhere."""
    if sys.platform == "linux":
        for name, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 1 << 30), (M_TOP_PAD, 1 << 28)):
            ctypes.CDLL(None).mallopt(name, value)


def measure(name: str, shape: Shape, asked: Asked, tokens: Path) -> None:
    """Let all take turns on one shape, and tell."""
    ways: dict[str, Callable[[Path], None]] = {
        "imprint, bf16": lambda out: ours(shape, tokens, asked, "bf16", "adamw", out),
        "imprint, fp32": lambda out: ours(shape, tokens, asked, "fp32", "adamw", out),
        "imprint, bf16, Muon": lambda out: ours(shape, tokens, asked, "bf16", "muon", out),
        "plain, bf16 weights": lambda out: peer(shape, tokens, asked, "weights", out),
        "plain, bf16 autocast": lambda out: peer(shape, tokens, asked, "autocast", out),
        "tuned: eager, fused AdamW": lambda out: peer(shape, tokens, asked, "tuned", out),
    }
    took: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for turn in range(asked.repeats + 1):
        for way, work in ways.items():
            found = seconds(work)
            if turn:  # the first turn warms pages and compiles loops
                took[way].append(found)
    each = asked.steps * BATCH * shape.context
    print(f"{name}: {shape.parameters:,} parameters, batches of {BATCH} × {shape.context} tokens")
    speeds = {}
    for way, times in took.items():
        tokens_each = each * (asked.runs if way.startswith("imprint") else asked.peers)
        speeds[way] = [tokens_each / statistics.median(kind) for kind in zip(*times, strict=True)]
        clock, core = speeds[way]
        print(f"  {way:26} {clock:9,.0f} tokens/s {core:9,.0f} per second of a core")
    plain = [speeds[way] for way in ways if way.startswith("plain")]
    clock, core = (speeds["imprint, bf16"][k] / max(one[k] for one in plain) for k in (0, 1))
    print(f"  ratio to the faster plain loop: {clock:.1f}, by core time {core:.1f}", flush=True)


def main() -> None:
    """Measure each shape asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--runs", type=int, default=9, help="of ours")
    parser.add_argument("--peers", type=int, default=2, help="runs that the peer is timed on")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep-memory", action="store_true")
    asked = parser.parse_args(namespace=Asked())
    if asked.keep_memory:
        keep_memory()
    print(f"{CORES} cores, torch {torch.__version__}, transformers {transformers.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder) / "tokens.npy"
        drawn = np.random.default_rng(0).zipf(1.3, 1_000_000) % 1024
        np.save(tokens, drawn.astype(np.uint16))
        for name in asked.shapes:
            measure(name, SHAPES[name], asked, tokens)


if __name__ == "__main__":
    main()
