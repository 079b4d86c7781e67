"""``imprint drift`` on the command line."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest

from imprint.cli import run
from models_support import tiny

SPEED = ["--resamples", "100", "--quiet"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("drift")
    base = tiny(folder / "base")
    rows = [{"text": f"the cat sat {n} times", "domain": "ab"[n % 2]} for n in range(4)]
    texts = folder / "texts.jsonl"
    texts.write_text("\n".join(map(json.dumps, rows)))
    tuned = tiny(folder / "tuned", near=base)
    return {"base": str(base), "tuned": str(tuned), "texts": str(texts)}


def call(*arguments: str, capsys: Any) -> tuple[int, str, str]:
    code = run(["drift", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_run_folder(made: dict[str, str], tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "run"
    given = [made["base"], made["tuned"], "--texts", made["texts"], "--out", str(out), *SPEED]
    code, said, err = call(*given, "--json", capsys=capsys)
    assert (code, err) == (0, "")
    found = json.loads(said)
    schema = json.loads(files("imprint.drift").joinpath("drift.schema.json").read_text())
    jsonschema.validate(found, schema)
    assert found == json.loads((out / "result.json").read_text())
    assert found["direction"] == "kl: base‖tuned; reverse_kl: tuned‖base"
    names = {path.name for path in out.iterdir()}
    assert names == {"result.json", "tables", "report.html", "summary.md", "manifest.json"}
    assert len(pl.read_parquet(out / "tables" / "drift.parquet")) == found["tokens"]


def test_settings_in_yaml_and_flags_that_win(
    made: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("limit: 1\nseed: 5\nresamples: 100\nquiet: true\n")
    out = tmp_path / "run"
    given = [made["base"], made["tuned"], "--texts", made["texts"], "--out", str(out), "--json"]
    code, said, _ = call(*given, "--config", str(config), "--seed", "2", capsys=capsys)
    assert code == 0
    assert (json.loads(said)["texts"], json.loads(said)["seed"]) == (2, 2)
    config.write_text("limt: 1\n")
    code, _, err = call(*given, "--config", str(config), capsys=capsys)
    assert code == 2
    assert "did you mean 'limit'?" in err
    assert "line 1" in err


def test_a_dry_run_writes_nothing(made: dict[str, str], tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "run"
    code, said, _ = call(
        made["base"], made["tuned"], "--texts", made["texts"], "--one-model", "--dry-run",
        "--out", str(out), capsys=capsys,
    )  # fmt: skip
    assert code == 0
    assert "4 texts" in said
    assert "hidden states on disk" in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "nothing is named to measure drift on"),
        (["--texts", "absent.jsonl"], "no such file"),
        (["--mastery", "absent"], "no such folder"),
        (["--texts", "TEXTS", "--levels", "x"], "--levels 'x' is no list"),
        (["--texts", "TEXTS", "--chat-template", "auto"], "no chat template"),
        (["--texts", "TEXTS", "--device", "nonsense"], "--device 'nonsense' cannot be used"),
        (["--texts", "TEXTS", "--scores", "TEXTS"], "column 'unit' is missing"),
        (["--texts", "TEXTS", "--nonsense"], "--nonsense"),
    ],
)
def test_mistakes_exit_with_2_and_one_message(
    made: dict[str, str], tmp_path: Path, capsys: Any, more: list[str], said: str
) -> None:
    more = [made["texts"] if word == "TEXTS" else word for word in more]
    code, out, err = call(
        made["base"], made["tuned"], "--out", str(tmp_path / "run"), *SPEED, *more, capsys=capsys
    )
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "result.json").exists()


def test_no_tuned_model(made: dict[str, str], capsys: Any) -> None:
    code, _, err = call(made["base"], "--texts", made["texts"], capsys=capsys)
    assert code == 2
    assert "no tuned checkpoint is named" in err


@pytest.mark.shared
def test_real_models(shared: Path, tmp_path: Path, capsys: Any) -> None:
    text = next(iter(sorted((shared / "text" / "tinyshakespeare").glob("*.txt")))).read_text()
    texts = tmp_path / "t.txt"
    texts.write_text("\n\n".join(text.split("\n\n")[:12]))
    models = shared / "models"
    pair = [str(models / "stories260K"), str(models / "stories260K-gutenberg")]
    code, said, _ = call(
        *pair, "--texts", str(texts), "--out", str(tmp_path / "r"), "--json", "--one-model",
        *SPEED, capsys=capsys,
    )  # fmt: skip
    assert code == 0
    found = json.loads(said)
    assert 0.3 < found["kl"]["mean"] < 3
    assert found["kl"]["low"] > 0
    code, said, _ = call(
        pair[0], pair[0], "--texts", str(texts), "--out", str(tmp_path / "s"), "--json", *SPEED,
        capsys=capsys,
    )  # fmt: skip
    assert code == 0
    assert json.loads(said)["kl"]["max"] == 0
