"""Divergences over a large vocabulary: ours beside the plain way, each in a process of its own.

The plain way takes both models' full log-softmax in float32 and sums. *Step*: bfloat16 logits of
both models are given; KL alone, and every measure that ours gives (KL both ways, JS, the observed
token's log-probability and rank, top-1 agreement). *Heads*: hidden states are given and the output
heads are part of the work; the plain way makes both models' logits first. Memory is what a way adds
beyond what it is given. The plain way runs with the stock allocator; a second figure has glibc's
kept from giving memory back, which helps it.

    python benchmarks/drift_kl.py                  # 4,096 positions, vocabulary 128,256
    python benchmarks/drift_kl.py --positions 256 --vocabulary 32000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

KEPT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
}
WIDTH = 512
Result = dict[str, Any]


def given(positions: int, vocabulary: int) -> dict[str, Any]:
    """Make hidden states, two heads and their logits in bfloat16, the same in every process."""
    import torch

    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Any:
        return torch.randn(*shape, generator=draw)

    hidden = normal(positions, WIDTH)
    head = normal(vocabulary, WIDTH) * (2 / WIDTH**0.5)
    moved = hidden + 0.2 * normal(positions, WIDTH)
    found: dict[str, Any] = {
        "hidden": (hidden.bfloat16(), moved.bfloat16()),
        "head": (head.bfloat16(), (head + 0.01 * normal(vocabulary, WIDTH)).bfloat16()),
        "targets": torch.randint(0, vocabulary, (positions,), generator=draw),
    }
    found["logits"] = tuple(
        torch.cat([h[n : n + 64] @ w.T for n in range(0, positions, 64)])
        for h, w in zip(found["hidden"], found["head"], strict=True)
    )
    return found


def plain_kl(base: Any, tuned: Any) -> Result:
    """KL alone, over whole arrays."""
    import torch

    p, q = (torch.log_softmax(x.float(), -1) for x in (base, tuned))
    return {"kl": (p.exp() * (p - q)).sum(-1)}


def plain_all(base: Any, tuned: Any, targets: Any) -> Result:
    """Every measure, over whole arrays."""
    import torch

    p, q = (torch.log_softmax(x.float(), -1) for x in (base, tuned))
    m = torch.logaddexp(p, q) - torch.tensor(2.0).log()
    at = targets[:, None]
    return {
        "kl": (p.exp() * (p - q)).sum(-1),
        "reverse_kl": (q.exp() * (q - p)).sum(-1),
        "js": ((p.exp() * (p - m)).sum(-1) + (q.exp() * (q - m)).sum(-1)) / 2,
        "base_logprob": p.gather(1, at)[:, 0],
        "tuned_logprob": q.gather(1, at)[:, 0],
        "base_rank": (p > p.gather(1, at)).sum(-1) + 1,
        "tuned_rank": (q > q.gather(1, at)).sum(-1) + 1,
        "top1_same": p.argmax(-1) == q.argmax(-1),
    }


def exact_kl(base: Any, tuned: Any) -> Any:
    """KL in float64, a few positions at a time."""
    import torch

    parts = []
    for n in range(0, len(base), 16):
        p, q = (x[n : n + 16].double().log_softmax(-1) for x in (base, tuned))
        parts.append((p.exp() * (p - q)).sum(-1))
    return torch.cat(parts)


def work(way: str, data: dict[str, Any]) -> Callable[[], Result]:
    """Give what is timed."""
    from imprint.models.divergence import divergences

    (base, tuned), targets = data["logits"], data["targets"]
    (one, other), (head, moved) = data["hidden"], data["head"]

    def ours_step() -> Result:
        return divergences(lambda a, b: base[a:b], lambda a, b: tuned[a:b], targets).columns()

    def ours_heads() -> Result:
        before, after = (lambda a, b: one[a:b] @ head.T), (lambda a, b: other[a:b] @ moved.T)
        return divergences(before, after, targets).columns()

    ways: dict[str, Callable[[], Result]] = {
        "ours-step": ours_step,
        "ours-heads": ours_heads,
        "plain-step-kl": lambda: plain_kl(base, tuned),
        "plain-step": lambda: plain_all(base, tuned, targets),
        "plain-heads-kl": lambda: plain_kl(one @ head.T, other @ moved.T),
        "plain-heads": lambda: plain_all(one @ head.T, other @ moved.T, targets),
    }
    return ways[way]


def resident() -> int:
    """Bytes in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


class Peak:
    """Watches how much memory is in use."""

    def __enter__(self) -> Peak:
        self.most, self._stop = resident(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self.most = max(self.most, resident())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.most = max(self.most, resident())


def measure(way: str, positions: int, vocabulary: int, repeats: int) -> dict[str, float]:
    """Time one way; the memory added is that of its first run."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    data = given(positions, vocabulary)
    if "heads" in way:
        exact = exact_kl(*data["logits"])
        data["logits"] = (None, None)
    else:
        exact = exact_kl(*data["logits"])
        data["hidden"], data["head"] = (None, None), (None, None)
    run, seconds, added = work(way, data), [], 0
    with torch.inference_mode():
        for _ in range(repeats):
            before = resident()
            with Peak() as peak:
                begun = time.perf_counter()
                found = run()
                seconds.append(time.perf_counter() - begun)
            added = added or peak.most - before
    gap = float((torch.as_tensor(found["kl"]).double() - exact).abs().max())
    return {"seconds": min(seconds), "added": added / 2**20, "gap": gap}


def apart(
    way: str, arguments: argparse.Namespace, *, kept: bool = False
) -> dict[str, float] | None:
    """Measure one way in a fresh process; ``None`` where memory ran out."""
    numbers = [str(arguments.positions), str(arguments.vocabulary), str(arguments.repeats)]
    stock = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, __file__, "--one", way, *numbers],
        capture_output=True,
        text=True,
        check=False,
        env={**stock, "OMP_WAIT_POLICY": "PASSIVE", **(KEPT if kept else {})},
    )
    if done.returncode == -signal.SIGKILL and not way.startswith("ours"):
        return None  # the plain way may want more memory than there is
    if done.returncode:
        raise RuntimeError(done.stderr)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def compare(part: str, arguments: argparse.Namespace) -> None:
    """Print ours beside the plain way, and the ratios."""
    ways = [(f"ours-{part}", False), (f"plain-{part}-kl", False), (f"plain-{part}", False)]
    ways += [(f"plain-{part}-kl", True), (f"plain-{part}", True)]
    found = {}
    for way, kept in ways:
        one = apart(way, arguments, kept=kept)
        name = f"{way}{' (allocator tuned)' if kept else ''}"
        if one is None:
            print(f"{name:36} ran out of memory")
            continue
        found[name] = one
        print(
            f"{name:36} {one['seconds']:7.2f} s {one['added']:9.1f} MiB added, "
            f"KL within {one['gap']:.1e} of float64"
        )
    ours = found[f"ours-{part}"]
    for name, one in found.items():
        if name != f"ours-{part}":
            faster, lighter = one["seconds"] / ours["seconds"], one["added"] / max(ours["added"], 1)
            print(
                f"  ours beside {name}: {faster:.1f} times as fast, 1/{lighter:.0f} of the memory"
            )
    assert ours["gap"] <= 1e-5, "KL is further than 1e-5 from float64"


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--positions", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=128_256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        way, *numbers = asked.one
        print(json.dumps(measure(way, *map(int, numbers))))
        return
    print(
        f"{asked.positions:,} positions, vocabulary {asked.vocabulary:,}, width {WIDTH}, bfloat16"
    )
    for part in ("step", "heads"):
        compare(part, asked)


if __name__ == "__main__":
    main()
