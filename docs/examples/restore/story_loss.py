"""Scores for `imprint restore … --evaluate story_loss:score`, by transformers alone."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FILES = {"dev": "stories-dev.jsonl", "test": "stories-test.jsonl", "retain": "book.txt"}


@cache
def texts(split: str) -> list[str]:
    """Read the texts of a split."""
    content = (Path("texts") / FILES[split]).read_text(encoding="utf-8")
    if split == "retain":
        return content.strip().split("\n\n")
    return [json.loads(line)["text"] for line in content.splitlines()]


def score(model: Any, tokenizer: Any, split: str) -> list[float]:
    """Give the mean log-probability per token of each text of `dev`, `test` or `retain`."""
    found = []
    for text in texts(split):
        ids = tokenizer(text, return_tensors="pt").input_ids[:, :512].to(model.device)
        found.append(-float(model(ids, labels=ids).loss))
    return found
