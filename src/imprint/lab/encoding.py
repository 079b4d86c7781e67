"""From rows of an SFT set to tokens and the labels that are learnt from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprint.errors import DataError
from imprint.formats.questions import read_rows

MARKED = re.compile(r"{%[-+]?\s*generation\b")
IGNORED = -100  # label of a token that is read and not learnt
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Encoded:
    """An SFT set as tokens.

    Attributes:
        rows: each with ``input_ids`` and ``labels`` of equal length; ``IGNORED`` marks prompts.
        tokens, learnt: how many tokens there are, and how many are learnt from.
        cut: rows that were longer than allowed and lost their end.
        dropped: rows of which nothing to learn was left after that.
    """

    rows: list[dict[str, list[int]]]
    tokens: int
    learnt: int
    cut: int
    dropped: int


def sft_rows(rows: Sequence[Row] | str | Path) -> list[Row]:
    """Give the rows of an SFT set, read from JSON lines where a path is given.

    Raises:
        DataError: no file, no rows, or a row of no known form; the message names its place.
    """
    placed: list[tuple[str, Row]]
    if isinstance(rows, str | Path):
        placed = list(read_rows(Path(rows)))
    else:
        placed = [(f"row {at + 1}", row) for at, row in enumerate(rows)]
    if not placed:
        raise DataError("the SFT set has no rows")
    for place, row in placed:
        _check(row, place)
    return [row for _, row in placed]


def encode(tokenizer: Any, rows: Sequence[Row], max_length: int) -> Encoded:
    """Encode an SFT set as TRL does, all rows of a form in one call.

    - ``messages``: the chat template; only what it marks as generated is learnt.
    - ``prompt`` and ``completion``, both texts: the completion and an end-of-text token are learnt.
    - ``text``: everything is learnt, the end-of-text token too.

    Args:
        tokenizer: of the model.
        rows: as ``sft_rows`` gives them.
        max_length: tokens kept of a row, from its beginning.

    Raises:
        DataError: the tokenizer has no chat template or one without generation markers, or nothing
            is left to learn from.
    """
    found: list[tuple[list[int], list[int]]] = [([], [])] * len(rows)
    for form, encoder in (("messages", _chats), ("completion", _pairs), ("text", _texts)):
        places = [at for at, row in enumerate(rows) if _form(row) == form]
        if places:
            for at, one in zip(
                places, encoder(tokenizer, [rows[at] for at in places]), strict=True
            ):
                found[at] = one
    cut = sum(len(ids) > max_length for ids, _ in found)
    short = [(ids[:max_length], labels[:max_length]) for ids, labels in found]
    # the first token of a row is never predicted
    kept = [
        {"input_ids": ids, "labels": labels}
        for ids, labels in short
        if any(label != IGNORED for label in labels[1:])
    ]
    if not kept:
        raise DataError(
            f"nothing is left to learn from in {len(rows)} rows",
            remedy=f"is the answer within the first {max_length} tokens of a row?",
        )
    learnt = sum(label != IGNORED for row in kept for label in row["labels"][1:])
    tokens = sum(len(row["input_ids"]) for row in kept)
    return Encoded(kept, tokens, learnt, cut, len(short) - len(kept))


def _form(row: Row) -> str:
    if row.get("messages"):
        return "messages"
    return "completion" if "completion" in row else "text"


def _check(row: Row, place: str) -> None:
    form = _form(row)
    if form == "messages":
        messages = row["messages"]
        whole = isinstance(messages, list) and all(
            isinstance(one, Mapping) and isinstance(one.get("content"), str) and one.get("role")
            for one in messages
        )
        if not whole or messages[-1]["role"] != "assistant":
            raise DataError(
                "the messages are not a list of role and content that ends with the assistant",
                where=place,
                remedy='{"messages": [{"role": "user", "content": …}, {"role": "assistant", …}]}',
            )
        return
    needed = ("prompt", "completion") if form == "completion" else ("text",)
    for name in needed:
        if not isinstance(row.get(name), str) or (name != "prompt" and not row[name]):
            raise DataError(
                f"the row has no text {name!r}; it has {', '.join(map(str, row)) or 'nothing'}",
                where=place,
                remedy="a row has messages, or prompt and completion, or text.",
            )


def _chats(tokenizer: Any, rows: Sequence[Row]) -> list[tuple[list[int], list[int]]]:
    template = tokenizer.chat_template
    if not template or not MARKED.search(str(template)):
        lacks = "marks no part as generated" if template else "is missing"
        raise DataError(
            f"the rows are chats, and the tokenizer's chat template {lacks}",
            where=str(tokenizer.name_or_path),
            remedy="put {% generation %} … {% endgeneration %} around what the assistant says, "
            "or give rows of prompt and completion.",
        )
    found = tokenizer.apply_chat_template(
        [list(row["messages"]) for row in rows],
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    return [
        (list(ids), [token if said else IGNORED for token, said in zip(ids, mask, strict=True)])
        for ids, mask in zip(found["input_ids"], found["assistant_masks"], strict=True)
    ]


def _pairs(tokenizer: Any, rows: Sequence[Row]) -> list[tuple[list[int], list[int]]]:
    # a token across the border belongs to the completion, as TRL has it
    prompts = _ids(tokenizer, [row["prompt"] for row in rows])
    both = _ids(tokenizer, [_ended(tokenizer, row["prompt"] + row["completion"]) for row in rows])
    return [_behind(prompt, whole) for prompt, whole in zip(prompts, both, strict=True)]


def _behind(prompt: list[int], whole: list[int]) -> tuple[list[int], list[int]]:
    same = [one == other for one, other in zip(prompt, whole, strict=False)]
    begin = same.index(False) if False in same else len(same)
    return whole, [IGNORED] * begin + whole[begin:]


def _texts(tokenizer: Any, rows: Sequence[Row]) -> list[tuple[list[int], list[int]]]:
    found = _ids(tokenizer, [_ended(tokenizer, row["text"]) for row in rows])
    return [(ids, list(ids)) for ids in found]


def _ended(tokenizer: Any, text: str) -> str:
    end = tokenizer.eos_token or ""
    return text if end and text.endswith(end) else text + end


def _ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    found: list[list[int]] = tokenizer(texts, verbose=False)["input_ids"]
    return found
