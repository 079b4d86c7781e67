"""Corpora in tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from imprint.errors import DataError  # noqa: E402
from imprint.lab.corpora import encode_corpus, open_corpus, read_documents  # noqa: E402
from imprint.lab.tokenizer import train_tokenizer  # noqa: E402

DOCUMENTS = ["one two", "two three", "three"]


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    return train_tokenizer(DOCUMENTS, 300, tmp_path / "tokenizer")


def written(folder: Path, kind: str) -> Path:
    file = folder / f"corpus{kind}"
    frame = pl.DataFrame({"text": DOCUMENTS})
    if kind == ".parquet":
        frame.write_parquet(file)
    elif kind == ".jsonl":
        frame.write_ndjson(file)
    else:
        file.write_text("\n".join(DOCUMENTS))
    return file


def test_documents_stand_in_a_row(tmp_path: Path, tokenizer: Path) -> None:
    made = encode_corpus(written(tmp_path, ".jsonl"), tokenizer, tmp_path / "out")
    ids = np.load(tmp_path / "out" / "tokens.npy")
    found: Any = transformers.AutoTokenizer.from_pretrained(tokenizer)
    words = found.convert_ids_to_tokens(ids.tolist())
    expected = ["<|bos|>", "Ġone", "Ġtwo", "<|eos|>", "<|bos|>", "Ġtwo", "Ġthree", "<|eos|>"]
    assert words == [*expected, "<|bos|>", "Ġthree", "<|eos|>"]
    assert ids.dtype == np.uint16
    assert (made.tokens, made.documents, made.vocabulary) == (11, 3, len(found))
    assert open_corpus(tmp_path / "out") == made


def test_formats_agree(tmp_path: Path) -> None:
    for kind in (".jsonl", ".parquet"):
        assert list(read_documents(written(tmp_path, kind))) == DOCUMENTS
    assert list(read_documents(written(tmp_path, ".txt"))) == ["\n".join(DOCUMENTS)]
    assert len(list(read_documents(tmp_path))) == 7


def test_a_budget_ends_it(tmp_path: Path, tokenizer: Path) -> None:
    made = encode_corpus(written(tmp_path, ".jsonl"), tokenizer, tmp_path / "out", tokens=5)
    assert (made.documents, made.tokens) == (2, 8)


def test_mistakes_name_their_place(tmp_path: Path, tokenizer: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "x"}\n{"words": "y"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: has no text under 'text'"):
        encode_corpus(file, tokenizer, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    file.write_text("{")
    with pytest.raises(DataError, match=r"a\.jsonl:1: is no JSON"):
        list(read_documents(file))
    pl.DataFrame({"words": ["x"]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no column 'text'"):
        list(read_documents(tmp_path / "a.parquet"))
    (tmp_path / "a.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match="cannot be read"):
        list(read_documents(tmp_path / "a.parquet"))
    with pytest.raises(DataError, match="cannot be read"):
        list(read_documents(tmp_path / "absent.jsonl"))
    with pytest.raises(DataError, match=r"\.pdf are not read"):
        list(read_documents(tmp_path / "a.pdf"))
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match="holds no text"):
        encode_corpus(tmp_path / "empty.jsonl", tokenizer, tmp_path / "out")


def test_other_files_are_not_overwritten(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    with pytest.raises(DataError, match="no corpus"):
        encode_corpus(written(tmp_path, ".jsonl"), tokenizer, tmp_path / "out")
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_a_corpus_of_another_column(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"body": "x"}))
    assert list(read_documents(file, "body")) == ["x"]
