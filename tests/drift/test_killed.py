"""A run that is killed from outside goes on where it stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl

from imprint.cli import run


def test_a_process_that_is_killed(pair: Any, tmp_path: Path) -> None:
    texts = tmp_path / "t.jsonl"
    rows = [{"text": "the cat sat on the mat and slept " * 4, "id": n} for n in range(400)]
    texts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folders = [tmp_path / "killed", tmp_path / "whole"]
    commands = [
        [sys.executable, "-m", "imprint", "drift", *map(str, pair[:2]), "--texts", str(texts),
         "--one-model", "--resamples", "100", "--quiet", "--out", str(out)]
        for out in folders
    ]  # fmt: skip
    begun = subprocess.Popen(commands[0])
    work, until = folders[0] / ".work", time.monotonic() + 120
    while len(list(work.glob("*/texts-*/done"))) < 4 and begun.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    assert not (folders[0] / "result.json").exists()
    for command in commands:
        assert run(command[3:]) == 0
    tables = [pl.read_parquet(folder / "tables" / "drift.parquet") for folder in folders]
    assert tables[0].equals(tables[1])
    assert len(json.loads((folders[0] / "manifest.json").read_text())["resumed"]) >= 4
