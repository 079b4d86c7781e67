"""Rollouts of a real model, from `imprint evaluate` into a plan."""

from __future__ import annotations

import json
from pathlib import Path

import imprint
from models_support import tiny
from plan_support import write


def test_an_evaluation_is_planned_from(tmp_path: Path) -> None:
    rows = [
        {"id": f"p{i}", "prompt": "once " * (1 + i % 5), "answer": "[a-e]", "domain": "ab"[i % 2]}
        for i in range(24)
    ]
    config = imprint.EvaluateConfig(
        prompts=str(write(tmp_path / "prompts.jsonl", rows)), verify="regex", samples=6,
        max_new_tokens=3, dtype="fp32", device="cpu", quiet=True,
    )  # fmt: skip
    run = tmp_path / "evaluation"
    evaluated = imprint.evaluate([str(tiny(tmp_path / "model"))], config, out=run)
    counts = evaluated.tables["pass_rates"].select("item", "n", "c").rows()
    assert 0 < sum(c for _, _, c in counts) < 24 * 6

    out = tmp_path / "plan"
    result = imprint.plan(run, kind="skill", size=5, near_duplicate=1.0, resamples=100, out=out)
    pool = {row["id"]: row for row in _lines(out / "pool.jsonl")}
    assert {(i, r["n"], r["c"]) for i, r in pool.items()} == set(counts)
    assert {row["verifier"] for row in pool.values()} == {"regex"}
    assert result.data["pool"]["generated_tokens"] == evaluated.tables["rollouts"]["tokens"].sum()


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
