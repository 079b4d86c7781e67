"""Corpora: any text to token ids in a row, on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imprint.errors import DataError, require
from imprint.runs import dump_json, write_atomic

KINDS = (".jsonl", ".parquet", ".txt")
TOKENS, ABOUT = "tokens.npy", "about.json"
AT_ONCE = 2000  # documents that are encoded together


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus in tokens.

    Attributes:
        path: folder with ``tokens.npy`` (uint16, or uint32 for vocabularies beyond 65,536) and
            ``about.json``.
        tokens: how many, marks between documents counted.
        documents: how many.
        vocabulary: size of the tokenizer.
    """

    path: Path
    tokens: int
    documents: int
    vocabulary: int


def encode_corpus(
    source: str | Path,
    tokenizer: Path,
    out: Path,
    *,
    column: str = "text",
    tokens: int | None = None,
) -> Corpus:
    """Encode a corpus, documents one after the other, each ended by the tokenizer's EOS.

    A document begins as the tokenizer begins a text (with BOS, if it does so). The folder appears
    whole.

    Args:
        source: a ``.jsonl``, ``.parquet`` or ``.txt`` file (a document per row, or the file), a
            folder of them, or ``hf:ORG/NAME[@REVISION][:CONFIG][:SPLIT]``.
        tokenizer: its folder.
        out: the folder to write; an earlier corpus there is replaced.
        column: of a table that holds the text.
        tokens: stop once there are so many.

    Raises:
        DataError: the source cannot be read, a row has no text, or there is none at all.
        DependencyError: transformers, or datasets for ``hf:``, is not installed.
    """
    found = require("transformers", "lab").AutoTokenizer.from_pretrained(
        tokenizer, local_files_only=True, trust_remote_code=False
    )
    kind = np.dtype(np.uint16 if len(found) <= 1 << 16 else np.uint32)
    rows, documents, total = [], 0, 0
    for ids in _encoded(read_documents(source, column), found):
        rows.append(np.asarray(ids, kind))
        documents, total = documents + 1, total + len(ids)
        if tokens is not None and total >= tokens:
            break
    if not total:
        raise DataError("holds no text", where=str(source))
    corpus = Corpus(out, total, documents, len(found))
    _write(corpus, np.concatenate(rows), {"source": str(source), "column": column})
    return corpus


def open_corpus(path: Path) -> Corpus:
    """Tell what ``encode_corpus`` wrote.

    Raises:
        DataError: the folder holds no such corpus.
    """
    try:
        about = json.loads((path / ABOUT).read_text())
        return Corpus(path, about["tokens"], about["documents"], about["vocabulary"])
    except (OSError, ValueError, KeyError) as failed:
        raise DataError(f"holds no corpus: {failed}", where=str(path)) from failed


def read_documents(source: str | Path, column: str = "text") -> Iterator[str]:
    """Give the texts of a source, one after the other; see ``encode_corpus``.

    Raises:
        DataError: it cannot be read, or a row has no text; the message names the place.
    """
    if isinstance(source, str) and source.startswith("hf:") and not Path(source).exists():
        yield from _from_hub(source, column)
        return
    for file in _files(Path(source)):
        try:
            yield from _READERS[file.suffix](file, column)
        except (OSError, UnicodeDecodeError) as failed:
            raise DataError(f"cannot be read: {failed}", where=str(file)) from failed


def _encoded(documents: Iterable[str], tokenizer: Any) -> Iterator[list[int]]:
    end = tokenizer.eos_token_id
    for some in _batches(documents):
        for ids in tokenizer(some, verbose=False)["input_ids"]:
            yield ids if end is None or ids[-1:] == [end] else [*ids, end]


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    some = []
    for document in documents:
        some.append(document)
        if len(some) == AT_ONCE:
            yield some
            some = []
    if some:
        yield some


def _write(corpus: Corpus, tokens: Any, about: dict[str, Any]) -> None:
    out = corpus.path
    work = out.with_name(f".{out.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    np.save(work / TOKENS, tokens, allow_pickle=False)
    facts = {key: value for key, value in asdict(corpus).items() if key != "path"}
    write_atomic(work / ABOUT, dump_json({**facts, **about}))
    if (out / ABOUT).is_file() or (out.is_dir() and not any(out.iterdir())):
        shutil.rmtree(out)
    elif out.exists():
        shutil.rmtree(work)
        raise DataError("holds something that is no corpus", where=str(out))
    work.replace(out)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix in KINDS)
        if not found:
            raise DataError(f"the folder holds none of {', '.join(KINDS)}", where=str(path))
        return found
    if path.suffix not in KINDS:
        problem = f"files {path.suffix or 'without an ending'} are not read"
        raise DataError(problem, where=str(path), remedy=f"give one of {', '.join(KINDS)}.")
    return [path]


def _from_lines(file: Path, column: str) -> Iterator[str]:
    with file.open(encoding="utf-8") as handle:
        for number, line in enumerate(handle, 1):
            if line.strip():
                where = f"{file}:{number}"
                try:
                    row = json.loads(line)
                except ValueError as failed:
                    raise DataError(f"is no JSON: {failed}", where=where) from None
                yield _text_of(row, column, where)


def _from_parquet(file: Path, column: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        stored = pq.ParquetFile(file)
        if column not in stored.schema_arrow.names:
            raise DataError(f"has no column {column!r}", where=str(file), remedy="name the column.")
        number = 0
        for some in stored.iter_batches(columns=[column]):
            for value in some.column(0).to_pylist():
                yield _text_of({column: value}, column, f"{file}, row {number}")
                number += 1
    except pa.ArrowException as failed:
        raise DataError(f"cannot be read: {failed}", where=str(file)) from failed


def _from_text(file: Path, column: str) -> Iterator[str]:
    yield file.read_text(encoding="utf-8")


def _from_hub(source: str, column: str) -> Iterator[str]:
    """Read ``hf:ORG/NAME[@REVISION][:CONFIG][:SPLIT]``; one part after the name is a split."""
    name, *rest = source.removeprefix("hf:").split(":")
    name, _, revision = name.partition("@")
    config, split = (rest[0], rest[1]) if len(rest) > 1 else (None, rest[0] if rest else "train")
    datasets = require("datasets", "lab")
    try:
        rows = datasets.load_dataset(
            name, config, split=split, revision=revision or None, streaming=True
        )
        for number, row in enumerate(rows):
            yield _text_of(row, column, f"{source}, row {number}")
    except (OSError, ValueError) as failed:
        raise DataError(f"cannot be read: {failed}", where=source) from failed


def _text_of(row: Any, column: str, where: str) -> str:
    value = row.get(column) if isinstance(row, dict) else None
    if not isinstance(value, str):
        problem = f"has no text under {column!r}"
        raise DataError(problem, where=where, remedy="name the column that holds the text.")
    return value


_READERS = {".jsonl": _from_lines, ".parquet": _from_parquet, ".txt": _from_text}
