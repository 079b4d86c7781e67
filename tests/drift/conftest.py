"""A tiny base, a model near it, and texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from models_support import tiny

TEXTS = [
    {"id": "cat", "domain": "animals", "text": "the cat sat on the mat."},
    {"id": "dog", "domain": "animals", "text": "a dog ran after it and barked at the moon."},
    {"id": "sun", "domain": "sky", "text": "the sun is a star."},
    {"id": "rain", "domain": "sky", "text": "rain fell on the roof all day and all of the night."},
    {"id": "x", "text": "abc"},
]


class Pair(NamedTuple):
    base: Path
    tuned: Path
    texts: Path


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    base = tiny(folder / "base")
    tuned = tiny(folder / "tuned", near=base, seed=1)
    texts = folder / "texts.jsonl"
    texts.write_text("".join(json.dumps(row) + "\n" for row in TEXTS))
    return Pair(base, tuned, texts)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write rows as JSON lines."""

    def make(rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return make
