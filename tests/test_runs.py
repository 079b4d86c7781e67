from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import polars as pl
import pytest

from imprint import runs
from imprint.errors import ConfigError, DataError
from imprint.runs import Run, dump_json, write_atomic


def frame() -> dict[str, pl.DataFrame]:
    return {"t": pl.DataFrame({"x": [1, 2]})}


def finish(run: Run) -> None:
    run.finish(tables=frame(), files={"result.json": "{}"}, notes={"note": 1})


def test_a_run_appears_whole_with_its_manifest(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("a\n1\n")
    run = Run(tmp_path / "out", "transfer", {"k": 1}, [source], seed=3)
    finish(run)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["fingerprint"] == run.fingerprint
    assert manifest["seed"] == 3
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert manifest["inputs"] == [{"path": str(source), "bytes": 4, "sha256": digest}]
    assert (
        pl.read_parquet_metadata(tmp_path / "out/tables/t.parquet")["imprint_run"]
        == run.fingerprint
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "manifest.json",
        "result.json",
        "tables",
    ]


def test_nothing_shows_before_the_end(tmp_path: Path) -> None:
    run = Run(tmp_path / "out", "transfer", {})
    run.unit("one", frame)
    assert [p.name for p in (tmp_path / "out").iterdir()] == [".work"]


def test_finished_units_are_taken_from_the_ledger(tmp_path: Path) -> None:
    Run(tmp_path, "transfer", {"k": 1}).unit("one", frame)
    again = Run(tmp_path, "transfer", {"k": 1})
    found = again.unit("one", lambda: pytest.fail("computed twice"))
    assert found["t"].equals(frame()["t"])
    assert again.resumed == ["one"]


def test_a_unit_cut_short_is_done_again(tmp_path: Path) -> None:
    run = Run(tmp_path, "transfer", {"k": 1})
    run.unit("one", frame)
    ledger = next((tmp_path / ".work").iterdir())
    (ledger / "one" / "done").unlink()
    called = []
    Run(tmp_path, "transfer", {"k": 1}).unit("one", lambda: called.append(1) or frame())
    assert called == [1]


@pytest.mark.parametrize("changed", [{"settings": {"k": 2}}, {"seed": 1}])
def test_changed_settings_forget_the_ledger(tmp_path: Path, changed: dict[str, object]) -> None:
    Run(tmp_path, "transfer", {"k": 1}).unit("one", frame)
    other = Run(
        tmp_path, "transfer", changed.get("settings", {"k": 1}), seed=changed.get("seed", 0)
    )  # type: ignore[arg-type]
    assert other.unit("one", frame)
    assert other.resumed == []


def test_changed_inputs_change_the_fingerprint(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("a")
    first = Run(tmp_path / "o", "transfer", {}, [source]).fingerprint
    source.write_text("b")
    assert Run(tmp_path / "o", "transfer", {}, [source]).fingerprint != first


def test_an_earlier_run_is_replaced_and_another_job_refused(tmp_path: Path) -> None:
    finish(Run(tmp_path, "transfer", {}))
    (tmp_path / "mine.txt").write_text("kept")
    finish(Run(tmp_path, "transfer", {"k": 2}))
    assert (tmp_path / "mine.txt").read_text() == "kept"
    with pytest.raises(ConfigError, match="something else"):
        Run(tmp_path, "mastery", {})
    with pytest.raises(ConfigError, match="is a file"):
        Run(tmp_path / "mine.txt", "transfer", {})


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "b.txt", "text")
    assert (tmp_path / "a" / "b.txt").read_text() == "text"
    with pytest.raises(DataError, match="cannot be written"):
        write_atomic(tmp_path / "a" / "b.txt" / "c.txt", "text")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_json_refuses_what_no_reader_parses() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        dump_json({"x": float("nan")})


def test_large_files_are_told_apart_by_a_sample(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(runs, "LARGE", 10)
    source = tmp_path / "weights"
    source.write_bytes(bytes(3 << 20))
    first = runs.file_identity(source)
    assert first == runs.file_identity(source)
    assert "sha256" not in first
    assert "sample" in runs.describe_input(first)
    with source.open("r+b") as handle:
        handle.seek(-1, 2)
        handle.write(b"x")
    os.utime(source, ns=(first["modified_ns"], first["modified_ns"]))
    assert runs.file_identity(source)["sha256_of_sample"] != first["sha256_of_sample"]
