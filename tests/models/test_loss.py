from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprint.errors import DataError
from imprint.models import Loaded, load, loss, text_scores
from models_support import letters_tokenizer, tiny, torch

TEXTS = ["a cat sat.", "b", "the dog ran over the hill and far away. " * 3, "zzz zzz"]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> Loaded:
    return load(tiny(tmp_path_factory.mktemp("model") / "m"), device="cpu")


def by_hand(loaded: Loaded, text: str, window: int, bos: bool = True) -> float:
    """One position at a time, each seen with what stands before it in its window."""
    ids = ([0] if bos else []) + loaded.tokenizer(text)["input_ids"]
    found = []
    for at in range(1, len(ids)):
        start = (at - 1) // window * window
        with torch.inference_mode():
            logits = loaded.model(torch.tensor([ids[start:at]])).logits[0, -1].double()
        found.append(float(torch.log_softmax(logits, 0)[ids[at]]))
    return float(np.mean(found))


@pytest.mark.parametrize("window", [5, 32, None])
def test_scores_equal_those_of_one_position_at_a_time(loaded: Loaded, window: int | None) -> None:
    found = text_scores(loaded, TEXTS, window=window)
    expected = [by_hand(loaded, text, window or 32) for text in TEXTS]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_a_start_token_the_first_is_not_scored(loaded: Loaded) -> None:
    plain = replace(loaded, tokenizer=letters_tokenizer(bos=False))
    found = text_scores(plain, ["a cat"])
    assert found[0] == pytest.approx(by_hand(plain, "a cat", 32, bos=False), rel=1e-5)
    with pytest.raises(DataError, match="no token to score"):
        text_scores(plain, ["a cat", "a"])


def test_company_in_a_batch_changes_nothing(loaded: Loaded, monkeypatch) -> None:
    together = text_scores(loaded, TEXTS)
    monkeypatch.setattr(loss, "TOKENS", 1)
    np.testing.assert_allclose(together, text_scores(loaded, TEXTS), rtol=1e-5)
    alone = [text_scores(loaded, [text])[0] for text in TEXTS]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_half_precision_is_summed_in_full(tmp_path: Path) -> None:
    found = text_scores(load(tiny(tmp_path / "m", dtype="bfloat16"), device="cpu"), TEXTS)
    full = text_scores(load(tiny(tmp_path / "f"), device="cpu"), TEXTS)
    np.testing.assert_allclose(found, full, rtol=0.03)
    assert np.all(np.isfinite(found))


def test_without_tokenizer_texts_are_refused(loaded: Loaded) -> None:
    with pytest.raises(DataError, match="no tokenizer"):
        text_scores(replace(loaded, tokenizer=None), TEXTS)


@given(st.integers(2, 60), st.integers(1, 20))
def test_every_token_but_the_first_is_predicted_once(length: int, limit: int) -> None:
    pieces = loss.windows(range(length), limit)
    assert [token for piece in pieces for token in piece[1:]] == list(range(1, length))
    assert all(2 <= len(piece) <= limit + 1 for piece in pieces)
