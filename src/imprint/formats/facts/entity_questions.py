"""EntityQuestions (arXiv 2109.08535): folders of ``<split>/<relation>.<split>.json[.gz]``."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from imprint.errors import ConfigError, DataError, nearest
from imprint.findings import Finding
from imprint.formats.facts.fact_set import FactSet, checked_answers, fact_id, frame_of
from imprint.formats.facts.templates import SLOT, own_templates
from imprint.formats.json_input import load_json, need, parse_json

# the location-like relations that arXiv 2509.16596 trains on, and those outside its domain
IN_DOMAIN = ("P17", "P19", "P20", "P36", "P69", "P131", "P159", "P276", "P495", "P740")
OUT_OF_DOMAIN = (
    "P112", "P127", "P170", "P175", "P176", "P26", "P40",
    "P413", "P50", "P136", "P106", "P264", "P407", "P800",
)  # fmt: skip
SPLITS = {
    f"{split}{suffix}": (split, relations)
    for suffix, relations in (("", IN_DOMAIN), ("_ood", OUT_OF_DOMAIN))
    for split in ("train", "dev", "test")
}
DEFAULT = ("train", "test", "test_ood")


def is_entity_questions(path: Path) -> bool:
    """Tell whether a folder is laid out as EntityQuestions is."""
    return any(next(path.glob(f"{split}/P*.{split}.json*"), None) for split in ("test", "train"))


def read_entity_questions(path: Path, splits: Sequence[str] = DEFAULT) -> FactSet:
    """Read facts as arXiv 2509.16596 counts them.

    Records with exactly one answer are kept; of equal question texts within a split the first in
    the order of relations stays. This gives the paper's 75,944, 9,555 and 11,613 facts; its text
    does not state the rule.

    Args:
        path: the folder that holds ``train``, ``dev``, ``test``.
        splits: of ``train``, ``dev``, ``test`` (ten relations) and the same with ``_ood`` (the
            other fourteen).

    Raises:
        ConfigError: an unknown split.
        DataError: a file is missing, damaged, or not as EntityQuestions writes it.
    """
    frames, findings = [], []
    for name in splits:
        if name not in SPLITS:
            raise ConfigError(f"--split {name!r}: {nearest(name, SPLITS)}")
        split, relations = SPLITS[name]
        rows = [row for r in relations for row in _records(path, r, split, name)]
        kept = [row for row in rows if len(row["answers"]) == 1]
        frame, _ = frame_of(kept, f"{path}, {name}")
        frame = frame.unique("question", keep="first", maintain_order=True)
        detail = (
            f"{name}: {len(rows):,} records, {len(kept):,} with one answer, {len(frame):,} after "
            "dropping repeated questions"
        )
        findings.append(Finding("filter", detail, "info", count=len(frame)))
        frames.append(frame)
    if not frames:
        raise ConfigError("no split is named")
    facts = pl.concat(frames)
    return FactSet(facts, {r: own_templates()[r] for r in facts["relation"].unique()}, findings)


def _records(path: Path, relation: str, split: str, name: str) -> Iterator[dict[str, Any]]:
    file = _file(path, relation, split)
    found = _load(file)
    if not isinstance(found, list):
        raise DataError("expected a list of records", where=str(file))
    question = own_templates()[relation].question
    before, after = (question or SLOT).split(SLOT)
    for number, record in enumerate(found, 1):
        where = f"{file}, record {number}"
        if not isinstance(record, dict):
            raise DataError("expected an object", where=where)
        asked: str = need(record, "question", str, where)
        answers = checked_answers(need(record, "answers", list, where), where)
        if not (asked.startswith(before) and asked.endswith(after)):
            raise DataError(f"the question {asked!r} is not of the form {question!r}", where=where)
        yield {
            "fact": fact_id(relation, name, asked, *answers),
            "relation": relation,
            "subject": asked[len(before) : len(asked) - len(after)],
            "answers": answers,
            "question": asked,
            "split": name,
            "prompts": None,
        }


def _file(path: Path, relation: str, split: str) -> Path:
    plain = path / split / f"{relation}.{split}.json"
    for file in (plain, plain.with_name(f"{plain.name}.gz")):
        if file.is_file():
            return file
    raise DataError("no such file", where=str(plain), remedy="name other splits with --split.")


def _load(path: Path) -> Any:
    if path.suffix != ".gz":
        return load_json(path)
    try:
        return parse_json(gzip.decompress(path.read_bytes()), str(path))
    except (OSError, EOFError, zlib.error) as broken:
        raise DataError(f"cannot be unpacked: {broken}", where=str(path)) from broken
