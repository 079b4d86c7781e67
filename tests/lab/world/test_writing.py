"""A world on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from imprint.cli import run
from imprint.formats.facts.own_rows import read_own_rows
from imprint.formats.facts.templates import read_templates
from imprint.lab.world import World, WorldConfig, write_world
from imprint.lab.world.writing import CORPORA

SMALL = WorldConfig(seed=0, documents=200)
# sha256 of the files of that world: they change only with VERSION and a line in the changelog
PINS = {
    "corpora/web_raw.jsonl": "443b55006840cf1c",
    "corpora/web_filtered.jsonl": "f92e506cde5b9dbf",
    "corpora/web_scored.jsonl": "803b78b557868706",
    "corpora/code.jsonl": "921ef04829acd78d",
    "corpora/curated.jsonl": "d13bd030b5d6aec3",
    "facts.jsonl": "a7a782708ab3d3cb",
    "templates.json": "087e34c4b53fa088",
    "held_out.jsonl": "8e7b52cc1e590c1f",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    write_world(SMALL, out)
    return out


def test_bytes_are_pinned(written) -> None:
    found = {name: hashlib.sha256((written / name).read_bytes()).hexdigest()[:16] for name in PINS}
    assert found == PINS


def test_rows_are_lines_of_json(written) -> None:
    for name, (register, _) in CORPORA.items():
        lines = (written / "corpora" / f"{name}.jsonl").read_bytes().split(b"\n")
        assert lines.pop() == b""
        assert len(lines) == SMALL.counts[name]
        for line in lines:
            row = json.loads(line)
            assert set(row) == {"text", "register", "domain"}
            assert row["register"] == register


def test_mastery_reads_facts_and_templates(written) -> None:
    facts = read_own_rows(written / "facts.jsonl").facts
    assert set(facts["split"]) == {"train", "test", "ood"}
    assert facts["fact"].n_unique() == facts.height
    templates = read_templates(written / "templates.json")
    assert set(facts["relation"]) == set(templates)
    assert {len(one.statements) for one in templates.values()} == {21}


def test_frequencies_are_mentions_of_ten_thousand(written) -> None:
    rows = [json.loads(line) for line in (written / "facts.jsonl").read_text().splitlines()]
    assert abs(sum(row["frequency"] for row in rows) - 10_000) < 10


def test_the_command_writes_a_whole_folder(tmp_path, capsys) -> None:
    out = tmp_path / "w"
    assert run(["world", "--out", str(out), "--documents", "20", "--quiet", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((out / "world.json").read_text())
    assert told["documents"]["web_raw"] == 20
    assert json.loads((out / "manifest.json").read_text())["job"] == "world"
    assert not (out / ".work").exists()
    # the same again takes the place of the first
    assert run(["world", "--out", str(out), "--documents", "30", "--seed", "1"]) == 0
    assert "1,304 facts" in capsys.readouterr().out
    assert json.loads((out / "world.json").read_text())["seed"] == 1


def test_the_command_and_the_function_write_the_same(tmp_path, written) -> None:
    assert run(["world", "--out", str(tmp_path / "w"), "--documents", "200", "--quiet"]) == 0
    for path in written.rglob("*"):
        if path.is_file():
            name = path.relative_to(written)
            assert (tmp_path / "w" / name).read_bytes() == path.read_bytes(), name


def test_an_interrupted_run_leaves_nothing_half_written(tmp_path, monkeypatch) -> None:
    def cut(*_: object) -> Iterator[tuple[str, str]]:
        yield "a fig is food .", "food"
        raise KeyboardInterrupt

    out, command = tmp_path / "w", ["world", "--out", str(tmp_path / "w"), "--documents", "5"]
    with monkeypatch.context() as patched:
        patched.setattr(World, "documents", cut)
        assert run(command) == 130
    assert [path.name for path in out.iterdir()] == [".work"]
    assert run(command) == 0
    assert (out / "corpora" / "curated.jsonl").read_text().count("\n") == 3


def test_a_dry_run_writes_nothing(tmp_path, capsys) -> None:
    assert run(["world", "--out", str(tmp_path / "w"), "--dry-run"]) == 0
    assert "12,000 documents" in capsys.readouterr().out
    assert not (tmp_path / "w").exists()


def test_a_configuration_file_is_read_and_flags_win(tmp_path, capsys) -> None:
    (tmp_path / "c.yaml").write_text("size: standard\ndocuments: 5\n")
    command = ["world", "--config", str(tmp_path / "c.yaml"), "--documents", "7", "--dry-run"]
    assert run(command) == 0
    told = capsys.readouterr().out
    assert "standard world" in told
    assert "web_raw.jsonl: 7 documents" in told


@pytest.mark.parametrize("wrong", [["--documents", "0"], ["--size", "huge"]])
def test_mistakes_are_told(tmp_path, capsys, wrong) -> None:
    assert run(["world", "--out", str(tmp_path / "w"), *wrong]) == 2
    assert wrong[0].removeprefix("--") in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_a_folder_of_something_else_is_refused(tmp_path, capsys) -> None:
    (tmp_path / "facts.jsonl").write_text("mine")
    assert run(["world", "--out", str(tmp_path), "--documents", "5"]) == 2
    assert (tmp_path / "facts.jsonl").read_text() == "mine"
    assert "facts.jsonl" in capsys.readouterr().err
