"""A study that is killed goes on and ends with the same tables."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal

from lab.tiny_study import write_study


def begin(config: Path, out: Path) -> subprocess.Popen[bytes]:
    flags = ["--out", str(out), "--workers", "2", "--threads", "1", "--quiet"]
    command = [sys.executable, "-m", "imprint", "study", str(config), *flags]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ})


def units(out: Path) -> int:
    return len(list(out.glob("units/*/unit.json")))


def kill_after(config: Path, out: Path, more: int) -> None:
    """Kill the study and what it started when so many more units are there."""
    process, before = begin(config, out), units(out)
    while process.poll() is None and units(out) < before + more:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_killed_the_tables_are_the_same(tmp_path: Path) -> None:
    config = write_study(tmp_path / "in")
    assert begin(config, tmp_path / "whole").wait() == 0
    kill_after(config, tmp_path / "cut", 6)
    assert not (tmp_path / "cut" / "result.json").exists()
    assert begin(config, tmp_path / "cut").wait() == 0
    for name in ("items", "scores"):
        whole, cut = (
            pl.read_parquet(tmp_path / run / "tables" / f"{name}.parquet")
            for run in ("whole", "cut")
        )
        assert_frame_equal(whole, cut)
