"""``imprint mastery`` as a user calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from completions_server import NAME, serving
from imprint.cli import run
from models_support import tiny

FEW = ("--samples", 2, "--max-new-tokens", 4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("model"))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    rows = [
        {"prompts": [f"the {s}", f"a {s}"], "answer": a, "question": f"{s} {a}?"}
        for s in ("cat", "dog")
        for a in ("a", "ee")
    ]
    return write(tmp_path / "facts.jsonl", rows)


def call(*arguments: object) -> int:
    return run(["mastery", *map(str, arguments)])


def test_run_folder_is_whole(model: Path, facts: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    assert call(model, "--facts", facts, "--out", out, *FEW, "--sizes", "2,all", "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == json.loads((out / "result.json").read_text())
    assert "16 samples of 4 facts to come, at most about 0.1 minutes" in said.err
    assert {p.name for p in out.iterdir()} == {
        "result.json", "report.html", "summary.md", "manifest.json", "tables",
    }  # fmt: skip
    names = {p.name for p in (out / "tables" / "splits").iterdir()}
    assert "sft-mixed-2-seed2.jsonl" in names
    assert "sft-mixed-all-seed0.jsonl" in names
    # the same again replaces the run, sets included
    assert call(model, "--facts", facts, "--out", out, *FEW, "--sizes", "2", "--quiet") == 0
    assert "sft-mixed-all-seed0.jsonl" not in {
        p.name for p in (out / "tables" / "splits").iterdir()
    }


def test_closed_book_follows(model: Path, facts: Path, tmp_path: Path, capsys: Any) -> None:
    assert call(model, "--facts", facts, "--out", tmp_path / "m", *FEW, "--quiet") == 0
    capsys.readouterr()
    told = ("--closed-book", tmp_path / "m", "--out", tmp_path / "c", "--quiet", "--json")
    assert call(model, *told, "--sft-prompt", "{question}") == 0
    assert json.loads(capsys.readouterr().out)["job"] == "closed-book"
    assert call(model, *told, "--dry-run") == 0
    assert "4 questions to 1 models" in capsys.readouterr().out


def test_a_dry_run_says_what_is_to_come(
    model: Path, facts: Path, tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    assert call(model, "--facts", facts, "--out", out, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "4 facts (4 by own), 8 prompts." in said
    assert "80 samples of 32 tokens, 2,560 in all; exact stopping can save 16 of them." in said
    assert "GiB of weights" in said
    assert not out.exists()


def test_more_than_the_budget_wants_yes(
    model: Path, facts: Path, tmp_path: Path, capsys: Any
) -> None:
    asked = (model, "--facts", facts, "--out", tmp_path / "out", *FEW, "--quiet")
    assert call(*asked, "--budget", 10) == 2
    assert "16 samples of 4 facts to come, more than the budget of 10" in capsys.readouterr().err
    assert not (tmp_path / "out" / "result.json").exists()
    assert call(*asked, "--budget", 10, "--yes") == 0


def test_settings_from_yaml_and_flags_above_them(
    model: Path, facts: Path, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("samples: 3\nmax_new_tokens: 4\nstop: none\nprompting: {num_fewshot: 1}\n")
    out = tmp_path / "out"
    asked = (model, "--facts", facts, "--out", out, "--quiet", "--json")
    assert call(*asked, "--config", path, "--samples", 2) == 0
    found = json.loads(capsys.readouterr().out)["settings"]["mastery"]
    assert (found["samples"], found["max_new_tokens"], found["stop"]) == (2, 4, "none")
    assert found["prompting"]["num_fewshot"] == 1
    path.write_text("sample: 3\n")
    assert call(*asked, "--config", path) == 2
    assert "did you mean 'samples'" in capsys.readouterr().err


def test_mistakes_are_said_without_a_traceback(
    model: Path, facts: Path, tmp_path: Path, capsys: Any
) -> None:
    empty, latin = tmp_path / "empty.jsonl", tmp_path / "latin.jsonl"
    empty.write_text("")
    latin.write_bytes(b'{"question": "\xe9", "answer": "x"}\n')
    lacking = write(tmp_path / "lacking.jsonl", [{"question": "q"}])
    slotless = tmp_path / "templates.json"
    slotless.write_text('{"relations": {"P36": {"statements": ["The capital is"]}}}')
    out = ("--out", tmp_path / "out")
    for arguments, said in (
        ((model, "--facts", empty), "the file is empty"),
        ((model, "--facts", latin), "latin.jsonl, line 1"),
        ((model, "--facts", lacking), "line 1: the fact has no answer"),
        ((model, "--facts", facts, "--templates", slotless), "0 slots {subject}"),
        ((model, "--facts", tmp_path / "none.jsonl"), "no such file"),
        ((tmp_path / "nothing", "--facts", facts), "nothing"),
        ((model,), "--facts or --closed-book"),
        ((model, "--facts", facts, "--closed-book", tmp_path), "--facts or --closed-book"),
        ((model, model, "--facts", facts), "one model at a time"),
        ((model, "--facts", facts, "--stop", "soon"), "--stop 'soon'"),
        ((model, "--facts", facts, "--sizes", "a"), "--sizes 'a'"),
        ((model, "--facts", facts, "--chat-template", "auto"), "no chat template"),
        ((model, "--closed-book", tmp_path), "no finished run"),
    ):
        assert call(*arguments, *out) == 2
        error = capsys.readouterr().err
        assert said in error
        assert "Traceback" not in error


def test_a_killed_run_resumes(model: Path, facts: Path, tmp_path: Path) -> None:
    rows = [
        {"prompts": [f"the {c}{d}", f"a {d}"], "answer": c}
        for c in "abcdefghijkl"
        for d in "abcdefghijklm"
    ]
    path, out = write(tmp_path / "many.jsonl", rows), tmp_path / "out"
    command = [
        sys.executable, "-m", "imprint", "mastery", model, "--facts", path, "--samples", "12",
        "--max-new-tokens", "12", "--out", out, "--batch-size", "32", "--quiet",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(list(map(str, command)), env=environment) as process:
        deadline = time.monotonic() + 120
        while not list(out.glob(".work/*/block-*/done")) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert not (out / "result.json").exists()
    assert not (out / "tables").exists()
    arguments = command[4:-3]
    assert call(*arguments, "--batch-size", "32", "--quiet") == 0
    assert json.loads((out / "manifest.json").read_text())["resumed"]
    other = tmp_path / "other"
    arguments[arguments.index(out)] = other
    assert call(*arguments, "--batch-size", "32", "--quiet") == 0
    a, b = (pl.read_parquet(f / "tables" / "mastery.parquet") for f in (out, other))
    assert a.equals(b)


@pytest.mark.shared
def test_a_server_answers_and_is_refused_what_it_cannot_give(
    shared: Path, tmp_path: Path, capsys: Any
) -> None:
    path = write(
        tmp_path / "facts.jsonl",
        [
            {"prompts": ["Once upon a", "One day, once upon a"], "answer": "time"},
            {"prompts": ["Lily went to the", "They ran to the"], "answer": "park"},
        ],
    )
    with serving(shared / "models" / "stories260K") as url:
        asked = (NAME, "--engine", url, "--facts", path, "--samples", 4, "--max-new-tokens", 8)
        assert call(*asked, "--out", tmp_path / "out", "--quiet", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["model"]["engine"] == url
        table = pl.read_parquet(tmp_path / "out" / "tables" / "mastery.parquet")
        assert table["level"][0] == 4
        assert call(*asked, "--out", tmp_path / "t", "--quiet", "--chat-template", "auto") == 2
        assert "chat template" in capsys.readouterr().err


@pytest.mark.shared
def test_real_facts_and_our_templates(shared: Path, tmp_path: Path, capsys: Any) -> None:
    facts, model = shared / "facts" / "entity_questions", shared / "models" / "stories260K"
    asked = (model, "--facts", facts, "--split", "test", "--limit", 1, "--drop", "both-splits")
    few = ("--samples", 1, "--max-new-tokens", 6, "--sizes", 5)
    assert call(*asked, *few, "--out", tmp_path / "out", "--quiet", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["facts"], found["samples_per_fact"]) == (10, 21)
    assert call(model, "--facts", facts, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "97,112 facts (97,112 by templates), 2,039,352 prompts." in said
    assert "20,393,520 samples of 32 tokens" in said
