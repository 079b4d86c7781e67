"""ParaRel (arXiv 2102.01017): ``graphs_json/P*.jsonl`` patterns, ``trex_lms_vocab`` pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imprint.errors import DataError
from imprint.findings import Finding
from imprint.formats.facts.fact_set import FactSet, checked_answers, fact_id, frame_of
from imprint.formats.facts.templates import SLOT, Templates
from imprint.formats.json_input import need, parse_lines

SUBJECT, OBJECT = "[X]", "[Y]"


def find_pararel(path: Path) -> tuple[Path, Path] | None:
    """Find the folders of patterns and of pairs in or below a folder."""
    patterns = next((p for p in sorted(path.glob("**/graphs_json")) if p.is_dir()), None)
    pairs = next((p for p in sorted(path.glob("**/trex_lms_vocab")) if p.is_dir()), None)
    return (patterns, pairs) if patterns and pairs else None


def read_pararel(patterns: Path, pairs: Path) -> FactSet:
    """Read subject-object pairs with the patterns that end in the object.

    Patterns go from left to right only where the object comes last; the others, and relations
    without any that does, are left out with a finding.

    Raises:
        DataError: a line is not of that form; the message names file and line.
    """
    rows: list[dict[str, Any]] = []
    templates, skipped, left_out = {}, 0, []
    for path in sorted(pairs.glob("*.jsonl")):
        relation = path.stem
        statements, others = _statements(patterns / path.name)
        skipped += others
        if not statements:
            left_out.append(relation)
            continue
        templates[relation] = Templates(statements)
        rows += _rows(relation, path)
    facts, findings = frame_of(rows, str(pairs))
    if skipped:
        detail = f"{skipped} patterns do not end in the object and are left out"
        findings.append(Finding("patterns", detail, "info", count=skipped))
    if left_out:
        detail = f"no pattern ends in the object for {', '.join(left_out)}; left out"
        findings.append(Finding("relations_left_out", detail, count=len(left_out)))
    return FactSet(facts, templates, findings)


def _statements(path: Path) -> tuple[tuple[str, ...], int]:
    if not path.is_file():
        return (), 0
    found, others = [], 0
    with path.open("rb") as lines:
        for where, row in parse_lines(lines, str(path)):
            pattern: str = need(row, "pattern", str, where)
            if pattern.count(SUBJECT) != 1 or pattern.count(OBJECT) != 1:
                raise DataError(f"the pattern {pattern!r} has not one [X] and one [Y]", where=where)
            begin = pattern.rstrip(" .").removesuffix(OBJECT)
            if begin.endswith(" ") and SUBJECT in begin:
                found.append(begin.rstrip().replace(SUBJECT, SLOT))
            else:
                others += 1
    return tuple(dict.fromkeys(found)), others


def _rows(relation: str, path: Path) -> list[dict[str, Any]]:
    answers: dict[str, list[str]] = {}
    with path.open("rb") as lines:
        for where, row in parse_lines(lines, str(path)):
            subject = need(row, "sub_label", str, where)
            known = answers.setdefault(subject, [])
            known += checked_answers([need(row, "obj_label", str, where)], where)
    return [
        {
            "fact": fact_id(relation, subject, found[0]),
            "relation": relation,
            "subject": subject,
            "answers": list(dict.fromkeys(found)),
        }
        for subject, found in answers.items()
    ]
