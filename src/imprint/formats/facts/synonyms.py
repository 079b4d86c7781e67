"""Other names under which an answer counts as given."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from imprint.errors import DataError
from imprint.formats.json_input import load_json

OWN = Path(__file__).with_name("synonyms.json")
Synonyms = dict[str, tuple[str, ...]]


@cache
def paper_synonyms() -> Synonyms:
    """Give the 29 objects with other names of arXiv 2509.16596, Table 12 (CC BY 4.0).

    Some are loose where a substring counts: "Korea" also accepts North Korea, "Cambridge" the
    towns elsewhere.
    """
    return read_synonyms(OWN)


def read_synonyms(path: Path) -> Synonyms:
    """Read ``{"synonyms": {OBJECT: [NAME, …]}}``.

    Raises:
        DataError: the file is not of that shape.
    """
    found = load_json(path)
    table = found.get("synonyms") if isinstance(found, dict) else None
    if not isinstance(table, dict):
        raise DataError('no "synonyms" found', where=str(path))
    for name, others in table.items():
        if not isinstance(others, list) or not all(isinstance(o, str) and o for o in others):
            raise DataError("the synonyms are no list of texts", where=f"{path}, {name}")
    return {name: tuple(others) for name, others in table.items()}


def accepted(answers: list[str], synonyms: Synonyms) -> list[str]:
    """Give all names that count: the answers, and the synonyms of the canonical one.

    >>> accepted(["New York City"], {"New York City": ("New York",)})
    ['New York City', 'New York']
    """
    return list(dict.fromkeys([*answers, *synonyms.get(answers[0], ())]))
