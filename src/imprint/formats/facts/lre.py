"""Relations of the LRE data (arXiv 2308.09124): JSON files with templates and samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imprint.errors import DataError
from imprint.formats.facts.fact_set import FactSet, checked_answers, fact_id, frame_of
from imprint.formats.facts.templates import SLOT, Templates, checked
from imprint.formats.json_input import load_json, need

KEYS = {"name", "prompt_templates", "samples"}


def is_lre(found: Any) -> bool:
    """Tell whether parsed JSON is one relation of that data."""
    return isinstance(found, dict) and found.keys() >= KEYS


def read_lre(files: list[Path]) -> FactSet:
    """Read relations; objects that one subject has in several rows become one fact's answers.

    Zero-shot templates follow the plain ones. Those that ask a question count as statements too,
    since all end where the object begins.

    Raises:
        DataError: a file is not of that form; the message names file and sample.
    """
    rows, templates = [], {}
    for path in files:
        found = load_json(path)
        if not is_lre(found):
            raise DataError(f"expected the keys {', '.join(sorted(KEYS))}", where=str(path))
        name: str = need(found, "name", str, str(path))
        texts = [*found["prompt_templates"], *found.get("prompt_templates_zs", [])]
        filled = [checked(text, str(path), slot="{}").replace("{}", SLOT) for text in texts]
        if not filled:
            raise DataError("the relation has no templates", where=str(path))
        templates[name] = Templates(tuple(dict.fromkeys(filled)))
        rows += _rows(name, found["samples"], path)
    facts, findings = frame_of(rows, ", ".join(map(str, files[:1])))
    return FactSet(facts, templates, findings)


def _rows(relation: str, samples: Any, path: Path) -> list[dict[str, Any]]:
    if not isinstance(samples, list):
        raise DataError("the samples are no list", where=str(path))
    answers: dict[str, list[str]] = {}
    for number, sample in enumerate(samples, 1):
        where = f"{path}, sample {number}"
        if not isinstance(sample, dict):
            raise DataError("expected an object", where=where)
        subject = need(sample, "subject", str, where)
        answers.setdefault(subject, []).extend(
            checked_answers([need(sample, "object", str, where)], where)
        )
    return [
        {
            "fact": fact_id(relation, subject, found[0]),
            "relation": relation,
            "subject": subject,
            "answers": list(dict.fromkeys(found)),
        }
        for subject, found in answers.items()
    ]
