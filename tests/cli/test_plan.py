"""``imprint plan`` as a user calls it."""

from __future__ import annotations

import importlib
import json
import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from imprint.cli import run
from plan_support import rows, write
from tests_support import HOSTILE

FEW = ("--kind", "skill", "--size", 20, "--resamples", 100, "--quiet")


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return write(tmp_path / "own.jsonl", rows(150))


def call(*arguments: object) -> int:
    return run(["plan", *map(str, arguments)])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_run_folder_is_whole(pool: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    assert call("--rollouts", pool, "--out", out, *FEW, "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == json.loads((out / "result.json").read_text())
    assert "fewer than 16 rollouts" not in said.err  # quiet
    assert {p.name for p in out.iterdir()} == {
        "result.json", "report.html", "summary.md", "manifest.json", "tables", "adapters",
        "pool.jsonl", "sft_hard.jsonl", "sft_random.jsonl", "rl_band.jsonl", "rl_random.jsonl",
        "balance.json", "balance.md",
    }  # fmt: skip
    assert len(lines(out / "pool.jsonl")) == 150
    first = lines(out / "pool.jsonl")[0]
    assert {"id", "n", "c", "ci_low", "ci_high", "shrunk_rate", "sft_reason", "rl_reason"} <= set(
        first
    )


def test_again_replaces_what_it_wrote_and_no_more(pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call("--rollouts", pool, "--out", out, *FEW, "--sizes", "5") == 0
    assert (out / "sizes").is_dir()
    (out / "mine.txt").write_text("kept")
    assert call("--rollouts", pool, "--out", out, *FEW) == 0
    assert not (out / "sizes").exists()
    assert (out / "mine.txt").read_text() == "kept"
    other = tmp_path / "other"
    (other / "adapters").mkdir(parents=True)
    assert call("--rollouts", pool, "--out", other, *FEW) == 2


def test_dry_run_writes_nothing(pool: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    assert call("--rollouts", pool, "--out", out, *FEW, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "150 prompts of 3 domains" in said
    assert "1,200 rollouts, 8 to 8 per prompt" in said
    assert not out.exists()


def test_cut_short_run_resumes_with_the_same_numbers(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    job = importlib.import_module("imprint.planning.plan")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert call("--rollouts", pool, "--out", whole, *FEW) == 0
    with monkeypatch.context() as broken:

        def stop(*_: Any) -> None:
            raise KeyboardInterrupt

        broken.setattr(job, "assemble", stop)
        assert call("--rollouts", pool, "--out", cut, *FEW) == 130
    assert {p.name for p in cut.iterdir()} == {".work"}
    assert call("--rollouts", pool, "--out", cut, *FEW) == 0
    assert json.loads((cut / "manifest.json").read_text())["resumed"] == ["pool"]
    for name in ("result.json", "pool.jsonl", "sft_hard.jsonl", "rl_random.jsonl"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to plan from"),
        (("--rollouts", "POOL"), "--kind skill"),
        (("--rollouts", "absent.jsonl", "--kind", "skill"), "no such file"),
        (("--rollouts", "POOL", "--kind", "skill", "--band", "0.8", "0.2"), "no range"),
        (("--rollouts", "POOL", "--kind", "skill", "--tail", "0.5"), "not in [0, 0.5)"),
        (("--rollouts", "POOL", "--kind", "skill", "--adapters", "verll"), "'verl'"),
        (("--rollouts", "POOL", "--kind", "skill", "--target", "maths"), "DOMAIN=WEIGHT"),
        (("--rollouts", "POOL", "--kind", "skill", "--sizes", "5,x"), "no list of sizes"),
        (("--rollouts", "POOL", "--kind", "skill", "--map", "id=nope"), "no column 'nope'"),
        (("--rollouts", "POOL", "--kind", "skil"), "kind"),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    pool: Path, tmp_path: Path, arguments: tuple[str, ...], said: str, capsys: Any
) -> None:
    named = [str(pool) if word == "POOL" else word for word in arguments]
    assert call(*named, "--out", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.json*"))


def test_settings_come_from_yaml_and_flags_win(pool: Path, tmp_path: Path, capsys: Any) -> None:
    settings = tmp_path / "plan.yaml"
    settings.write_text("kind: skill\nsize: 7\nband: [0.1, 0.9]\ntargets: {add: 3, mul: 1}\n")
    out = tmp_path / "out"
    assert call("--rollouts", pool, "--config", settings, "--size", 9, "--out", out, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["settings"]["size"] == 9
    assert data["settings"]["band"] == [0.1, 0.9]
    assert {r["domain"]: r["target"] for r in data["balance"]} == {
        "add": 0.75, "mul": 0.25, "sort": 0.0,
    }  # fmt: skip
    settings.write_text("kind: skill\nsise: 7\n")
    assert call("--rollouts", pool, "--config", settings, "--out", out) == 2
    assert "did you mean 'size'" in capsys.readouterr().err


def test_hostile_names_stay_text(tmp_path: Path, capsys: Any) -> None:
    content = [
        {**row, "domain": HOSTILE[i % len(HOSTILE)], "model": HOSTILE[0]}
        for i, row in enumerate(rows(160))
    ]
    out = tmp_path / "out"
    assert call("--rollouts", write(tmp_path / "h.jsonl", content), "--out", out, *FEW) == 0
    capsys.readouterr()
    page = (out / "report.html").read_text()
    assert "<script>alert(1)</script>" not in page
    assert " <img src=x" not in (out / "balance.md").read_text().replace("\\<", "")
    config = tomllib.loads((out / "adapters/prime-rl/rl.toml").read_text())
    assert config["orchestrator"]["train"]["filter_zero_advantages"] is True
    assert yaml.safe_load((out / "adapters/verl/config.yaml").read_text())["algorithm"]


def test_adapters_have_the_fields_that_frameworks_read(pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call("--rollouts", pool, "--out", out, *FEW, "--group-size", 16) == 0
    place = out / "adapters"
    verl = pl.read_parquet(place / "verl/rl_band.parquet")
    assert verl.columns == ["data_source", "prompt", "ability", "reward_model", "extra_info"]
    row = verl.row(0, named=True)
    assert row["prompt"][0]["role"] == "user"
    assert set(row["reward_model"]) == {"style", "ground_truth"}
    assert {"split", "index", "pass_rate", "n"} <= set(row["extra_info"])
    config = yaml.safe_load((place / "verl/config.yaml").read_text())
    assert config["algorithm"]["filter_groups"] == {
        "enable": True, "metric": "acc", "max_num_gen_batches": 10,
    }  # fmt: skip
    assert config["actor_rollout_ref"]["rollout"]["n"] == 16
    source = tomllib.loads((place / "prime-rl/rl.toml").read_text())["orchestrator"]["train"]
    pools = source["source"][0]["curriculum"]["sampler"]["pools"]
    assert [pools[name]["threshold"] for name in ("hard", "normal", "easy")] == [0.2, 0.8, 1.0]
    opened = lines(place / "open-instruct/rl_band.jsonl")[0]
    assert {"messages", "ground_truth", "dataset", "pass_rate", "n"} <= set(opened)
    assert opened["messages"][-1]["role"] == "user"
    tuned = lines(place / "open-instruct/sft_hard.jsonl")[0]["messages"]
    assert [turn["role"] for turn in tuned] == ["user", "assistant"]
    assert {"input", "label"} <= set(lines(place / "openrlhf/rl_band.jsonl")[0])
    assert {"input", "output"} <= set(lines(place / "openrlhf/sft_hard.jsonl")[0])
    for said in (*place.rglob("*.txt"), *place.rglob("*.yaml"), *place.rglob("*.toml")):
        text = said.read_text()
        assert "acc" in text, said  # the metric is never left to a default
        assert "own.jsonl': sha256" in text, said


def test_conversations_stay_conversations(tmp_path: Path) -> None:
    content = [
        {**row, "prompt": [{"role": "system", "content": "s"},
                           {"role": "user", "content": row["prompt"]}]}
        for row in rows(90)
    ]  # fmt: skip
    out = tmp_path / "out"
    assert call("--rollouts", write(tmp_path / "c.jsonl", content), "--out", out, *FEW) == 0
    row = lines(out / "sft_hard.jsonl")[0]
    assert [turn["role"] for turn in row["prompt"]] == ["system", "user"]
    assert row["completion"][0]["role"] == "assistant"
    tuned = lines(out / "adapters/open-instruct/sft_hard.jsonl")[0]["messages"]
    assert [turn["role"] for turn in tuned] == ["system", "user", "assistant"]


def test_adapters_are_chosen(pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call("--rollouts", pool, "--out", out, *FEW, "--adapters", "verl") == 0
    assert [p.name for p in (out / "adapters").iterdir()] == ["verl"]
