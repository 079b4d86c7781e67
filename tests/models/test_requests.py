from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imprint.errors import DataError
from imprint.models import Loaded, load
from imprint.models.local import windows
from imprint.models.requests import Encoder, cut
from models_support import CONTEXT, tiny


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> Loaded:
    return load(tiny(tmp_path_factory.mktemp("model") / "m"), device="cpu")


@pytest.fixture(scope="module")
def encoder(loaded: Loaded) -> Encoder:
    return Encoder(loaded)


def test_blanks_at_the_end_of_a_context_go_to_the_continuation(encoder: Encoder) -> None:
    blank = encoder.encode("a b")[1]
    before, after = encoder.pair("ab  ", "c")
    assert before == encoder.encode("ab")
    assert after == [blank, blank, *encoder.encode("c")]


@pytest.mark.parametrize("context", ["", "  "])
def test_an_empty_context_is_the_start_token(encoder: Encoder, context: str) -> None:
    before, after = encoder.pair(context, "ab")
    assert before == [0]
    assert after == encoder.encode(context + "ab")


def test_a_continuation_that_begins_with_the_start_token_is_split_there(encoder: Encoder) -> None:
    assert encoder.pair("", "<s>ab") == ([0], encoder.encode("ab"))


def test_without_start_and_end_token_an_empty_context_is_refused(loaded: Loaded) -> None:
    from copy import deepcopy

    tokenizer = deepcopy(loaded.tokenizer)
    tokenizer.bos_token = None
    assert Encoder(replace(loaded, tokenizer=tokenizer)).prefix == 1
    tokenizer.eos_token = None
    with pytest.raises(DataError, match="neither a start- nor an end-of-text token"):
        Encoder(replace(loaded, tokenizer=tokenizer)).pair("", "a")


def test_what_has_no_token_is_refused(encoder: Encoder, loaded: Loaded) -> None:
    with pytest.raises(DataError, match="no token of its own after the context that ends 'abc'"):
        encoder.pair("abc", "")
    with pytest.raises(DataError, match="has no tokenizer"):
        Encoder(replace(loaded, tokenizer=None)).pair("a", "b")


def test_too_long_contexts_are_cut_from_the_left_and_counted(encoder: Encoder) -> None:
    assert encoder.limit == CONTEXT
    fits = encoder.request("a" * (CONTEXT - 2), "bbb")
    assert (len(fits.ids), fits.cut) == (CONTEXT, 0)
    over = encoder.request("c" + "a" * 40, "bbb")
    assert (len(over.ids), over.cut, len(over.targets)) == (CONTEXT, 41 + 3 - CONTEXT - 1, 3)
    with pytest.raises(DataError, match=r"continuation .b+. has 33 tokens, the model reads 32"):
        encoder.request("a", "b" * 33)


@given(st.lists(st.integers(0, 9), max_size=30), st.lists(st.integers(0, 9), min_size=1))
def test_cutting_keeps_the_end(context: list[int], continuation: list[int]) -> None:
    found = cut(context, continuation, limit := max(12, len(continuation)))
    whole = context + continuation
    assert [*found.ids, found.targets[-1]] == whole[found.cut :]
    assert len(found.ids) <= limit


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 20))
def test_windows_score_every_token_once(length: int, limit: int) -> None:
    ids = list(range(1, length + 1))
    found = windows(ids, 0, limit)
    assert [token for one in found for token in one.targets] == ids
    assert all(len(one.ids) <= limit for one in found)
    assert all(one.ids[-1] + 1 == one.targets[-1] for one in found)


def test_where_the_config_tells_no_limit_the_tokenizer_may(tmp_path: Path, monkeypatch) -> None:
    loaded = load(tiny(tmp_path / "m"), device="cpu")
    monkeypatch.setattr(Loaded, "context", None)
    loaded.tokenizer.model_max_length = 77
    assert Encoder(loaded).limit == 77
    assert Encoder(loaded, max_length=9).limit == 9
