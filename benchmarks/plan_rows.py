"""Planning a million rows: prompts of at most 300 characters, eight verified rollouts each.

The whole command in a process of its own: reading JSON lines, estimating, choosing with a share per
domain and without near-duplicates, controls, every adapter, report. The aim is about a minute and
2 GiB on two cores. Writing the same pool with nothing chosen (``json`` line by line) is timed
beside it, as a floor for what any tool in plain Python needs.

    python benchmarks/plan_rows.py                 # a million rows
    python benchmarks/plan_rows.py --rows 20000    # a quick look
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROLLOUTS, DOMAINS, LONGEST = 8, 40, 300
WORDS = ("find", "the", "number", "of", "ways", "such", "that", "each", "sum", "is", "prime", "and",
         "less", "than", "given", "triangle", "angle", "side", "integer", "root", "train", "leaves",
         "station", "after", "hours", "price", "rises", "percent", "what", "remains")  # fmt: skip


def generate(path: Path, rows: int) -> None:
    """Write rows whose pass rates vary within and between domains."""
    rng, words = np.random.default_rng(0), random.Random(0)  # noqa: S311 (no secrets)
    means = rng.beta(0.7, 1.3, DOMAINS)
    with path.open("w") as handle:
        for start in range(0, rows, 10_000):
            count = min(10_000, rows - start)
            domain = rng.integers(0, DOMAINS, count)
            rate = rng.beta(0.2 + 2 * means[domain], 2.2 - 2 * means[domain])
            passed = rng.random((count, ROLLOUTS)) < rate[:, None]
            for i in range(count):
                said = " ".join(words.choices(WORDS, k=words.randint(12, 40)))
                row = {
                    "id": f"row-{start + i}",
                    "domain": f"domain {domain[i]}",
                    "prompt": f"{said} {words.randint(0, 10**6)}?"[:LONGEST],
                    "answer": str(words.randint(0, 999)),
                    "correct": passed[i].tolist(),
                }
                handle.write(json.dumps(row) + "\n")


def ours(path: Path, out: Path) -> tuple[float, float, float]:
    """Run the command; give seconds, seconds of all cores, and gibibytes at the peak."""
    script = f"""
import resource, sys
from imprint.cli import run
paths = ["--rollouts", {str(path)!r}, "--out", {str(out)!r}]
code = run(["plan", *paths, "--kind", "skill", "--quiet"])
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
sys.exit(code)
"""
    begun = time.perf_counter()
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - begun
    busy, peak = ran.stderr.split()[-2:]
    return seconds, float(busy), int(peak) / 2 ** (30 if sys.platform == "darwin" else 20)


def copied(path: Path, out: Path) -> float:
    """Read and write every row with ``json`` alone."""
    begun = time.perf_counter()
    with path.open() as source, out.open("w") as target:
        for line in source:
            row = json.loads(line)
            row["pass_rate"] = sum(row["correct"]) / len(row["correct"])
            target.write(json.dumps(row) + "\n")
    return time.perf_counter() - begun


def main() -> None:
    """Generate, plan, and tell."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, default=1_000_000)
    rows = asked.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        pool, out = Path(folder) / "pool.jsonl", Path(folder) / "run"
        generate(pool, rows)
        print(f"{rows:,} rows, {pool.stat().st_size / 2**20:,.0f} MiB of JSON lines")
        seconds, busy, peak = ours(pool, out)
        print(f"imprint plan: {seconds:.1f} s ({busy:.1f} s of all cores), {peak:.2f} GiB at peak")
        written = sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) / 2**20
        print(f"written: {written:,.0f} MiB")
        timings = json.loads((out / "manifest.json").read_text())["timings"]
        print(f"of which reading: {timings.get('pool', 0):.1f} s")
        plain = copied(pool, Path(folder) / "copy.jsonl")
        print(f"json alone, read and written: {plain:.1f} s; ratio {seconds / plain:.2f}")


if __name__ == "__main__":
    main()
