"""Conversations as texts: both sides read them by a template of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imprint.drift import drift
from imprint.drift.conversations import Conversation, last_answer
from imprint.drift.texts import read_samples
from imprint.models import Prompting, prompter

TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
FAST: dict[str, Any] = {"resamples": 100, "quiet": True}
Write = Callable[..., Path]


def turns(*texts: str, system: str | None = None) -> list[dict[str, str]]:
    roles = ["user", "assistant"] * len(texts)
    said = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]
    return [*([{"role": "system", "content": system}] if system else []), *said]


def test_the_last_assistant_turn_is_the_answer(write: Write) -> None:
    rows = [
        {"messages": turns("a", "b", "c", "d", system="s")},
        {"messages": turns("a", "b", "c")},
        {"messages": [{"role": "assistant", "content": "b"}]},
        {"prompt": turns("a"), "completion": [{"role": "assistant", "content": "b"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, *turns("x")]},
    ]
    found = [read_samples(write([row]))[0] for row in rows[:4]]
    assert [sample.text for sample in found] == ["d", "b", "b", "b"]
    assert found[0].conversation == Conversation("c", (("a", "b"),), "s")
    assert found[1].conversation == found[3].conversation == Conversation("a")
    assert found[2].conversation is found[2].prompt is None
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "user", "content": parts}, *turns("", "c")[1:]]
    assert last_answer(messages, "here") == (Conversation("ab"), "c")


def test_each_side_renders_it(tmp_path: Path) -> None:
    path = tmp_path / "t.jinja"
    path.write_text(TEMPLATE)
    talk = Conversation("c", (("a", "b"),), "own")
    plain = prompter(Prompting("none", "given"))
    chat = prompter(Prompting(str(path), "given"))
    assert talk.context(plain) == "own\n\na b\n\nc"
    assert talk.context(chat) == "[system]own[user]a[assistant]b[user]c[assistant]"
    assert Conversation("c").context(chat) == "[system]given[user]c[assistant]"


def test_a_conversation_is_what_its_rendering_is(pair: Any, write: Write) -> None:
    talk = write([{"messages": turns("the cat", "sat on", "the dog", "ran")}], "talk.jsonl")
    text = write([{"prompt": "the cat sat on\n\nthe dog ", "completion": "ran"}], "text.jsonl")
    ways = [drift(pair.base, pair.tuned, texts=path, **FAST) for path in (talk, text)]
    assert ways[0].tables["drift"].equals(ways[1].tables["drift"])


def test_a_template_on_one_side_alone(pair: Any, write: Write, tmp_path: Path) -> None:
    path = tmp_path / "t.jinja"
    path.write_text("{% for m in messages %}{{ m['content'] }}{% endfor %} : ")
    talk = write([{"messages": turns("the cat", "sat")}])
    found = drift(pair.base, pair.tuned, texts=talk, chat_template_tuned=str(path), **FAST)
    tokens = [token.strip() for token in found.tables["drift"]["token"]]
    assert tokens == ["", "s", "a", "t"]


def test_prompts_may_end_with_a_user(pair: Any, write: Write) -> None:
    rows = [{"messages": turns("the cat")}, {"messages": turns("the cat", "sat", "a dog")}]
    found = drift(pair.base, pair.tuned, on_policy=write(rows), max_new_tokens=4, **FAST)
    assert found.tables["on_policy_sequences"]["prompt"].n_unique() == 2
    text = drift(
        pair.base,
        pair.tuned,
        on_policy=write([{"text": "the cat"}, {"text": "the cat sat\n\na dog"}]),
        max_new_tokens=4,
        **FAST,
    )
    assert text.tables["on_policy"].equals(found.tables["on_policy"])


@pytest.mark.parametrize("rename", [{"messages": "conversations"}])
def test_another_name(write: Write, rename: dict[str, str]) -> None:
    path = write([{"conversations": turns("a", "b")}])
    assert read_samples(path, rename=rename)[0].text == "b"
