"""Facts: subjects, relations and answers, with templates that ask for them."""

from __future__ import annotations

from imprint.formats.facts.fact_set import FACTS, FactSet
from imprint.formats.facts.leakage import FLAGS, Leak, flag
from imprint.formats.facts.reading import read_facts
from imprint.formats.facts.synonyms import Synonyms, accepted, paper_synonyms, read_synonyms
from imprint.formats.facts.templates import Templates, own_templates, read_templates

__all__ = [
    "FACTS",
    "FLAGS",
    "FactSet",
    "Leak",
    "Synonyms",
    "Templates",
    "accepted",
    "flag",
    "own_templates",
    "paper_synonyms",
    "read_facts",
    "read_synonyms",
    "read_templates",
]
