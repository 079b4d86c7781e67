"""Tokens and positions: windows, spans, prompts that differ per side, tokenizers that differ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from imprint.drift.config import DriftConfig
from imprint.drift.pieces import Cutter, chunks
from imprint.drift.texts import Sample
from imprint.drift.tokenizers import compare
from imprint.errors import DataError
from imprint.models.prompting import Prompter, Prompting
from models_support import letters_tokenizer, transformers


def cutter(
    limit: int = 30, templates: tuple[str | None, str | None] = (None, None), **settings: Any
) -> Cutter:
    prompters = tuple(Prompter(Prompting(), text) for text in templates)
    config = DriftConfig(**settings)
    return Cutter(letters_tokenizer(), letters_tokenizer(), prompters, limit, config)  # type: ignore[arg-type]


def spelled(ids: Any) -> str:
    return "".join(letters_tokenizer().convert_ids_to_tokens(list(ids)))


def test_every_token_of_a_long_text_is_predicted_once() -> None:
    text = "abcdefghijklmnopqrstuvwxyz"
    work = cutter(limit=7)
    pieces = work.cut([Sample("0", text)])
    assert "".join(spelled(p.targets) for p in pieces) == text
    assert [n for p in pieces for n in p.positions] == list(range(1, 27))
    assert all(len(p.base) <= 8 for p in pieces)
    assert [f.check for f in work.findings()] == ["text_in_windows"]
    for piece in pieces:
        assert tuple(piece.base[n] for n in piece.base_at) == piece.targets


def test_answers_alone_or_all() -> None:
    sample = Sample("0", "the cat sat", spans=((4, 7),))
    assert spelled(cutter().cut([sample])[0].targets) == "cat"
    assert spelled(cutter(positions="all").cut([sample])[0].targets) == "the cat sat"
    with pytest.raises(DataError, match="names no answer"):
        cutter(positions="answer").cut([Sample("0", "plain", place="f, line 1")])


def test_a_prompt_is_read_and_not_compared() -> None:
    (piece,) = cutter().cut([Sample("0", " y", prompt="what is x")])
    assert spelled(piece.targets) == " y"
    assert spelled(piece.base).endswith("what is x y")


def test_each_side_has_its_own_prompt() -> None:
    sample = Sample("0", " end", prompt="base says", tuned_prompt="say")
    (piece,) = cutter().cut([sample])
    assert spelled(piece.base).endswith("base says end")
    assert spelled(piece.tuned).endswith("say end")
    assert spelled(piece.tuned[n] for n in piece.tuned_at) == " end"


def test_an_answer_behind_the_prompts_last_blank() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    names = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({name: n for n, name in enumerate(names)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokens = transformers.PreTrainedTokenizerFast(tokenizer_object=inner)
    work = replace(cutter(), base=tokens, tuned=tokens)
    (piece,) = work.cut([Sample("0", "yes no", prompt="q: ", spans=((4, 6),))])
    assert tokens.decode(piece.targets) == "no"


def test_a_template_on_one_side() -> None:
    template = "u {{ messages[0]['content'] }} a"
    (piece,) = cutter(templates=(None, template)).cut([Sample("0", " x", prompt="q")])
    assert (spelled(piece.base), spelled(piece.tuned)) == ("q x", "u q a x")
    assert piece.targets == tuple(piece.tuned[n] for n in piece.tuned_at)


def test_a_prompt_that_is_too_long_loses_its_beginning() -> None:
    work = cutter(limit=6)
    (piece,) = work.cut([Sample("0", " yes", prompt="abcdefghij")])
    assert (spelled(piece.base), spelled(piece.targets)) == ("hij yes", " yes")
    assert "prompt_cut" in [f.check for f in work.findings()]


def test_a_completion_that_is_too_long_is_left_out_and_said() -> None:
    work = cutter(limit=4)
    samples = [Sample("0", " abcdefgh", prompt="q"), Sample("1", " a", prompt="q")]
    assert [p.sample for p in work.cut(samples)] == [1]
    assert "completion_too_long" in [f.check for f in work.findings()]


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(DataError, match="no position is left"):
        cutter(limit=2).cut([Sample("0", " abcdef", prompt="q")])


def test_chunks_hold_all_pieces_in_order() -> None:
    pieces = cutter(limit=5).cut([Sample(str(n), "abcdefghijk") for n in range(9)])
    found = chunks(pieces, tokens=20)
    assert [p for chunk in found for p in chunk] == pieces
    assert all(sum(p.tokens for p in chunk) <= 20 for chunk in found)


def test_equal_tokenizers_agree() -> None:
    assert compare(letters_tokenizer(), letters_tokenizer(), ["abc"], "t") == []


def test_more_tokens_are_said_and_moved_tokens_refused() -> None:
    base, more, moved = (letters_tokenizer() for _ in range(3))
    more.add_tokens(["<pad>"])
    assert [f.check for f in compare(base, more, ["abc"], "t")] == ["more_tokens"]
    from tokenizers import Tokenizer

    text = moved.backend_tokenizer.to_str()
    text = text.replace('"a":3', '"a":30').replace('"b":4', '"b":3').replace('"a":30', '"a":4')
    moved = type(base)(tokenizer_object=Tokenizer.from_str(text), unk_token="<unk>")  # noqa: S106
    with pytest.raises(DataError, match=r"2 tokens have other ids.*'a' is 3 in the base and 4"):
        compare(base, moved, ["abc"], "t")


def test_texts_cut_in_two_ways_are_refused() -> None:
    base, other = letters_tokenizer(), letters_tokenizer()
    other.add_tokens(["ab"])
    with pytest.raises(DataError, match=r"cuts a text otherwise.*\['a', 'b', 'c'\].*\['ab', 'c'\]"):
        compare(base, other, ["abc"], "t")
