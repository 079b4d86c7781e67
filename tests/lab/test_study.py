"""A study from its YAML to its report: trained, resumed, the same twice, refused where wrong."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path

import jsonschema
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from imprint.cli import run
from imprint.lab.config import load_config
from imprint.lab.study import describe, open_study, perform, study
from imprint.tables import ITEMS, conform
from lab.tiny_study import write_study
from tests_support import HOSTILE

TABLES = ("items", "scores", "checkpoints")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("study")
    config = write_study(folder / "in")
    study(load_config(config, given={"workers": 2, "threads": 1}), out=folder / "run")
    return config, folder / "run"


def table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "tables" / f"{name}.parquet")


def test_result_fits_its_schema(done: tuple[Path, Path]) -> None:
    schema = json.loads((files("imprint.lab") / "study.schema.json").read_text())
    result = json.loads((done[1] / "result.json").read_text())
    jsonschema.validate(result, schema)
    assert len(result["checkpoints"]) == 9
    assert result["undecided"] > 0


def test_the_folder_is_whole(done: tuple[Path, Path]) -> None:
    names = {path.name for path in done[1].iterdir()}
    assert {"report.html", "summary.md", "manifest.json", "models.csv", "tables"} <= names
    manifest = json.loads((done[1] / "manifest.json").read_text())
    assert manifest["timings"].keys() == manifest["peak_memory_by_part"].keys()
    assert manifest["peak_memory_by_part"]["chapter rankings"] > 0
    assert "torch" in manifest["computed_by"]
    units = table(done[1], "units")
    assert (units["peak_bytes"] > 0).all()
    conform(table(done[1], "items"), ITEMS, done[1])


def test_checkpoints_are_there_at_every_stage(done: tuple[Path, Path]) -> None:
    rows = table(done[1], "checkpoints")
    assert rows["stage"].value_counts(sort=True).to_dict(as_series=False) == {
        "stage": ["pretrained", "sft", "rl"],
        "count": [4, 4, 1],
    }
    assert all((Path(model) / "config.json").is_file() for model in rows["model"])


def test_again_builds_nothing_and_says_the_same(done: tuple[Path, Path]) -> None:
    before = {name: table(done[1], name) for name in TABLES}
    built = {path: path.stat().st_mtime_ns for path in done[1].glob("units/*/unit.json")}
    perform(open_study(load_config(done[0], given={"workers": 2, "threads": 1}), done[1]))
    assert {p: p.stat().st_mtime_ns for p in done[1].glob("units/*/unit.json")} == built
    for name, frame in before.items():
        assert_frame_equal(table(done[1], name), frame)


def test_one_worker_gives_the_same_tables(done: tuple[Path, Path], tmp_path: Path) -> None:
    study(load_config(done[0], given={"workers": 1, "threads": 1}), out=tmp_path)
    for name in ("items", "scores"):
        assert_frame_equal(table(tmp_path, name), table(done[1], name))


def test_a_seed_changes_the_tables(done: tuple[Path, Path], tmp_path: Path) -> None:
    study(load_config(done[0], given={"seed": 1}), out=tmp_path)
    ours, theirs = (table(folder, "items")["confidence"] for folder in (tmp_path, done[1]))
    assert not ours.equals(theirs)


def test_dry_run_tells_and_writes_nothing(tmp_path: Path) -> None:
    told = describe(open_study(load_config(), tmp_path / "out"))
    assert "18 units" in told
    assert "minutes" in told
    assert not (tmp_path / "out").exists()


def test_a_pair_of_checkpoints(
    done: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table(done[1], "checkpoints")
    base, tuned = (rows.filter(pl.col("stage") == s)["model"][0] for s in ("pretrained", "sft"))
    questions = str(done[0].parent / "colours.jsonl")
    flags = ["--base", base, "--tuned", tuned, "--benchmarks", questions]
    flags += ["--analyses", "rankings,knowledge", "--workers", "1", "--json", "--quiet"]
    assert run(["study", *flags, "--out", str(tmp_path)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["checkpoints"]) == 2
    missing = [text for chapter in result["chapters"] for text in chapter["missing"]]
    assert any("Facts are missing" in text for text in missing)
    assert "--preset" not in result["headline"]  # no preset trains more than a given pair


def test_prune_leaves_a_study_whole(done: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(done[1], folder)
    stale = folder / "units" / f"old-{'0' * 16}"
    stale.mkdir()
    (stale / "unit.json").write_text('{"seconds": 1, "peak_bytes": 1}')
    before = {path.parent.name for path in folder.glob("units/*/unit.json")} - {stale.name}
    flags = {"workers": 2, "threads": 1, "prune": True}
    study(load_config(done[0], given=flags), out=folder)
    assert not stale.exists()
    assert {path.parent.name for path in folder.glob("units/*/unit.json")} == before


def test_a_mistake_is_said_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.yaml").write_text("scalez: {}\n")
    assert run(["study", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "o")]) == 2
    told = capsys.readouterr().err
    assert "did you mean 'scales'" in told
    assert "Traceback" not in told


def test_a_checkpoint_that_is_not_there_replaces_no_report(
    done: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(done[1], folder, ignore=shutil.ignore_patterns("units"))
    before = (folder / "report.html").read_bytes()
    base = table(done[1], "checkpoints")["model"][0]
    flags = ["--base", base, "--tuned", str(tmp_path / "absent"), "--out", str(folder)]
    assert run(["study", *flags]) == 2
    assert "absent" in capsys.readouterr().err
    assert (folder / "report.html").read_bytes() == before


def test_a_device_that_is_not_here_is_said_before_anything_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_study(tmp_path / "in"))
    flags = ["--device", "cuda:99", "--out", str(tmp_path / "o")]
    assert run(["study", path, *flags, "--dry-run"]) == 0
    assert run(["study", path, *flags]) == 2
    assert "cuda:99" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_rows_that_cannot_be_trained_on_are_refused_before_anything_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_study(tmp_path / "in")
    (tmp_path / "in" / "sft.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    assert run(["study", str(path), "--out", str(tmp_path / "o")]) == 2
    told = capsys.readouterr().err
    assert "sft.jsonl, line 1: the row has no text 'text'" in told
    assert not (tmp_path / "o").exists()


def test_hostile_names_are_shown_as_they_are(done: tuple[Path, Path], tmp_path: Path) -> None:
    made = table(done[1], "checkpoints").filter(pl.col("replicate") == "0")
    called = dict(zip(made["unit"].unique(maintain_order=True), HOSTILE[1:], strict=False))
    rows = made.filter(pl.col("stage") != "rl").select(
        "model",
        "stage",
        unit=pl.col("unit").replace(called),
        scale=pl.lit(HOSTILE[0]),
        parameters="parameters",
    )
    rows.write_csv(tmp_path / "models.csv")
    questions = tmp_path / "<img src=x onerror=alert(1)>.jsonl"
    shutil.copy(done[0].parent / "colours.jsonl", questions)
    flags = ["--models", str(tmp_path / "models.csv"), "--benchmarks", str(questions)]
    out = tmp_path / "out"
    assert run(["study", *flags, "--workers", "1", "--quiet", "--out", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "<script>alert(1)" not in page
    assert "<img src=x" not in page
    units = json.loads((out / "result.json").read_text())["checkpoints"]
    assert {row["unit"] for row in units} == set(called.values())
