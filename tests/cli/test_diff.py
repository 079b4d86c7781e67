from __future__ import annotations

import json
from pathlib import Path

import pytest

from imprint.cli import run
from weights_support import file_bytes, llama


def save(folder: Path, seed: int) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(file_bytes(llama("BF16", seed=seed)))
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return save(tmp_path / "base", 0), save(tmp_path / "tuned", 1)


def call(*arguments: object) -> int:
    return run(["diff", *map(str, arguments)])


def test_run_folder_is_whole(pair, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert call(*pair, "--out", out, "--quiet", "--json", "--top", "0.1,0.5") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "result.json").read_text())
    assert [row["top"] for row in printed["concentration"]["absolute"]] == [0.1, 0.5]
    assert {p.name for p in out.iterdir()} == {
        "result.json", "report.html", "summary.md", "manifest.json", "tables",
    }  # fmt: skip


def test_a_dry_run_writes_nothing(pair, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert call(*pair, "--out", out, "--dry-run") == 0
    assert "in the region 'transformer'" in capsys.readouterr().out
    assert not out.exists()


def test_the_spectrum_is_told_before_and_after(pair, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert call(*pair, "--out", out, "--spectrum", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "spectrum: 14 matrices, the largest 10 × 8, each decomposed twice" in said
    assert call(*pair, "--out", out, "--spectrum", "--region", "norm", "--dry-run") == 0
    assert "spectrum: no matrix lies in the region" in capsys.readouterr().out
    assert call(*pair, "--out", out, "--spectrum", "--quiet") == 0
    assert "has an effective rank of" in capsys.readouterr().out
    assert (out / "tables" / "spectrum.parquet").is_file()
    assert json.loads((out / "result.json").read_text())["spectrum"]["matrices"] == 14


def test_a_ray_cluster_gives_the_same_result(pair, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    assert call(*pair, "--out", tmp_path / "threads", "--quiet") == 0
    ray = ("--executor", "ray", "--workers", 2)
    assert call(*pair, "--out", tmp_path / "ray", "--quiet", *ray) == 0
    one, two = (
        json.loads((tmp_path / name / "result.json").read_text()) for name in ("threads", "ray")
    )
    one.pop("fingerprint"), two.pop("fingerprint")  # it names the code, which may be edited
    assert one == two


def test_same_seed_same_result(pair, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert call(*pair, "--out", tmp_path / name, "--quiet", "--seed", 3) == 0
    one, two = ((tmp_path / name / "result.json").read_text() for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--top", "a"], "no list of ratios"),
        (["--top", "2"], "not above 0"),
        (["--eps", "0"], "eps is 0.0"),
        (["--region", "nowhere_at_all"], "no tensor lies in the region"),
        (["--rename", "x"], "REGEX=NEW"),
    ],
)
def test_mistakes_exit_with_2(pair, tmp_path: Path, capsys, more, said) -> None:
    assert call(*pair, "--out", tmp_path / "out", "--quiet", *more) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_tuned_checkpoint(pair, capsys) -> None:
    assert call(pair[0]) == 2
    assert "no tuned checkpoint" in capsys.readouterr().err
