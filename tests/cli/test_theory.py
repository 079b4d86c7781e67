"""``imprint theory`` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest

from imprint.cli import run
from imprint.theory.experiments.catalogue import EXPERIMENTS

SMALL = ["--d", "12", "--seeds", "2", "--sizes", "4,6,12", "--n", "12", "--quiet"]


def call(*arguments: str, capsys: Any) -> tuple[int, str, str]:
    code = run(["theory", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_without_a_name_the_experiments_are_listed(capsys: Any) -> None:
    code, said, _ = call(capsys=capsys)
    assert code == 0
    assert [line.split()[0] for line in said.splitlines()] == list(EXPERIMENTS)


def test_a_run_folder(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "run"
    given = ["double-descent", "--out", str(out), *SMALL, "--json"]
    code, said, err = call(*given, capsys=capsys)
    assert (code, err) == (0, "")
    found = json.loads(said)
    schema = json.loads(files("imprint.theory").joinpath("theory.schema.json").read_text())
    jsonschema.validate(found, schema)
    assert found == json.loads((out / "result.json").read_text())
    names = {path.name for path in out.iterdir()}
    assert names == {"result.json", "tables", "report.html", "summary.md", "manifest.json"}
    assert len(pl.read_parquet(out / "tables" / "points.parquet")) == 3 * 3 * 2


def test_settings_in_yaml_and_flags_that_win(tmp_path: Path, capsys: Any) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("d: 30\nseeds: 3\nsizes: [4]\nn: [10]\ninterference: [0.1]\nquiet: true\n")
    given = ["double-descent", "--config", str(config), "--d", "10", "--out", str(tmp_path / "r")]
    code, said, _ = call(*given, "--json", capsys=capsys)
    settings = json.loads(said)["settings"]
    assert code == 0
    assert (settings["d"], settings["seeds"], settings["sizes"]) == (10, 3, [4])


def test_a_plan_writes_nothing(tmp_path: Path, capsys: Any) -> None:
    code, said, _ = call(
        "gpt2", "--paper-size", "--dry-run", "--out", str(tmp_path / "r"), capsys=capsys
    )
    assert code == 0
    assert "pretrain_steps 500000" in said
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["doubledescent"], "did you mean 'double-descent'?"),
        (["curvature", "--layers", "3"], "curvature does not read 'layers'"),
        (["curvature", "--cot", "1,x"], "--cot '1,x' is no list of numbers"),
        (["curvature", "--d", "1"], "--d 1 is less than 2"),
        (["curvature", "--seeds", "many"], "--seeds"),
        (["interference", "--interference", "nan"], "--interference"),
        (["asymptotics", "--interference", "0"], "need interference above 0"),
        (["curvature", "--sizes", "3,4"], "--sizes 3, 4 is more than one value"),
        (["gpt2", "--n", "3,4"], "--n 3, 4 is more than one value"),
    ],
)
def test_mistakes_of_the_user(given: list[str], told: str, capsys: Any, tmp_path: Path) -> None:
    code, _, err = call(*given, "--out", str(tmp_path / "r"), capsys=capsys)
    assert code == 2
    assert told in err
    assert "Traceback" not in err
    assert not (tmp_path / "r").exists()


def test_an_unknown_key_in_yaml_names_its_line(tmp_path: Path, capsys: Any) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("seeds: 2\nsize: [4]\n")
    code, _, err = call("double-descent", "--config", str(config), capsys=capsys)
    assert code == 2
    assert "line 2" in err
    assert "did you mean 'sizes'?" in err


def test_numpy_experiments_load_no_torch(tmp_path: Path) -> None:
    out = str(tmp_path / "r")
    program = (
        "import sys; from imprint.cli import run; "
        f"run(['theory', 'curvature', '--d', '3', '--seeds', '1', '--cot', '1', '--out', {out!r}, "
        "'--quiet']); print('torch' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines()[-1] == "False"
