"""What a training is followed by: texts, facts, questions and domains, as tokens to score."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from imprint.drift.texts import read_samples
from imprint.errors import ConfigError, DataError
from imprint.formats.facts import own_templates, paper_synonyms, read_facts, read_templates
from imprint.formats.questions import Question, read_benchmark, read_rows
from imprint.mastery.asking import Asked, ask
from imprint.mastery.config import MasteryConfig
from imprint.mastery.scoring import texts_of
from imprint.models.load import Loaded
from imprint.models.prompting import Prompting, prompter
from imprint.models.requests import Encoder, Request, cut

Rows = Sequence[Mapping[str, Any]] | str | Path


@dataclass(frozen=True)
class Probes:
    """Inputs as they were read, at most so many of each kind.

    Attributes:
        texts: whose tokens tell drift.
        facts: with the prompts that ask for each.
        questions: with options.
        domains: domain → pairs of what is read and what is scored after it.
    """

    texts: list[str] = field(default_factory=list)
    facts: list[Asked] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    domains: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Encoded:
    """The same as tokens.

    Attributes:
        texts: tokens of each text; all but the first are predicted.
        facts: per fact its prompts.
        questions: per question its options.
        domains: domain → rows.
    """

    texts: list[Request]
    facts: list[list[Request]]
    questions: list[list[Request]]
    domains: dict[str, list[Request]]

    @property
    def fingerprint(self) -> str:
        """Tells the texts apart from others, for what is kept about them."""
        told = repr([one.ids + one.targets for one in self.texts])
        return hashlib.sha256(told.encode()).hexdigest()


def read_probes(
    texts: Sequence[str] | str | Path | None,
    facts: Rows | None,
    templates: str | Path | None,
    choices: str | Path | Sequence[str | Path] | None,
    domains: Rows | None,
    *,
    max_items: int,
    seed: int,
) -> Probes:
    """Read everything, and draw ``max_items`` of each kind (of each domain) by the seed.

    Raises:
        ConfigError: there is nothing to follow.
        DataError: a file that cannot be read, or rows that lack something.
    """
    found = Probes(
        _some(_texts(texts), max_items, seed),
        _facts(facts, templates, max_items, seed),
        _some(_questions(choices), max_items, seed),
        {name: _some(rows, max_items, seed) for name, rows in _domains(domains).items()},
    )
    if not (found.texts or found.facts or found.questions or found.domains):
        raise ConfigError(
            "there is nothing to follow", remedy="give texts, facts, choices or domains."
        )
    return found


def encode(probes: Probes, loaded: Loaded, max_tokens: int, prompts: int) -> Encoded:
    """Encode probes for a model; of each fact so many prompts, evenly over those it has.

    Raises:
        DataError: an answer or option without a token, or longer than the model reads.
    """
    encoder = Encoder(loaded)
    limit = min(max_tokens, encoder.limit)

    def pair(context: str, after: str) -> Request:
        return cut(*encoder.pair(context, after), limit)

    plain = prompter(Prompting())
    return Encoded(
        [_whole(encoder, text, limit) for text in probes.texts],
        [
            [pair(text, f" {one.answer}") for text in _evenly(texts_of(one, plain), prompts)]
            for one in probes.facts
        ],
        [_options(one, pair) for one in probes.questions],
        {name: [pair(*row) for row in rows] for name, rows in probes.domains.items()},
    )  # fmt: skip


def _evenly(texts: list[str], count: int) -> list[str]:
    kept = min(count, len(texts))
    return [texts[at * len(texts) // kept] for at in range(kept)]


def _whole(encoder: Encoder, text: str, limit: int) -> Request:
    ids = [encoder.prefix, *encoder.encode(text, special=False)][: limit + 1]
    if len(ids) < 2:
        raise DataError(f"the text {text[:40]!r} has no token to score")
    return Request(tuple(ids[:-1]), tuple(ids[1:]))


def _options(question: Question, pair: Any) -> list[Request]:
    contexts = question.contexts or (question.context,) * len(question.options)
    return [
        pair(context, f" {option}")
        for context, option in zip(contexts, question.options, strict=True)
    ]


def _some(found: list[Any], count: int, seed: int) -> list[Any]:
    if len(found) <= count:
        return found
    kept = np.sort(np.random.default_rng(seed).permutation(len(found))[:count])
    return [found[int(at)] for at in kept]


def _texts(texts: Sequence[str] | str | Path | None) -> list[str]:
    if texts is None:
        return []
    if isinstance(texts, str | Path):
        samples = read_samples(Path(texts))
        found = [(one.prompt or "") + one.text for one in samples]
    else:
        found = list(texts)
    for at, text in enumerate(found):
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"text {at + 1} is empty or no text: {text!r:.60}")
    return found


def _facts(facts: Rows | None, templates: str | Path | None, count: int, seed: int) -> list[Asked]:
    if facts is None:
        return []
    if not isinstance(facts, str | Path):
        raise ConfigError("facts is not the path of a file or folder", remedy="write it to a file.")
    found = read_facts(Path(facts))
    known = {**own_templates(), **found.templates}
    if templates is not None:
        known.update(read_templates(Path(templates)))
    # drawn before they are asked, so that few-shot examples come from all of them
    asked = ask(found.facts, known, paper_synonyms(), MasteryConfig(seed=seed))
    return _some(asked, count, seed)


def _questions(choices: str | Path | Sequence[str | Path] | None) -> list[Question]:
    if choices is None:
        return []
    paths = [choices] if isinstance(choices, str | Path) else list(choices)
    return [one for path in paths for one in read_benchmark(Path(path)).questions]


def _domains(domains: Rows | None) -> dict[str, list[tuple[str, str]]]:
    if domains is None:
        return {}
    if isinstance(domains, str | Path):
        rows = list(read_rows(Path(domains)))
    else:
        rows = [(f"row {at + 1}", dict(row)) for at, row in enumerate(domains)]
    found: dict[str, list[tuple[str, str]]] = {}
    for place, row in rows:
        name, said = row.get("domain"), row.get("answer", row.get("completion", row.get("text")))
        if not isinstance(name, str) or not isinstance(said, str) or not said.strip():
            raise DataError(
                f"the row has no domain, or no answer or text; it has {', '.join(map(str, row))}",
                where=place,
                remedy='{"domain": …, "prompt": …, "answer": …}, or domain and text.',
            )
        prompt = row.get("prompt", row.get("question"))
        pair = (str(prompt), f" {said.lstrip()}") if prompt else ("", said)
        found.setdefault(name, []).append(pair)
    return found
