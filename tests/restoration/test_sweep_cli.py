"""``imprint restore … --evaluate`` from the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from imprint.cli import run
from models_support import same, state, tiny

SCORER = '''
import torch

def closeness(model, tokenizer, split):
    """Higher the smaller the weights of the first layer are, with noise of its own per item."""
    torch.manual_seed(len(split))
    size = float(model.model.layers[0].mlp.up_proj.weight.square().sum())
    return [{sign} * size + 0.001 * float(torch.randn(())) for _ in range(20)]
'''
TEXTS = ("a cat sat.\n\nb dog ran.\n", "the sun is up.\n\nthe sky is blue.\n")


def call(*arguments: object) -> int:
    return run([str(a) for a in arguments])


@pytest.fixture
def pair(tmp_path: Path, monkeypatch) -> tuple[Path, Path]:
    monkeypatch.chdir(tmp_path)
    base = tiny(tmp_path / "base")
    return base, tiny(tmp_path / "tuned", seed=1, near=base, step=0.1, dtype="bfloat16")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    for name, text in zip(("dev", "test"), TEXTS, strict=True):
        (tmp_path / f"{name}.txt").write_text(text)
    path = tmp_path / "eval.yaml"
    path.write_text("dev: dev.txt\ntest: test.txt\nretain: test.txt\ncontrols: {random: 1}\n")
    return path


def scorer(folder: Path, name: str, sign: str) -> str:
    (folder / f"{name}.py").write_text(SCORER.format(sign=sign))
    return f"{name}:closeness"


def test_without_a_target_only_the_run_folder_is_written(pair, texts, tmp_path, capsys) -> None:
    before = {p.name for p in tmp_path.iterdir()}
    assert call("restore", *pair, "--evaluate", texts, "--top", "0.1,0.5", "--quiet") == 0
    assert "# How much of the change to put back" in capsys.readouterr().out
    assert {p.name for p in tmp_path.iterdir()} - before == {"imprint-runs"}
    names = {p.name for p in (tmp_path / "imprint-runs" / "restore").iterdir()}
    assert names == {"result.json", "summary.md", "report.html", "manifest.json", "tables"}


def test_the_chosen_checkpoint_is_what_restore_writes(pair, tmp_path: Path, capsys) -> None:
    name = scorer(tmp_path, "falling_scores", "-1")
    out = tmp_path / "out"
    flags = ("--evaluate", name, "--top", "0.3,0.6", "--json", "--quiet")
    assert call("restore", *pair, out, *flags) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["written"] == str(out)
    assert (tmp_path / "out.run" / "result.json").is_file()
    top = found["chosen"]["top"]
    assert call("restore", *pair, tmp_path / "again", "--top", top, "--quiet") == 0
    assert same(state(out), state(tmp_path / "again"))
    manifest = json.loads((tmp_path / "out.run" / "manifest.json").read_text())
    assert any(i["path"].endswith("falling_scores.py") for i in manifest["inputs"])


def test_nothing_is_written_where_tuned_is_best(pair, tmp_path: Path, capsys) -> None:
    name = scorer(tmp_path, "rising_scores", "1")
    assert call("restore", *pair, tmp_path / "out", "--evaluate", name, "--top", "0.9") == 0
    told = capsys.readouterr()
    assert "No restoration is advised" in told.out
    assert "was not written" in told.err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_lists_points_and_writes_nothing(pair, texts, tmp_path: Path, capsys) -> None:
    before = {p.name for p in tmp_path.iterdir()}
    flags = ("--evaluate", texts, "--axis", "regions", "--dry-run")
    assert call("restore", *pair, tmp_path / "out", *flags) == 0
    told = capsys.readouterr().out
    assert "23 points on dev, then at most 7 on test and retain" in told
    assert "relative-down-1: all of down (768 weights)" in told
    assert {p.name for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--axis", "regions"), "read only with --evaluate"),
        (("--device", "cpu"), "read only with --evaluate"),
        ((), "no target is named"),
        (("--evaluate", "none.yaml"), "no such file"),
        (("--evaluate", "no_such_module:f"), "cannot be imported"),
        (("--evaluate", "math:fsun"), "did you mean 'fsum'"),
        (("--evaluate", "math:pi"), "not a function"),
        (("--evaluate", "eval.yaml", "--by", "interpolate"), "control of every sweep"),
        (("--evaluate", "eval.yaml", "--top", "0"), "no share above 0"),
        (("--evaluate", "eval.yaml", "--strength", "1"), "--strength has no meaning"),
        (("--evaluate", "eval.yaml", "--device", "nonsense"), "--device"),
    ],
)
def test_mistakes_are_said(pair, texts, capsys, flags, message: str) -> None:
    assert call("restore", *pair, *flags, "--quiet") == 2
    assert message in capsys.readouterr().err


def test_without_transformers_the_extra_is_named(pair, texts, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert call("restore", *pair, "--evaluate", texts) == 2
    assert 'pip install "imprint[models]"' in capsys.readouterr().err
