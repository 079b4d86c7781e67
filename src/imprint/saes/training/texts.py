"""Texts for an SAE: read, drawn, and cut into windows of tokens."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprint.errors import ConfigError, DataError
from imprint.models import Loaded
from imprint.tables import load_frame, row_place

Ids = list[int]
LONGEST = 256  # tokens of a window, where none is asked for
PAIRS = (("prompt", "completion"), ("prompt", "answer"), ("question", "answer"))


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of tokens, each as the model reads it.

    Attributes:
        rows: token ids; the first is BOS where the tokenizer begins with it.
        bos: whether it does.
        length: of a window.
    """

    rows: list[Ids]
    bos: bool
    length: int

    @property
    def tokens(self) -> int:
        """How many tokens they hold, BOS not counted."""
        return sum(len(row) - self.bos for row in self.rows)

    def split(self, share: float) -> tuple[Windows, Windows]:
        """Give the first windows, and of the last at least the share, one at least."""
        cut = len(self.rows) - max(1, round(share * len(self.rows)))
        parts = self.rows[:cut], self.rows[cut:]
        return Windows(parts[0], self.bos, self.length), Windows(parts[1], self.bos, self.length)


def text_files(path: Path) -> list[Path]:
    """List the files that texts are read from: the file, or the ``.txt`` files of a folder.

    Raises:
        DataError: there is none.
    """
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.rglob("*.txt") if p.is_file())
    if not found:
        raise DataError("the folder holds no .txt file", where=str(path))
    return found


def read_texts(path: Path) -> list[str]:
    """Read texts: paragraphs of a ``.txt`` (or of those of a folder), or rows of a table.

    A row of ``.jsonl``, ``.parquet`` or ``.csv`` has ``text``, or ``prompt`` and ``completion`` (or
    ``answer``), which are read one after the other.

    Raises:
        DataError: a file cannot be read, or a row has no text; the message names its place.
    """
    found = [text for file in text_files(path) for text in _of_file(file)]
    if not found:
        raise DataError("the file holds no text", where=str(path))
    return found


def drawn(texts: Sequence[str], limit: int | None, seed: int) -> list[str]:
    """Shuffle texts, and keep so many of them."""
    order = list(texts)
    random.Random(seed).shuffle(order)  # noqa: S311
    return order[:limit]


def cut(loaded: Loaded, texts: Sequence[str], window: int | None, most: int | None) -> Windows:
    """Cut texts, one after the other, into windows of one length; what is left over is dropped.

    Args:
        loaded: the model and its tokenizer.
        texts: the texts.
        window: tokens of a window; by default the model's context, at most 256.
        most: stop at so many tokens.

    Raises:
        ConfigError: the window is longer than the model's context.
        DataError: there is no tokenizer, or not one window of text.
    """
    if loaded.tokenizer is None:
        raise DataError("has no tokenizer beside the model", where=str(loaded.folder))
    length = _length(loaded, window)
    start = _bos(loaded.tokenizer)
    rows: list[Ids] = []
    rest: Ids = []
    step = length - len(start)
    for text in texts:
        rest += loaded.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        while len(rest) >= step:
            rows.append([*start, *rest[:step]])
            rest = rest[step:]
            if most is not None and len(rows) * step >= most:
                return Windows(rows, bool(start), length)
    if not rows and len(rest) > 1:
        rows.append([*start, *rest])
    if not rows:
        raise DataError("the texts hold no token that could be read")
    return Windows(rows, bool(start), length)


def _length(loaded: Loaded, window: int | None) -> int:
    context = loaded.context
    if window is None:
        return min(LONGEST, context or LONGEST)
    if context is not None and window > context:
        raise ConfigError(f"--window {window} is more than the model's context of {context}")
    return window


def _bos(tokenizer: Any) -> Ids:
    """Give what the tokenizer puts before every text: BOS, or nothing."""
    bos = tokenizer.bos_token_id
    plain = tokenizer("a").input_ids
    return [bos] if bos is not None and plain[:1] == [bos] else []


def _of_file(file: Path) -> Iterator[str]:
    if file.suffix != ".txt":
        yield from _rows(file)
        return
    try:
        whole = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError("no such file", where=str(file)) from None
    except UnicodeDecodeError as wrong:
        raise DataError(f"is not UTF-8: {wrong.reason}", where=str(file)) from wrong
    except OSError as failed:
        raise DataError(f"cannot be read: {failed.strerror}", where=str(file)) from failed
    yield from (part.strip() + "\n\n" for part in re.split(r"\n\s*\n", whole) if part.strip())


def _rows(file: Path) -> Iterator[str]:
    frame = load_frame(file)
    columns: tuple[str, ...] = ("text",)
    if "text" not in frame.columns:
        columns = next((pair for pair in PAIRS if set(pair) <= set(frame.columns)), ())
    if not columns:
        raise DataError(
            "has neither 'text' nor 'prompt' and 'completion'; its columns: "
            f"{', '.join(frame.columns[:12])}",
            where=str(file),
        )
    for number, row in enumerate(frame.select(columns).iter_rows()):
        if not all(isinstance(part, str) for part in row) or not "".join(row).strip():
            raise DataError(f"{columns[-1]!r} is no text", where=row_place(file, number))
        yield "\n".join(row) + "\n\n"
