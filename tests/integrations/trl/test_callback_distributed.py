"""The callback where a model is copied to, or spread over, two processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from training_support import THINGS, colour, lines, word_model

pytest.importorskip("datasets", reason="datasets is not installed")
PROGRAM = Path(__file__).with_name("distributed_training.py")


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_all_processes_measure_and_the_first_writes(kind: str, tmp_path: Path) -> None:
    base = word_model(tmp_path / "base")
    facts = [
        {"relation": "r", "subject": t, "answers": [colour(t)], "prompts": [f"{t} is"]}
        for t in THINGS
    ]
    texts = [f"what colour is {t} ? {colour(t)}" for t in THINGS]
    probes = {"texts": texts, "facts": str(lines(tmp_path / "facts.jsonl", facts))}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {
        **os.environ,
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "ACCELERATE_USE_CPU": "true",
    }
    (tmp_path / "out").mkdir()
    command = [sys.executable, str(PROGRAM), str(base), str(tmp_path / "out"), kind]
    running = [
        subprocess.Popen(
            [*command, json.dumps(probes)],
            env={**told, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [one.communicate(timeout=240)[1] for one in running]
    assert [one.returncode for one in running] == [0, 0], errors[0][-3000:]
    first, second = (
        json.loads((tmp_path / "out" / f"rank{rank}.json").read_text()) for rank in range(2)
    )
    assert first["processes"] == second["processes"] == 2
    wrapped = {"ddp": "DistributedDataParallel", "fsdp": "FSDPLlamaForCausalLM"}
    assert first["modules"] == [wrapped[kind]]
    for one, other in zip(first["rows"], second["rows"], strict=True):
        assert one["drift"] == pytest.approx(other["drift"], rel=1e-4, abs=1e-7)
        assert one["mastery"] == pytest.approx(other["mastery"], rel=1e-4)
    assert [row["step"] for row in first["rows"]] == [0, 3, 6]
    assert first["rows"][-1]["drift"] > 0
    written = (tmp_path / "out" / "imprint_callback.jsonl").read_text().splitlines()
    assert len(written) == 3
    assert (tmp_path / "out" / "imprint_callback" / "report.html").exists()
