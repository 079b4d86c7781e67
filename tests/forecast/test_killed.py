"""A run that is killed from outside goes on where it stopped, with the same numbers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl

from imprint.cli import run
from models_support import tiny


def test_a_process_that_is_killed(tmp_path: Path) -> None:
    base = tiny(tmp_path / "base")
    rows = [
        {"domain": d, "prompt": f"{d} {'abcdefghijkl'[n]} cat", "answer": f"mat {d}"}
        for d in ("law", "sea", "art")
        for n in range(12)
    ]
    domains, sft = tmp_path / "d.jsonl", tmp_path / "s.jsonl"
    domains.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sft.write_text(
        "".join(
            json.dumps({"prompt": row["prompt"][::-1], "completion": row["answer"]}) + "\n"
            for row in rows
        )
    )
    folders = [tmp_path / "killed", tmp_path / "whole"]
    given = ["--sft", str(sft), "--domains", str(domains), "--resamples", "100", "--draws", "2"]
    only = ["--families", "lexical", "likelihood", "similarity"]
    program = [sys.executable, "-m", "imprint", "forecast", str(base), *given, *only, "--quiet"]
    commands = [[*program, "--out", str(out)] for out in folders]
    begun = subprocess.Popen(commands[0])
    work, until = folders[0] / ".work", time.monotonic() + 120
    while len(list(work.glob("*/set0-*/done"))) < 3 and begun.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    assert not (folders[0] / "result.json").exists()
    for command in commands:
        assert run(command[3:]) == 0
    tables = [pl.read_parquet(folder / "tables" / "predictors.parquet") for folder in folders]
    assert tables[0].equals(tables[1])
    assert len(json.loads((folders[0] / "manifest.json").read_text())["resumed"]) >= 3
