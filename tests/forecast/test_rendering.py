"""The query's own tokens are the same bare and behind demonstrations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imprint.errors import DataError
from imprint.forecast.material import Text
from imprint.forecast.rendering import Rendered, check_aligned, render, scrambled
from imprint.models.prompting import Prompter, Prompting
from models_support import letters_tokenizer, transformers
from tests_support import HOSTILE

CHAT = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
SHOTS = (Text("1", "", "ab", "c"), Text("2", "", "de f", "g"))
QUERY = Text("q", "x", "hi jk", "never shown", "file.jsonl:3")


def prompter(template: str | None = None, system: str | None = None) -> Prompter:
    return Prompter(Prompting(system_prompt=system), template, {"bos_token": "<s>"})


@pytest.mark.parametrize("template", [None, CHAT], ids=["plain", "chat"])
@pytest.mark.parametrize("system", [None, "be kind"])
def test_the_query_has_the_same_tokens_in_both_contexts(template, system) -> None:
    tokenizer, how = letters_tokenizer(), prompter(template, system)
    bare = render(tokenizer, how, QUERY)
    shown = render(tokenizer, how, QUERY, SHOTS)
    check_aligned(bare, shown)
    own = tuple(tokenizer("hi jk", add_special_tokens=False)["input_ids"])
    assert bare.content == shown.content == own
    assert len(shown.ids) > len(bare.ids)
    # what stands behind the query is the same too: template alone
    assert bare.ids[bare.query.stop :] == shown.ids[shown.query.stop :]


@pytest.mark.parametrize("template", [None, CHAT], ids=["plain", "chat"])
def test_all_tokens_together_are_those_of_the_text(template) -> None:
    """A tokenizer of letters has no token over an edge."""
    tokenizer, how = letters_tokenizer(), prompter(template)
    shots = [(one.prompt, one.answer) for one in SHOTS]
    text = how.context(QUERY.prompt, shots)
    expected = tokenizer(text, add_special_tokens=False)["input_ids"]
    found = list(render(tokenizer, how, QUERY, SHOTS).ids)
    assert found == (expected if template else [0, *expected])


def test_bos_and_template_are_outside_the_span_and_bos_is_there_once() -> None:
    tokenizer = letters_tokenizer()
    for how in (prompter(), prompter(CHAT)):
        row = render(tokenizer, how, QUERY)
        assert row.ids[0] == 0
        assert row.ids.count(0) == 1
        assert 0 not in row.query
    assert render(tokenizer, prompter(), QUERY, bos=False).query.start == 0
    plain = render(letters_tokenizer(bos=False), prompter(), QUERY)
    assert plain.query.start == 0


def test_an_answer_stands_behind_and_the_own_one_never_by_itself() -> None:
    tokenizer = letters_tokenizer()
    row = render(tokenizer, prompter(), QUERY, answer="lm")
    assert row.answer is not None
    assert tokenizer.decode(row.ids[row.answer.start : row.answer.stop]).split() == ["l", "m"]
    assert row.query.stop <= row.answer.start
    assert render(tokenizer, prompter(), QUERY).answer is None
    assert len(render(tokenizer, prompter(), QUERY).ids) == row.query.stop


@pytest.mark.parametrize("words", HOSTILE)
def test_any_words_of_a_user_are_aligned(words: str) -> None:
    tokenizer = letters_tokenizer()
    text = Text("q", "x", words)
    for how in (prompter(), prompter(CHAT, "{{ system }}")):
        check_aligned(render(tokenizer, how, text), render(tokenizer, how, text, [*SHOTS, text]))


def test_a_template_that_repeats_or_drops_prompts_is_refused() -> None:
    for template in ("{{ messages[-1].content * 2 }}", "{{ messages[-1].content | lower }}"):
        with pytest.raises(DataError, match=r"file\.jsonl:3: the chat template changes the words"):
            render(letters_tokenizer(), prompter(template), QUERY)


def test_shuffled_tokens_are_as_many_and_leave_the_query_alone() -> None:
    tokenizer = letters_tokenizer()
    rows = [render(tokenizer, prompter(), one, SHOTS) for one in (QUERY, Text("o", "", "zz"))]
    found = [scrambled(r, tokenizer.all_special_ids, np.random.default_rng(1)) for r in rows]
    for before, after in zip(rows, found, strict=True):
        assert len(before.ids) == len(after.ids)
        assert before.content == after.content
        assert after.ids[0] == 0
        assert sorted(before.ids) == sorted(after.ids)
    assert found[0].ids != rows[0].ids
    start = rows[0].query.start
    assert found[0].ids[:start] == found[1].ids[:start]


def test_unaligned_tokens_are_an_error() -> None:
    with pytest.raises(DataError, match="other tokens behind demonstrations"):
        check_aligned(Rendered((1, 2), range(2)), Rendered((1, 3), range(2)))


@pytest.mark.shared
def test_a_real_tokenizer_is_aligned(shared: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(shared / "models" / "stories260K")
    for words in ("Once upon a time", " a\n\nb ", "é 漢 🎈", "1 + 1 = 2"):
        text = Text("q", "", words)
        bare, shown = (render(tokenizer, prompter(), text, s) for s in ((), SHOTS))
        check_aligned(bare, shown)
        assert tokenizer.decode(bare.content).strip() == words.strip()
