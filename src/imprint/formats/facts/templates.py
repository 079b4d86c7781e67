"""Statement templates of relations: how facts are asked for without a question.

Each statement ends where the answer begins, so that a base model goes on with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from imprint.errors import DataError
from imprint.formats.json_input import load_json

SLOT = "{subject}"
OWN = Path(__file__).with_name("templates.json")


@dataclass(frozen=True, slots=True)
class Templates:
    """The templates of one relation.

    Attributes:
        statements: each with one ``{subject}``, ending right before the object.
        question: with one ``{subject}``, where there is one.
    """

    statements: tuple[str, ...]
    question: str | None = None

    def prompts(self, subject: str) -> list[str]:
        """Fill the subject into every statement."""
        return [statement.replace(SLOT, subject) for statement in self.statements]

    def ask(self, subject: str) -> str | None:
        """Fill the subject into the question."""
        return self.question.replace(SLOT, subject) if self.question else None


@cache
def own_templates() -> dict[str, Templates]:
    """Give the templates of the package: 21 statements for each EntityQuestions relation.

    The questions are those of EntityQuestions (MIT), the statements are ours.
    """
    return read_templates(OWN)


def read_templates(path: Path) -> dict[str, Templates]:
    """Read templates from JSON.

    The file holds ``{"relations": {ID: {"question": "…", "statements": ["…", …]}}}`` with one
    ``{subject}`` in each; the question may be absent.

    Raises:
        DataError: the file is not of that shape, or a template has not exactly one slot.
    """
    found = load_json(path)
    relations = found.get("relations") if isinstance(found, dict) else None
    if not isinstance(relations, dict) or not relations:
        raise DataError(
            "no templates found",
            where=str(path),
            remedy='write {"relations": {"ID": {"question": "…", "statements": ["…"]}}}.',
        )
    return {name: _templates(entry, f"{path}, {name}") for name, entry in relations.items()}


def checked(template: Any, where: str, *, slot: str = SLOT) -> str:
    """Give a template without blanks at its end.

    Raises:
        DataError: it is no text, or has not exactly one slot.
    """
    if not isinstance(template, str):
        raise DataError(f"a template is {template!r}, not a text", where=where)
    if template.count(slot) != 1:
        raise DataError(
            f"the template {template!r} has {template.count(slot)} slots {slot}, not one",
            where=where,
        )
    return template.rstrip()


def _templates(entry: Any, where: str) -> Templates:
    statements = entry.get("statements") if isinstance(entry, dict) else None
    if not isinstance(statements, list) or not statements:
        raise DataError("the relation has no list of statements", where=where)
    kept = [checked(s, f"{where}, statement {n}") for n, s in enumerate(statements, 1)]
    if len(set(kept)) < len(kept):
        twice = next(s for s in kept if kept.count(s) > 1)
        raise DataError(f"the statement {twice!r} stands twice", where=where)
    question = entry.get("question")
    return Templates(tuple(kept), checked(question, f"{where}, question") if question else None)
