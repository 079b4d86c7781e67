"""Reading SFT examples and domains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imprint.errors import ConfigError, DataError
from imprint.forecast.columns import Columns
from imprint.forecast.material import Text
from imprint.forecast.texts import drawn, read_domains, read_sft, without_repeats


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_prompt_and_completion(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "s.jsonl", {"prompt": "2+2?", "completion": "4", "id": "q"})
    (one,), findings = read_sft(path)
    assert (one.name, one.group, one.prompt, one.answer) == ("q", "s", "2+2?", "4")
    assert one.place.endswith("s.jsonl, line 1")
    assert findings == []


def test_messages_give_the_last_pair(tmp_path: Path) -> None:
    def say(*turns: str) -> list[dict[str, str]]:
        return [{"role": turn[0], "content": turn[1:]} for turn in turns]

    roles = {"s": "system", "u": "user", "a": "assistant"}
    turns = [
        {**t, "role": roles[t["role"]]} for t in say("sbe kind", "uhi", "ahello", "uwhy", "aso")
    ]
    path = jsonl(tmp_path / "s.jsonl", {"messages": turns}, {"messages": [*turns, turns[1]]})
    found, _ = read_sft(path)
    assert [(text.prompt, text.answer) for text in found] == [("why", "so"), ("why", "so")]
    both = jsonl(tmp_path / "b.jsonl", {"prompt": turns[:2], "completion": [turns[2]]})
    assert [(t.prompt, t.answer) for t in read_sft(both)[0]] == [("hi", "hello")]
    human = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yes"}]
    path = jsonl(tmp_path / "c.jsonl", {"conversations": human})
    assert read_sft(path)[0][0].answer == "yes"


def test_turns_that_are_not_read_are_said(tmp_path: Path) -> None:
    def row(*roles: str) -> dict[str, Any]:
        return {"messages": [{"role": role, "content": role} for role in roles]}

    plain, long = row("user", "assistant"), row("system", "user", "assistant")
    assert read_sft(jsonl(tmp_path / "a.jsonl", plain))[1] == []
    (said,) = read_sft(jsonl(tmp_path / "b.jsonl", plain, long, long))[1]
    assert said.check == "turns"
    assert said.detail.startswith("2 of 3 conversations")
    asked = jsonl(tmp_path / "d.jsonl", {"prompt": long["messages"][:2]})
    assert [one.check for one in read_domains(asked)[1]] == ["turns"]


def test_other_names_are_said_or_mapped(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "s.jsonl", {"question": "q", "answer": "a", "stem": "x"})
    (one,), findings = read_sft(path)
    assert one.answer == "a"
    assert {f.detail.split("'")[1] for f in findings} == {"question", "answer"}
    assert read_sft(path, columns=Columns({"prompt": "stem"}))[0][0].prompt == "x"


def test_a_mapped_name_must_be_in_some_file(tmp_path: Path) -> None:
    one = jsonl(tmp_path / "one.jsonl", {"prompt": "q", "gold": "a", "key": "k7"})
    other = jsonl(tmp_path / "other.jsonl", {"prompt": "p", "answer": "b"})
    columns = Columns({"answer": "gold", "id": "key"})
    found = [read_domains(path, columns=columns)[0][0] for path in (other, one)]
    assert [(text.answer, text.name) for text in found] == [("b", "0"), ("a", "k7")]
    columns.refuse_unmet()
    columns = Columns({"answer": "golf"})
    read_domains(one, columns=columns)
    with pytest.raises(DataError, match=r"one.jsonl: has no column 'golf'.*mean 'gold'"):
        columns.refuse_unmet()
    with pytest.raises(DataError, match=r"has no column 'golf'.*mean 'gold'"):
        read_sft(one, columns=Columns({"completion": "golf"}))
    with pytest.raises(ConfigError, match=r"--map anser=x: did you mean 'answer'"):
        Columns({"anser": "x"}).refuse_unmet()
    columns = Columns({"completion": "gold"})
    read_domains(one, columns=columns)
    with pytest.raises(ConfigError, match="no file is read for 'completion'"):
        columns.refuse_unmet()


def test_two_files_of_one_name_are_no_domain(tmp_path: Path) -> None:
    path, there = tmp_path / "a" / "law.jsonl", tmp_path / "b" / "law.jsonl"
    path.parent.mkdir()
    jsonl(path, {"prompt": "q", "domain": "tax"}, {"prompt": "q"})
    with pytest.raises(DataError, match=r"line 2: the domain would be called 'law', and so would"):
        read_domains(path, alike=there)
    jsonl(path, {"prompt": "q", "domain": "tax"})
    assert read_domains(path, alike=there)[0][0].group == "tax"


def test_components_of_a_mixture(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completion": "a", "source": s} for s in "xyx"]
    path = jsonl(tmp_path / "s.jsonl", *rows)
    assert [text.group for text in read_sft(path, group_by="source")[0]] == ["x", "y", "x"]
    with pytest.raises(DataError, match=r"no column 'sourc'.*did you mean 'source'"):
        read_sft(path, group_by="sourc")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [{"prompt": "q", "completion": "a"}, {"prompt": "q", "completion": " "}],
            "line 2.*no answer",
        ),
        ([{"prompt": "q"}], "prompts but no answers"),
        ([{"text": "q"}], "neither 'messages' nor 'prompt'"),
        ([{"prompt": " ", "completion": "a"}], "line 1.*no prompt"),
        ([{"messages": [{"role": "user", "content": "q"}]}], "line 1.*no answer"),
        ([{"messages": [{"role": "wizard", "content": "q"}]}], "which is not read"),
    ],
)
def test_what_sft_cannot_be_made_of(tmp_path: Path, rows: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_sft(jsonl(tmp_path / "s.jsonl", *rows))


def test_rewarded_samples(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completion": str(r), "reward": r} for r in (0, 1, 3)]
    path = jsonl(tmp_path / "r.jsonl", *rows)
    assert [text.answer for text in read_sft(path, rewarded=True)[0]] == ["3"]
    with pytest.raises(DataError, match=r"reward"):
        read_sft(jsonl(tmp_path / "n.jsonl", {"prompt": "q", "completion": "a"}), rewarded=True)


def test_domains_by_column_or_by_file(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "law.jsonl", {"prompt": "q", "domain": "tax", "answer": "a"}, {"prompt": "p"}
    )
    found, _ = read_domains(path)
    assert [(t.group, t.answer) for t in found] == [("tax", "a"), ("law", None)]
    with pytest.raises(DataError, match=r"line 2.*no prompt"):
        read_domains(jsonl(tmp_path / "x.jsonl", {"prompt": "q"}, {"prompt": ""}))
    broken = tmp_path / "bytes.jsonl"
    broken.write_bytes(b'{"prompt": "\xff"}')
    with pytest.raises(DataError, match=r"cannot be read"):
        read_domains(broken)
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(DataError, match=r"is empty"):
        read_domains(empty)


def test_repeats_are_left_out() -> None:
    one, again = Text("0", "a", "q", "x"), Text("1", "a", "q", "x")
    kept, findings = without_repeats([one, again, Text("2", "b", "q", "x")], "texts")
    assert [text.name for text in kept] == ["0", "2"]
    assert findings[0].count == 1
    assert without_repeats(kept, "texts") == (kept, [])


def test_texts_are_drawn_until_there_are_tokens_enough() -> None:
    texts = [Text(str(n), "ab"[n % 2], "q") for n in range(40)]
    kept = drawn(texts, [10] * 40, tokens=35, limit=None, seed=0)
    assert [sum(texts[n].group == g for n in kept) for g in "ab"] == [4, 4]
    assert kept[:4] == sorted(kept[:4])
    assert drawn(texts, [10] * 40, tokens=35, limit=None, seed=0) == kept
    assert drawn(texts, [10] * 40, tokens=35, limit=None, seed=1) != kept
    assert len(drawn(texts, [10] * 40, tokens=10_000, limit=3, seed=0)) == 6
