"""Observed changes and labels on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imprint.errors import ConfigError, DataError
from imprint.forecast.labels import read_labels
from imprint.forecast.observed import accuracy_before, read_observed


def test_a_table_of_changes(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    path.write_text("domain,change,se,base_accuracy\nlaw,-1.5,.3,0.4\nphysics,2,.4,0.5\n")
    (found,) = read_observed([path]).values()
    assert found.domains == ("law", "physics")
    assert found.change.tolist() == [-1.5, 2]
    assert found.se is not None
    assert found.se.tolist() == [0.3, 0.4]
    assert accuracy_before([path]) == {"law": 0.4, "physics": 0.5}
    assert accuracy_before([]) == {}


def test_changes_of_several_sets(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    path.write_text("domain,change,sft\nlaw,1,a\nlaw,2,b\n")
    found = read_observed([path])
    assert {name: seen.change.tolist() for name, seen in found.items()} == {"a": [1], "b": [2]}
    assert found["a"].se is None
    path.write_text("domain,change\nlaw,1\nlaw,2\n")
    with pytest.raises(DataError, match=r"line 3.*'law' has two changes"):
        read_observed([path])


def test_two_tables_of_scores(tmp_path: Path) -> None:
    before, after = tmp_path / "before.csv", tmp_path / "after.csv"
    before.write_text("unit,benchmark,accuracy,accuracy_se\nm,law,0.5,0.03\nm,physics,0.25,0.04\n")
    after.write_text("unit,benchmark,accuracy,accuracy_se\nm,physics,0.5,0.03\nm,law,0.25,0.04\n")
    (found,) = read_observed([before, after]).values()
    assert found.domains == ("law", "physics")
    assert found.change.tolist() == [-0.25, 0.25]
    assert found.se is not None
    assert found.se.tolist() == pytest.approx([0.05, 0.05])
    assert accuracy_before([before, after]) == {"law": 0.5, "physics": 0.25}
    other = tmp_path / "other.csv"
    other.write_text("unit,benchmark,accuracy\nm,chess,0.5\n")
    with pytest.raises(DataError, match=r"shares no benchmark"):
        read_observed([before, other])
    with pytest.raises(ConfigError, match=r"3 times"):
        read_observed([before, after, other])


def test_a_change_that_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    path.write_text("domain,change\nlaw,much\n")
    with pytest.raises(DataError, match=r"line 2.*'much'"):
        read_observed([path])


def test_labels(tmp_path: Path) -> None:
    entries = [
        {"modelId": "m", "layer": "5", "index": "7", "description": " digits "},
        {"index": 9, "description": "law"},
        {"index": "7", "description": "second"},
    ]
    listed, lines, nested = (tmp_path / name for name in ("a.json", "b.jsonl", "c.json"))
    listed.write_text(json.dumps(entries))
    lines.write_text("\n".join(map(json.dumps, entries)))
    nested.write_text(json.dumps({"explanations": entries}))
    for path in (listed, lines, nested):
        assert read_labels(path) == {7: "digits", 9: "law"}
    lines.write_text('{"index": "7"}')
    with pytest.raises(DataError, match=r"line 1.*expected an index and a description"):
        read_labels(lines)
    listed.write_text("[]")
    with pytest.raises(DataError, match=r"holds no labels"):
        read_labels(listed)
