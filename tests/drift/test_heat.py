"""Where tokens stand in a coloured text."""

from __future__ import annotations

import polars as pl

from imprint.drift.heat import BLANK, COLUMNS, coloured_text
from imprint.drift.result import token_texts


def drawn(tokens: list[str], **options: int) -> list[dict[str, object]]:
    frame = pl.DataFrame({"token": tokens}).with_columns(
        kl=pl.lit(0.5), base_p=pl.lit(0.1), tuned_p=pl.lit(0.2), position=pl.int_range(pl.len())
    )
    datasets = coloured_text(frame, strongest=1.0, **options).to_dict()["datasets"]  # type: ignore[arg-type]
    return next(iter(datasets.values()))


def test_words_begin_behind_their_blanks() -> None:
    rows = drawn(["my", " fa", "ther"])
    assert [(r["word"], r["begin"], r["x"], r["x2"]) for r in rows] == [
        ("my", 0, 0, 2),
        ("fa", 3, 2, 5),
        ("ther", 5, 5, 9),
    ]


def test_lines_end_at_their_width_and_at_line_breaks() -> None:
    rows = drawn(["a" * 30] * 4 + ["\n", "b"])
    assert [r["line"] for r in rows] == [0, 0, 0, 1, 1, 2]
    assert rows[4]["word"] == "⏎"
    assert max(int(str(r["x2"])) for r in rows) <= COLUMNS
    assert len(drawn(["word\n"] * 99, lines=5)) == 5


def test_signs_that_turn_or_hide_text_are_dots() -> None:
    rows = drawn(["\u202eabc", "\x00", ""])
    assert [r["word"] for r in rows] == ["·abc", "·", "·"]
    assert BLANK not in str(rows[0]["word"])


def test_tokens_keep_the_blank_in_front() -> None:
    class Pieces:
        def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
            return {"input_ids": [9]}

        def decode(self, ids: list[int]) -> str:
            # like a SentencePiece decoder, which drops the first blank of a text
            return "".join({9: " a", 1: " the", 2: "re", 3: ""}[i] for i in ids).lstrip()

        def convert_ids_to_tokens(self, token: int) -> str:
            return f"<{token}>"

    assert token_texts(Pieces(), [1, 2, 3, 1]) == {1: " the", 2: "re", 3: "<3>"}
