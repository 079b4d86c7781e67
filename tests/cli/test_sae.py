"""``imprint sae train`` and ``imprint sae check`` on the command line."""

from __future__ import annotations

import json
import os
import pickle
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from imprint.cli import run
from models_support import tiny
from tests_support import HOSTILE

pytest.importorskip("sparsify", reason="eai-sparsify is not installed")

SMALL = ["--tokens", "2000", "--batch-tokens", "256", "--latents", "40", "--k", "5"]
SMALL += ["--learning-rate", "0.09"]
QUICK = ["--window", "16", "--fit-tokens", "400", "--quiet"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("sae")
    texts = folder / "texts.jsonl"
    rows = [{"text": f"the cat sat on {['a', 'b', 'c'][n % 3]} mat"} for n in range(60)]
    texts.write_text("\n".join(map(json.dumps, rows)))
    return {"model": str(tiny(folder / "model")), "texts": str(texts), "run": str(folder / "run")}


def call(*arguments: str, capsys: Any) -> tuple[int, str, str]:
    code = run(["sae", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def trained(made: dict[str, str]) -> dict[str, str]:
    given = ["train", made["model"], "--texts", made["texts"], "--layer", "0"]
    assert run(["sae", *given, "--out", made["run"], *SMALL, *QUICK]) == 0
    return made


def schema() -> Any:
    return json.loads(files("imprint.saes.training").joinpath("sae.schema.json").read_text())


def test_train(trained: dict[str, str]) -> None:
    found = json.loads((Path(trained["run"]) / "result.json").read_text())
    jsonschema.validate(found, schema())
    assert found["job"] == "sae-train"
    assert found["training"]["tokens"] == 2000


def test_check_what_was_trained(trained: dict[str, str], tmp_path: Path, capsys: Any) -> None:
    given = ["check", trained["model"], "--sae", trained["run"], "--texts", trained["texts"]]
    code, said, err = call(*given, "--out", str(tmp_path / "run"), "--json", *QUICK, capsys=capsys)
    assert (code, err) == (0, "")
    found = json.loads(said)
    jsonschema.validate(found, schema())
    assert found["job"] == "sae-check"
    assert found["sae"]["source"] == trained["run"]


def test_the_plan_writes_nothing(made: dict[str, str], tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "run"
    given = ["train", made["model"], "--texts", made["texts"], "--out", str(out), "--dry-run"]
    code, said, _ = call(*given, capsys=capsys)
    assert code == 0
    assert "an SAE of 128 latents, 4 firing, on layer 1 (width 16)" in said
    assert not out.exists()


def test_settings_in_yaml_and_flags_that_win(
    made: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("layer: 0\nlatents: 30\nk: 3\n")
    given = ["train", made["model"], "--texts", made["texts"], "--config", str(config), "--dry-run"]
    code, said, _ = call(*given, "--k", "6", capsys=capsys)
    assert code == 0
    assert "30 latents, 6 firing, on layer 0" in said
    config.write_text("layers: 0\n")
    code, _, err = call(*given, capsys=capsys)
    assert code == 2
    assert "did you mean 'layer'?" in err


def test_help_lists_both(capsys: Any) -> None:
    code, said, _ = call("--help", capsys=capsys)
    assert code == 0
    assert "train" in said
    assert "check" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--layer": "9"}, "the model has 2 layers"),
        ({"--texts": "/no/such.txt"}, "no such file"),
        ({"--tokens": "many"}, "many"),
        ({"--k": "0"}, "--k 0 is less than 1"),
        ({"--held-out": "nan"}, "--held-out"),
        ({"--window": "4000"}, "context of 32"),
    ],
)
def test_mistakes_of_the_user(
    made: dict[str, str], tmp_path: Path, capsys: Any, change: dict[str, str], message: str
) -> None:
    flags = {"--texts": made["texts"], "--out": str(tmp_path / "run"), **change}
    given = [part for pair in flags.items() for part in pair]
    code, out, err = call("train", made["model"], *given, "--quiet", capsys=capsys)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


def test_saes_that_cannot_be(made: dict[str, str], tmp_path: Path, capsys: Any) -> None:
    evil = tmp_path / "layer0.sae.pt"
    evil.write_bytes(pickle.dumps(Evil()))
    for sae, message in (
        (str(evil), "could run code"),
        (str(tmp_path / "nothing"), "names no folder"),
        (f"{tmp_path}:../x", "no path inside"),
    ):
        given = ["check", made["model"], "--sae", sae, "--texts", made["texts"]]
        code, _, err = call(*given, "--quiet", capsys=capsys)
        assert code == 2
        assert message in err


def test_a_hostile_name_is_shown_as_it_is(
    trained: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    name = HOSTILE[0].replace("/", "_")
    folder = tmp_path / name
    folder.mkdir()
    for file in ("cfg.json", "sae_weights.safetensors"):
        (folder / file).write_bytes((Path(trained["run"]) / file).read_bytes())
    given = ["check", trained["model"], "--sae", str(folder), "--texts", trained["texts"]]
    code, _, _ = call(*given, "--out", str(tmp_path / "run"), *QUICK, capsys=capsys)
    assert code == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert name not in page
    assert "&lt;script&gt;alert(1)" in page
