"""Our own tokenizer."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from imprint.errors import CheckpointError, ConfigError, DataError  # noqa: E402
from imprint.lab.tokenizer import Kind, copy_tokenizer, train_tokenizer  # noqa: E402

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ODD = "naïve Ω — 日本語\n\ttab  two <b> 'q' 12"


def lexicon() -> list[str]:
    dice = random.Random(0)  # noqa: S311
    return ["".join(dice.choices(LETTERS, k=dice.randint(2, 8))) for _ in range(500)]


def texts() -> list[str]:
    dice = random.Random(1)  # noqa: S311
    return [" ".join([*dice.choices(lexicon(), k=20), "."]) for _ in range(300)]


def opened(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)


def test_a_closed_lexicon_takes_a_token_per_word(tmp_path: Path) -> None:
    found = opened(train_tokenizer(texts(), 1024, tmp_path))
    ids = found(texts()[0])["input_ids"]
    assert len(ids) == 22
    assert ids[0] == found.bos_token_id
    assert len(found) <= 1024


@pytest.mark.parametrize("kind", ["words", "bpe"])
def test_any_text_comes_back(tmp_path: Path, kind: Kind) -> None:
    found = opened(train_tokenizer(texts(), 400, tmp_path, kind))
    assert len(found) <= 400
    ids = found(ODD)["input_ids"]
    assert found.decode(ids, skip_special_tokens=True).removeprefix(" ") == ODD


def test_a_small_vocabulary_is_filled_with_merges(tmp_path: Path) -> None:
    found = opened(train_tokenizer(texts(), 400, tmp_path))
    assert type(found.backend_tokenizer.model).__name__ == "BPE"
    assert len(found) == 400


def test_chat_marks_what_the_assistant_says(tmp_path: Path) -> None:
    found = opened(train_tokenizer(texts(), 1024, tmp_path))
    ask, answer = lexicon()[0], lexicon()[1]
    turns = [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
    made = found.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    tokens = found.convert_ids_to_tokens(made["input_ids"])
    assert tokens == ["<|bos|>", "<|user|>", f"Ġ{ask}", "<|assistant|>", f"Ġ{answer}", "<|eos|>"]
    assert made["assistant_masks"] == [0, 0, 0, 0, 1, 1]
    asked = found.apply_chat_template(turns[:1], add_generation_prompt=True, return_dict=True)
    assert asked["input_ids"] == made["input_ids"][:4]


def test_same_texts_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        train_tokenizer(texts(), 500, tmp_path / name)
    a, b = ((tmp_path / name / "tokenizer.json").read_bytes() for name in "ab")
    assert a == b


def test_unfit_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not hold"):
        train_tokenizer(texts(), 100, tmp_path)
    with pytest.raises(DataError, match="no text"):
        train_tokenizer([], 400, tmp_path)
    with pytest.raises(CheckpointError, match="no tokenizer"):
        copy_tokenizer(tmp_path / "absent", tmp_path / "out")


def test_a_given_tokenizer_is_copied(tmp_path: Path) -> None:
    first = train_tokenizer(texts(), 500, tmp_path / "a")
    copy_tokenizer(first, tmp_path / "b")
    assert opened(tmp_path / "b")(ODD)["input_ids"] == opened(first)(ODD)["input_ids"]
