"""Facts: EntityQuestions as the paper counts it, and the other forms."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path

import polars as pl
import pytest

from imprint.errors import ConfigError, DataError
from imprint.formats.facts import (
    accepted,
    flag,
    own_templates,
    paper_synonyms,
    read_facts,
    read_synonyms,
    read_templates,
)

TRAIN = {
    "P17": 7953, "P19": 7988, "P20": 7981, "P36": 6642, "P69": 6760,
    "P131": 7682, "P159": 7949, "P276": 7645, "P495": 7843, "P740": 7501,
}  # fmt: skip
TEST = {
    "P17": 996, "P19": 999, "P20": 999, "P36": 863, "P69": 840,
    "P131": 965, "P159": 992, "P276": 967, "P495": 992, "P740": 942,
}  # fmt: skip
OOD = {
    "P112": 466, "P127": 987, "P170": 845, "P175": 977, "P176": 971, "P26": 951, "P40": 801,
    "P413": 998, "P50": 967, "P136": 965, "P106": 918, "P264": 955, "P407": 623, "P800": 189,
}  # fmt: skip


def counts(frame: pl.DataFrame, split: str) -> dict[str, int]:
    kept = frame.filter(pl.col("split") == split)["relation"].value_counts()
    return dict(kept.iter_rows())


@pytest.mark.shared
def test_entity_questions_is_counted_as_in_the_paper(shared: Path) -> None:
    found = read_facts(shared / "facts" / "entity_questions")
    assert counts(found.facts, "train") == TRAIN
    assert counts(found.facts, "test") == TEST
    assert counts(found.facts, "test_ood") == OOD
    assert (sum(TRAIN.values()), sum(TEST.values()), sum(OOD.values())) == (75_944, 9_555, 11_613)
    assert found.facts["fact"].n_unique() == 97_112
    assert set(found.templates) == set(TRAIN) | set(OOD)
    again = [own_templates()[r].ask(s) for r, s in found.facts["relation", "subject"].iter_rows()]
    assert again == found.facts["question"].to_list()


@pytest.mark.shared
def test_leakage_flags_on_the_train_split(shared: Path) -> None:
    facts, findings = flag(read_facts(shared / "facts" / "entity_questions").facts)
    train = facts.filter(pl.col("split") == "train", pl.col("answer_in_subject"))
    assert len(train) == 7_111
    by = dict(train["relation"].value_counts().iter_rows())
    assert (by["P36"], by["P276"], by["P69"]) == (2_897, 1_939, 3)
    assert {f.check for f in findings} == {"answer_in_subject", "in_both_splits"}


@pytest.mark.shared
def test_dev_splits_and_the_questions_that_two_splits_share(shared: Path) -> None:
    root = shared / "facts" / "entity_questions"
    assert len(read_facts(root, ["train_ood"]).facts) == 91_526
    dev = read_facts(root, ["dev", "dev_ood"]).facts
    assert dict(dev["split"].value_counts().iter_rows()) == {"dev": 9_580, "dev_ood": 11_563}
    assert counts(dev, "dev")["P36"] == 873
    facts, _ = flag(read_facts(root, ["train", "test"]).facts)
    both = facts.filter("in_both_splits").group_by("question").agg(pl.col("split").n_unique())
    assert set(both["split"]) == {2}
    assert len(both) <= 138


@pytest.mark.shared
def test_lre_and_pararel(shared: Path) -> None:
    lre = read_facts(shared / "facts" / "lre_relations" / "factual" / "company_ceo.json")
    assert lre.templates["company CEO"].prompts("Tesla")[0] == "Tesla's CEO is"
    assert "Elon Musk" in lre.facts.filter(pl.col("subject") == "Tesla")["answers"][0]
    every = read_facts(shared / "facts" / "lre_relations")
    assert len(every.templates) == 47
    pararel = read_facts(shared / "facts" / "pararel")
    assert all(
        text.count("{subject}") == 1 and "[Y]" not in text
        for templates in pararel.templates.values()
        for text in templates.statements
    )
    assert set(pararel.facts["relation"]) == set(pararel.templates)


def test_our_templates_are_whole() -> None:
    assert set(own_templates()) == set(TRAIN) | set(OOD)
    for templates in own_templates().values():
        assert len(templates.statements) == 21
        assert templates.question is not None
        assert templates.question.endswith("?")
        assert all(not text.endswith((".", "?", "!", " ")) for text in templates.statements)


def plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.replace("{subject}", "zzz").lower()))


@pytest.mark.shared
def test_our_templates_are_our_own(shared: Path) -> None:
    path = shared.parent / "reference" / "mapping_templates.json"
    if not path.is_file():
        pytest.skip("the published templates are not here")
    published = read_templates(path)
    assert sum(len(t.statements) for t in published.values()) == 401
    taken = {plain(text) for t in published.values() for text in t.statements}
    for relation, templates in own_templates().items():
        for text in map(plain, templates.statements):
            assert text not in taken
            for other in map(plain, published[relation].statements):
                assert difflib.SequenceMatcher(None, text, other).ratio() < 0.88, (text, other)


def test_synonyms_count_only_for_the_exact_object() -> None:
    table = paper_synonyms()
    assert len(table) == 29
    assert accepted(["New York City"], table) == ["New York City", "New York"]
    assert accepted(["new york city"], table) == ["new york city"]
    assert accepted(["Paris", "New York City"], table) == ["Paris", "New York City"]


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_own_rows_of_three_forms(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "facts.jsonl",
        {"relation": "P36", "subject": "France", "answers": ["Paris"], "split": "train"},
        {"fact": 7, "prompts": ["The sky is", "Skies are "], "answer": "blue"},
        {"question": "Who?", "answer": "Me"},
        {"prompt": "1 + 1 =", "completion": " 2"},
        {"prompt": "1 + 1 =", "completion": " 2"},
    )
    found = read_facts(path)
    assert found.facts["answers"].to_list() == [["Paris"], ["blue"], ["Me"], ["2"]]
    assert found.facts["prompts"][1].to_list() == ["The sky is", "Skies are"]
    assert found.facts["fact"][1] == "7"
    assert found.facts["question"].to_list() == [None, None, "Who?", "1 + 1 ="]
    assert [f.check for f in found.findings] == ["repeated_facts"]
    assert read_facts(path, ["train"]).facts["subject"].to_list() == ["France"]
    with pytest.raises(ConfigError, match="the splits are: train"):
        read_facts(path, ["test"])


def test_fields_are_mapped(tmp_path: Path) -> None:
    path = lines(tmp_path / "facts.jsonl", {"ask": "Who?", "solution": "Me"})
    found = read_facts(path, rename={"question": "ask", "answer": "solution"})
    assert found.facts.select("question", "answers").row(0) == ("Who?", ["Me"])
    with pytest.raises(DataError, match="'asks' is missing"):
        read_facts(path, rename={"question": "asks"})
    with pytest.raises(ConfigError, match="JSON lines only"):
        read_facts(tmp_path, rename={"question": "ask"})


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"subject": "x", "relation": "r"}, "no answer"),
        ({"subject": "x", "answers": []}, "no answer"),
        ({"subject": "x", "answers": [" "]}, "not a text"),
        ({"answers": ["x"]}, "neither subject"),
        ({"prompts": [], "answer": "x"}, "no list of texts"),
        ({"subject": 3, "answer": "x"}, "holds 3"),
        ([1], "expected an object"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: object, said: str) -> None:
    path = lines(tmp_path / "facts.jsonl", {"question": "Q", "answer": "A"}, row)
    with pytest.raises(DataError, match=said) as caught:
        read_facts(path)
    assert "line 2" in str(caught.value)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes('{"question": "Où", "answer": "ici"}\n'.encode("latin-1"))
    other = tmp_path / "other.json"
    other.write_text("{}")
    for path in (empty, latin, other, tmp_path / "absent.jsonl", tmp_path):
        with pytest.raises(DataError):
            read_facts(path)
    twice = lines(
        tmp_path / "twice.jsonl",
        {"fact": "a", "question": "Q", "answer": "A"},
        {"fact": "a", "question": "Q", "answer": "B"},
    )
    with pytest.raises(DataError, match="stands for two facts"):
        read_facts(twice)


@pytest.mark.parametrize(
    ("statement", "said"),
    [("The capital is", "0 slots"), ("{subject} and {subject} is", "2 slots"), (3, "not a text")],
)
def test_templates_without_a_slot_are_refused(tmp_path: Path, statement: object, said: str) -> None:
    path = tmp_path / "templates.json"
    path.write_text(json.dumps({"relations": {"P36": {"statements": ["{subject} is", statement]}}}))
    with pytest.raises(DataError, match=said) as caught:
        read_templates(path)
    assert "P36, statement 2" in str(caught.value)


def test_entity_questions_in_small(tmp_path: Path) -> None:
    from imprint.formats.facts.entity_questions import IN_DOMAIN, SPLITS

    for relation in IN_DOMAIN:
        (tmp_path / "test").mkdir(exist_ok=True)
        asked = own_templates()[relation].ask("Rome")
        records = [
            {"question": asked, "answers": ["one"]},
            {"question": asked, "answers": ["again"]},
            {"question": own_templates()[relation].ask("Oslo"), "answers": ["a", "b"]},
        ]
        (tmp_path / "test" / f"{relation}.test.json").write_text(json.dumps(records))
    facts = read_facts(tmp_path, ["test"]).facts
    # P131 and P276 ask the same question: the first relation keeps it
    assert facts["relation"].to_list() == [r for r in IN_DOMAIN if r != "P276"]
    with pytest.raises(ConfigError, match="did you mean 'test'"):
        read_facts(tmp_path, ["tst"])
    with pytest.raises(DataError, match="no such file"):
        read_facts(tmp_path, ["test_ood"])
    assert len(SPLITS) == 6
    bad = [{"question": "Is it?", "answers": ["x"]}]
    (tmp_path / "test" / "P17.test.json").write_text(json.dumps(bad))
    with pytest.raises(DataError, match=r"not of the form .* located in") as caught:
        read_facts(tmp_path, ["test"])
    assert "record 1" in str(caught.value)


def test_lre_rows_of_one_subject_become_one_fact(tmp_path: Path) -> None:
    relation = {
        "name": "plays",
        "prompt_templates": ["{} plays the"],
        "samples": [{"subject": "A", "object": "oboe"}, {"subject": "A", "object": "horn"}],
    }
    path = tmp_path / "plays.json"
    path.write_text(json.dumps(relation))
    found = read_facts(path)
    assert found.facts["answers"].to_list() == [["oboe", "horn"]]
    relation["prompt_templates"] = ["plays the"]
    path.write_text(json.dumps(relation))
    with pytest.raises(DataError, match="0 slots"):
        read_facts(path)


def test_synonym_files_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    path.write_text('{"synonyms": {"Rome": "Roma"}}')
    with pytest.raises(DataError, match="no list of texts"):
        read_synonyms(path)
    path.write_text("[]")
    with pytest.raises(DataError, match='no "synonyms"'):
        read_synonyms(path)


def test_files_that_are_not_utf8_are_told(tmp_path: Path) -> None:
    for name, content in (("a.jsonl", b'{"prompt": "caf\xe9"}\n'), ("b.jsonl", b"\xff\xfe\xfa")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="line 1: not UTF-8"):
            read_facts(tmp_path / name)
