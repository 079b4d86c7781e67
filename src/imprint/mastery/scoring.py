"""One block of facts: samples in rounds, hits per template, until each fact's level is settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from imprint.mastery.asking import LINE, Asked
from imprint.mastery.config import MasteryConfig
from imprint.mastery.matching import RULES, Matcher
from imprint.mastery.sources import Session, Source
from imprint.mastery.stopping import order, pieces
from imprint.models import Engine, Prompter

BLOCK = 16  # facts that share rounds of samples; fixed, so that a resumed run draws the same
COUNTED = [f"hits_{rule}" for rule in RULES]
TEMPLATES: dict[str, Any] = {
    "fact": pl.String,
    "template": pl.Int64,
    "prompt": pl.String,
    "hits": pl.Int64,
    "samples": pl.Int64,
    **dict.fromkeys(COUNTED, pl.Int64),
    "whole": pl.Int64,
    "whole_hits": pl.Int64,
    "null_hits": pl.Int64,
    "greedy": pl.Boolean,
    "logprob": pl.Float64,
    "answer_tokens": pl.Int64,
}
SAMPLES: dict[str, Any] = {
    "fact": pl.String,
    "template": pl.Int64,
    "sample": pl.Int64,
    "text": pl.String,
    "hit": pl.Boolean,
}


@dataclass
class _Fact:
    """A fact while it is sampled."""

    asked: Asked
    first: int
    matcher: Matcher
    strange: Matcher | None
    hits: Any = field(init=False)
    samples: Any = field(init=False)
    null: Any = field(init=False)
    settled: bool = False

    def __post_init__(self) -> None:
        count = len(self.asked.prompts)
        self.hits = np.zeros((count, len(RULES)), dtype=np.int64)
        self.samples = np.zeros(count, dtype=np.int64)
        self.null = np.zeros((count, 3), dtype=np.int64)  # whole samples, their hits, null hits


def texts_of(asked: Asked, prompter: Prompter) -> list[str]:
    """Give the texts that the model reads for a fact."""
    if asked.kind != "few-shot":
        return [prompter.context(prompt) for prompt in asked.prompts]
    if prompter.template is not None:
        pairs = zip(asked.prompts, asked.shots, strict=True)
        return [prompter.context(question, shots) for question, shots in pairs]
    return [
        prompter.context(f"Q: {question}\nA:", [(f"Q: {q}\nA:", a) for q, a in shots])
        for question, shots in zip(asked.prompts, asked.shots, strict=True)
    ]


def score_block(
    block: Sequence[Asked],
    source: Source | None,
    engine: Engine | None,
    prompter: Prompter,
    config: MasteryConfig,
) -> dict[str, pl.DataFrame]:
    """Score facts that are asked in one way.

    Args:
        block: the facts.
        source: of samples; ``None`` draws none.
        engine: for likelihoods; ``None`` leaves them out.
        prompter: renders prompts.
        config: the run.

    Returns:
        ``templates``, a row per fact and template, and ``samples`` where they are kept.
    """
    texts = [texts_of(asked, prompter) for asked in block]
    facts, at = [], 0
    for asked in block:
        strange = Matcher(asked.strange) if asked.strange else None
        facts.append(_Fact(asked, at, asked.matcher, strange))
        at += len(asked.prompts)
    kept: list[dict[str, Any]] = []
    greedy: list[bool] | None = None
    if source is not None:
        names = [(a.fact, n) for a in block for n in range(len(a.prompts))]
        stop = LINE if block[0].kind == "few-shot" and prompter.template is None else None
        session = source.open([text for one in texts for text in one], names, stop=stop)
        _rounds(facts, session, config, kept)
        if config.slick:
            owners = [fact for fact in facts for _ in fact.asked.prompts]
            written = zip(owners, session.greedy(), strict=True)
            greedy = [fact.matcher.hits(text)[config.matched] for fact, text in written]
    likely = _likelihoods(block, texts, engine, prompter) if engine is not None else None
    rows = [
        _row(fact, n, greedy, likely)
        | {"prompt": texts[m][n], "hits": int(fact.hits[n, config.matched])}
        for m, fact in enumerate(facts)
        for n in range(len(fact.asked.prompts))
    ]
    found = {"templates": pl.DataFrame(rows, schema=TEMPLATES)}
    return (
        {**found, "samples": pl.DataFrame(kept, schema=SAMPLES)} if config.keep_samples else found
    )


def _rounds(
    facts: Sequence[_Fact], session: Session, config: MasteryConfig, kept: list[dict[str, Any]]
) -> None:
    """Draw between looks, for the facts that are not settled yet."""
    rule = config.stopping
    plans = [
        (order(len(f.asked.prompts), config.samples), pieces(rule.looks(_total(f, config))))
        for f in facts
    ]
    for look in range(max(len(ranges) for _, ranges in plans)):
        wanted: list[tuple[_Fact, int, int]] = []
        for fact, (plan, ranges) in zip(facts, plans, strict=True):
            if not fact.settled and look < len(ranges):
                wanted += [(fact, t, s) for t, s in plan[slice(*ranges[look])]]
        if not wanted:
            break
        _draw(wanted, session, config, kept)
        for fact in facts:
            drawn, hits = int(fact.samples.sum()), int(fact.hits[:, config.matched].sum())
            fact.settled = fact.settled or rule.settled(hits, drawn, _total(fact, config))


def _draw(
    wanted: Sequence[tuple[_Fact, int, int]],
    session: Session,
    config: MasteryConfig,
    kept: list[dict[str, Any]],
) -> None:
    def settled(row: int, text: str) -> bool:
        fact, _, sample = wanted[row]
        # the first sample of each template is written to its end: the null is measured on it
        return sample > 0 and fact.matcher.settled(text)

    texts = session.draw([(f.first + t, s) for f, t, s in wanted], settled)
    for (fact, template, sample), text in zip(wanted, texts, strict=True):
        hits = fact.matcher.hits(text)
        fact.hits[template] += hits
        fact.samples[template] += 1
        if sample == 0 and fact.strange is not None:
            found = fact.strange.hits(text)[config.matched]
            fact.null[template] += (1, hits[config.matched], found)
        if config.keep_samples:
            row = (fact.asked.fact, template, sample, text, hits[config.matched])
            kept.append(dict(zip(SAMPLES, row, strict=True)))


def _total(fact: _Fact, config: MasteryConfig) -> int:
    return len(fact.asked.prompts) * config.samples


def _likelihoods(
    block: Sequence[Asked], texts: Sequence[Sequence[str]], engine: Engine, prompter: Prompter
) -> list[tuple[float, int]]:
    """Score the canonical answer after every prompt: log-probability in nats, and its tokens."""
    pairs = [
        (text, prompter.delimiter + asked.answer)
        for asked, prompts in zip(block, texts, strict=True)
        for text in prompts
    ]
    return [(found.logprob, found.tokens) for found in engine.loglikelihoods(pairs)]


def _row(
    fact: _Fact,
    template: int,
    greedy: Sequence[bool] | None,
    likely: Sequence[tuple[float, int]] | None,
) -> dict[str, Any]:
    at = fact.first + template
    whole = fact.null[template].tolist() if fact.strange is not None else [None] * 3
    return {
        "fact": fact.asked.fact,
        "template": template,
        "samples": int(fact.samples[template]),
        **dict(zip(COUNTED, fact.hits[template].tolist(), strict=True)),
        **dict(zip(("whole", "whole_hits", "null_hits"), whole, strict=True)),
        "greedy": greedy[at] if greedy is not None else None,
        "logprob": likely[at][0] if likely is not None else None,
        "answer_tokens": likely[at][1] if likely is not None else None,
    }
