"""What makes a fact too easy: its answer stands in the subject, or its question in two splits."""

from __future__ import annotations

from typing import Literal

import polars as pl

from imprint.findings import Finding

Leak = Literal["answer-in-subject", "both-splits"]
FLAGS: dict[Leak, str] = {
    "answer-in-subject": "answer_in_subject",
    "both-splits": "in_both_splits",
}


def flag(facts: pl.DataFrame) -> tuple[pl.DataFrame, list[Finding]]:
    """Add ``answer_in_subject`` (ignoring case) and ``in_both_splits``, and say how many there are.

    A question is in both splits where it stands in ``train`` and in another split.
    """
    canonical = pl.col("answers").list.first().str.to_lowercase()
    inside = pl.col("subject").str.to_lowercase().str.contains(canonical, literal=True)
    trained = facts.filter(pl.col("split") == "train")["question"].drop_nulls().unique()
    tested = facts.filter(pl.col("split") != "train")["question"].drop_nulls().unique()
    shared = trained.filter(trained.is_in(tested.implode()))
    flagged = facts.with_columns(
        answer_in_subject=inside.fill_null(value=False),
        in_both_splits=pl.col("question").is_in(shared.implode()).fill_null(value=False),
    )
    told = {
        "answer_in_subject": "have the answer inside the subject, where echoing counts as knowing",
        "in_both_splits": "ask a question that stands in train and in another split",
    }
    counts = {name: int(flagged[name].sum()) for name in told}
    return flagged, [
        Finding(name, f"{n:,} facts {told[name]}", count=n) for name, n in counts.items() if n
    ]
