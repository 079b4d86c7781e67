"""Any file or folder of facts to one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from imprint.errors import ConfigError, DataError
from imprint.formats.facts.entity_questions import (
    DEFAULT,
    is_entity_questions,
    read_entity_questions,
)
from imprint.formats.facts.fact_set import FactSet
from imprint.formats.facts.lre import is_lre, read_lre
from imprint.formats.facts.own_rows import read_own_rows
from imprint.formats.facts.pararel import find_pararel, read_pararel
from imprint.formats.json_input import load_json

LINES = (".jsonl", ".ndjson")
FORMS = (
    "expected a folder of EntityQuestions, LRE relations (.json files) or ParaRel, one LRE file, "
    "or JSON lines of facts."
)


def read_facts(
    path: Path, splits: Sequence[str] = (), rename: Mapping[str, str] | None = None
) -> FactSet:
    """Read facts; what they are is told from names and content.

    Args:
        path: a folder of EntityQuestions, LRE relations or ParaRel, an LRE file, or JSON lines.
        rename: our field → the name in JSON lines (``--map ours=theirs``).
        splits: keep these; of EntityQuestions by default ``train``, ``test``, ``test_ood``.

    Raises:
        ConfigError: an unknown split.
        DataError: nothing to read, or a file that is damaged or of another form.
    """
    if rename and path.suffix not in LINES:
        raise ConfigError("--map renames fields of JSON lines only", where=str(path))
    if path.is_dir():
        if is_entity_questions(path):
            return read_entity_questions(path, splits or DEFAULT)
        return _chosen(_folder(path), splits, path)
    if not path.is_file():
        raise DataError("no such file", where=str(path), remedy="check the path.")
    if path.suffix == ".json":
        if not is_lre(load_json(path)):
            raise DataError("facts of an unknown form", where=str(path), remedy=FORMS)
        return _chosen(read_lre([path]), splits, path)
    if path.suffix not in LINES:
        problem = f"a file of the kind {path.suffix!r} is not read as facts"
        raise DataError(problem, where=str(path), remedy=FORMS)
    return _chosen(read_own_rows(path, rename), splits, path)


def _folder(path: Path) -> FactSet:
    pararel = find_pararel(path)
    if pararel:
        return read_pararel(*pararel)
    files = [file for file in sorted(path.glob("**/*.json")) if is_lre(load_json(file))]
    if not files:
        raise DataError("no facts found", where=str(path), remedy=FORMS)
    return read_lre(files)


def _chosen(found: FactSet, splits: Sequence[str], path: Path) -> FactSet:
    if not splits:
        return found
    facts = found.facts.filter(found.facts["split"].is_in(list(splits)))
    if not len(facts):
        named = ", ".join(found.facts["split"].drop_nulls().unique().sort()) or "none"
        raise ConfigError(
            f"no fact is in split {', '.join(splits)}; the splits are: {named}", where=str(path)
        )
    return FactSet(facts, found.templates, found.findings)
