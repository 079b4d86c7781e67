"""Names that others gave to latents: an export of Neuronpedia, as JSON or JSON lines."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imprint.errors import DataError

INDICES = ("index", "feature", "latent")
WORDS = ("description", "label", "explanation")


def read_labels(path: Path) -> dict[int, str]:
    """Read what latents are called: latent → its first description.

    Each entry has ``index`` (or ``feature``, ``latent``) and ``description`` (or ``label``,
    ``explanation``). A JSON file holds a list of them, or has it under ``explanations``.

    Raises:
        DataError: the file cannot be read, or an entry lacks either.
    """
    found: dict[int, str] = {}
    for place, entry in _entries(path):
        index = next((entry[name] for name in INDICES if entry.get(name) is not None), None)
        words = next((entry[name] for name in WORDS if entry.get(name) is not None), None)
        if index is None or not isinstance(words, str) or not str(index).isdigit():
            raise DataError(
                f"expected an index and a description, found {', '.join(map(str, entry))}",
                where=place,
                remedy="give an export of Neuronpedia: explanations with index and description.",
            )
        found.setdefault(int(index), words.strip())
    if not found:
        raise DataError("holds no labels", where=str(path))
    return found


def _entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as failed:
        raise DataError(f"cannot be read: {failed}", where=str(path)) from failed
    if path.name.removesuffix(".gz").endswith(".json"):
        yield from _of_list(_parsed(text, str(path)), path)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            place = f"{path}, line {number}"
            yield place, _object(_parsed(line, place), place)


def _of_list(found: Any, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    listed = found.get("explanations") if isinstance(found, dict) else found
    if not isinstance(listed, list):
        raise DataError("expected a list of explanations", where=str(path))
    for number, entry in enumerate(listed, 1):
        place = f"{path}, entry {number}"
        yield place, _object(entry, place)


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as broken:
        raise DataError(f"not JSON: {broken}", where=place) from broken


def _object(entry: Any, place: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise DataError(f"expected an object, found {type(entry).__name__}", where=place)
    return entry
