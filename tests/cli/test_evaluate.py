"""`imprint evaluate` at the command line: what is printed, written and refused."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from completions_server import NAME, serving, told
from imprint.cli import run
from models_support import tiny

ROWS = [
    {"prompt": f"{'abcdefghij'[n % 10]} cat {n % 5 * 'is '}", "choices": ["big", "so small"],
     "answer": n % 2}
    for n in range(40)
]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("model") / "letters")


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    path = tmp_path / "zoo.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def call(*arguments: object) -> int:
    return run(["evaluate", *map(str, arguments)])


def test_run_folder_is_whole(model: Path, zoo: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert call(model, "--benchmarks", zoo, "--out", out, "--quiet", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "result.json").read_text())
    assert printed["benchmarks"][0]["items"] == 40
    assert {p.name for p in out.iterdir()} == {
        "result.json", "report.html", "summary.md", "manifest.json", "tables",
    }  # fmt: skip
    assert {p.stem for p in (out / "tables").iterdir()} == {
        "items", "scores", "benchmarks", "calibration",
    }  # fmt: skip


def test_a_dry_run_writes_nothing(model: Path, zoo: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    prompts = tmp_path / "sums.jsonl"
    prompts.write_text('{"prompt": "a", "answer": "b"}\n')
    arguments = (model, "--benchmarks", zoo, "--prompts", prompts, "--samples", 5, "--limit", 7)
    assert call(*arguments, "--out", out, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "zoo (cloze): 7 items, 14 options, 0 shots" in said
    assert "1 prompts × 5 samples = 5 generations of at most 256 tokens" in said
    assert "bytes of weights" in said
    assert not out.exists()


def test_settings_come_from_a_file_and_flags_come_first(
    model: Path, zoo: Path, tmp_path: Path, capsys
) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text(f"benchmarks: [{zoo}]\nlimit: 9\nnormalisation: byte\n")
    out = tmp_path / "out"
    arguments = (model, "--config", config, "--limit", 5, "--out", out, "--quiet", "--json")
    assert call(*arguments) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert (settings["limit"], settings["normalisation"]) == (5, "byte")
    config.write_text("benchmark: x\n")
    assert call(*arguments) == 2
    assert "did you mean 'benchmarks'" in capsys.readouterr().err


def refused(capsys, *arguments: object) -> str:
    """Run what the user got wrong; gives the message."""
    assert call(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return str(said.err)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b'{"prompt": "caf\xe9"}\n', "line 1: not UTF-8"),
        (b"not json\n", "line 1: not valid JSON"),
        (b'{"prompt": "a", "choices": [], "answer": 0}\n', "line 1: the row has no options"),
        (b'{"prompt": "a", "choices": ["x", "y"], "answer": 2}\n', "none of the 2 options"),
        (b'{"question": "a", "answer": ["x"]}\n', "no options, so no choice can be scored"),
        (b'{"text": "a"}\n', "fit no layout"),
    ],
)
def test_bad_questions_are_told(
    model: Path, tmp_path: Path, capsys, content: bytes, problem: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    out = tmp_path / "out"
    assert problem in refused(capsys, model, "--benchmarks", path, "--out", out, "--quiet")
    assert not out.exists()


def test_bad_models_are_told(model: Path, zoo: Path, tmp_path: Path, capsys) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((model / name).read_bytes())
    flags = ("--benchmarks", zoo, "--out", tmp_path / "out", "--quiet")
    assert "no tokenizer" in refused(capsys, bare, *flags)
    assert "absent" in refused(capsys, tmp_path / "absent", *flags)
    assert "no model is named" in refused(capsys, *flags)
    assert "brings no chat template" in refused(capsys, model, *flags, "--chat-template", "auto")
    message = refused(capsys, model, "--benchmarks", "no_such_task_anywhere", "--quiet")
    assert "no task of lm-eval is called 'no_such_task_anywhere'" in message


@pytest.fixture(scope="module")
def url(model: Path):
    with serving(model) as address:
        yield address


def test_bad_servers_are_told(url: str, zoo: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    flags = ("--benchmarks", zoo, "--out", out, "--quiet", "--retries", 0, "--limit", 3)
    lacking = refused(capsys, NAME, "--engine", told(url, no_echo=True), *flags)
    assert "cannot score options: it does not echo the prompt" in lacking
    html = refused(capsys, NAME, "--engine", told(url, fail=99, fault="html"), *flags)
    assert "no JSON" in html
    rubbish = refused(capsys, NAME, "--engine", told(url, fail=99, fault="choices"), *flags)
    assert "rubbish" in rubbish
    nowhere = refused(capsys, NAME, "--engine", "http://127.0.0.1:9/v1", *flags)
    assert "is the server up?" in nowhere
    told(url)
    assert call(NAME, "--engine", url, *flags) == 0


def test_an_interrupt_says_so_and_the_same_command_resumes(
    model: Path, zoo: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imprint.evaluation import study

    monkeypatch.setattr(study, "BLOCK", 10)
    scored, done = study.score_items, []

    def twice(*given: object, **named: object) -> pl.DataFrame:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return scored(*given, **named)  # type: ignore[arg-type]

    out = tmp_path / "out"
    monkeypatch.setattr(study, "score_items", twice)
    assert call(model, "--benchmarks", zoo, "--out", out, "--quiet") == 130
    assert "the same command resumes" in capsys.readouterr().err
    monkeypatch.setattr(study, "score_items", scored)
    assert call(model, "--benchmarks", zoo, "--out", out, "--quiet") == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert set(manifest["resumed"]) == {"m000-asked", "m000-b000-0000", "m000-b000-0001"}


def test_a_killed_run_resumes_with_the_same_numbers(model: Path, url: str, tmp_path: Path) -> None:
    prompts = tmp_path / "sums.jsonl"
    rows = [{"id": str(n), "prompt": "abcdefgh"[n % 8], "answer": "a"} for n in range(260)]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--prompts", prompts, "--samples", 2, "--max-new-tokens", 3, "--engine", url]
    command = [sys.executable, "-m", "imprint", "evaluate", NAME, *map(str, flags), "--quiet"]
    told(url, delay=0.05)
    first = subprocess.Popen([*command, "--out", "killed"], cwd=tmp_path)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "killed").glob(".work/*/m000-r0001/done")):
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    told(url)
    for out in ("killed", "whole"):
        assert call(NAME, *flags, "--quiet", "--out", tmp_path / out) == 0
    tables = [tmp_path / out / "tables" for out in ("killed", "whole")]
    for name in ("rollouts", "pass_rates", "pass_at_k", "scores"):
        one, other = (pl.read_parquet(folder / f"{name}.parquet") for folder in tables)
        assert one.equals(other), name
    assert json.loads((tmp_path / "killed" / "manifest.json").read_text())["resumed"]


def test_a_full_disk_leaves_nothing_half_written(model: Path, zoo: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "imprint", "evaluate", str(model), "--benchmarks", str(zoo)]

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    met = subprocess.run(
        [*command, "--out", "out", "--quiet"],
        cwd=tmp_path, capture_output=True, text=True, preexec_fn=small,
    )  # fmt: skip
    assert met.returncode == 2, met.stderr
    assert "make room or choose another --out" in met.stderr or "cannot be written" in met.stderr
    assert not [p for p in (tmp_path / "out").iterdir() if p.name != ".work"]
    again = subprocess.run(
        [*command, "--out", "out", "--quiet"], cwd=tmp_path, capture_output=True, check=False
    )
    assert again.returncode == 0
    assert (tmp_path / "out" / "report.html").is_file()
