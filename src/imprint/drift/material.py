"""What is read: texts, facts and prompts, cut into pieces before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from imprint.drift.accuracy import accuracy_changes
from imprint.drift.config import DriftConfig
from imprint.drift.facts import Fact, chosen, read_facts
from imprint.drift.inputs import Models
from imprint.drift.on_policy import Asked, asked
from imprint.drift.pieces import LONGEST, Cutter, Piece
from imprint.drift.texts import Sample, drawn, read_samples
from imprint.drift.tokenizers import compare
from imprint.errors import ConfigError
from imprint.findings import Finding
from imprint.models.prompting import Prompter, Prompting, prompter
from imprint.models.tokenizer import tokenizer_of


@dataclass(frozen=True, slots=True)
class Sources:
    """What the user named.

    Attributes:
        texts: a file of texts.
        mastery: the folder of a mastery run.
        on_policy: a file of prompts.
        scores: a table of scores to join.
        rename: our column name → the name in the file of texts.
    """

    texts: Path | None = None
    mastery: Path | None = None
    on_policy: Path | None = None
    scores: Path | None = None
    rename: tuple[tuple[str, str], ...] = ()

    @property
    def files(self) -> list[Path]:
        """The files that numbers depend on."""
        tables = (
            [self.mastery / "tables" / f"{n}.parquet" for n in ("mastery", "templates")]
            if (self.mastery)
            else []
        )
        named = [self.texts, *tables, self.on_policy, self.scores]
        return [path for path in named if path is not None]


@dataclass(frozen=True)
class Material:
    """Everything that models will read.

    Attributes:
        models, config, sources: what was asked for.
        tokenizer: of the base.
        samples, pieces: texts and what is read of them; empty without texts.
        facts, fact_pieces: facts and what is read of them.
        prompts, asked: prompts of the on-policy part.
        prompters: how prompts are put to base and tuned.
        accuracy: changes of accuracy in the scores table; ``None`` without one.
        findings: what was noticed.
    """

    models: Models
    config: DriftConfig
    sources: Sources
    tokenizer: Any
    samples: list[Sample]
    pieces: list[Piece]
    facts: list[Fact]
    fact_pieces: list[Piece]
    prompts: list[Sample]
    asked: list[Asked]
    prompters: tuple[Prompter, Prompter]
    accuracy: pl.DataFrame | None
    findings: list[Finding]

    @cached_property
    def positions(self) -> int:
        """The number of positions of one tuned model."""
        return sum(len(p.targets) for p in [*self.pieces, *self.fact_pieces])

    @property
    def files(self) -> list[Path]:
        """The files that numbers depend on."""
        return list(dict.fromkeys([*self.models.files, *self.sources.files]))


def gather(models: Models, sources: Sources, config: DriftConfig) -> Material:
    """Read all sources, compare tokenizers and cut everything into pieces.

    Raises:
        ConfigError: nothing is named to measure on, or a template that cannot be used.
        DataError: a source that cannot be used, or tokenizers that differ.
    """
    if not (sources.texts or sources.mastery or sources.on_policy):
        raise ConfigError(
            "nothing is named to measure drift on",
            remedy="give --texts PATH, --mastery RUN or --on-policy PROMPTS.",
        )
    samples = _read(sources.texts, config, dict(sources.rename))
    facts, left_out = _facts(sources.mastery, config)
    prompts = _read(sources.on_policy, config, {}, answered=False)
    questions = [fact.sample(config.fact_prompts) for fact in facts]
    base, tuned, findings = _tokenizers(models, [*samples, *questions, *prompts], config)
    cutter = Cutter(base, tuned, _prompters(base, tuned, config), _limit(models, config), config)
    _refuse_idle_template(config, [*samples, *questions], prompts)
    pieces = cutter.cut(samples) if samples else []
    return Material(
        models=models,
        config=config,
        sources=sources,
        tokenizer=base,
        samples=samples,
        pieces=pieces,
        facts=facts,
        fact_pieces=cutter.cut(questions) if questions else [],
        prompts=prompts,
        asked=asked(prompts, cutter, config.max_new_tokens) if prompts else [],
        prompters=cutter.prompters,
        accuracy=_accuracy(models, sources.scores),
        findings=[*findings, *left_out, *cutter.findings()],
    )


def _read(
    path: Path | None, config: DriftConfig, rename: Mapping[str, str], *, answered: bool = True
) -> list[Sample]:
    if path is None:
        return []
    found = read_samples(path, rename=rename, answered=answered)
    return drawn(found, config.limit, config.seed)


def _facts(run: Path | None, config: DriftConfig) -> tuple[list[Fact], list[Finding]]:
    if run is None:
        return [], []
    found, left_out = read_facts(run, config.fact_prompts)
    facts = {fact.fact: fact for fact in chosen(found, config)}
    samples = [fact.sample(config.fact_prompts) for fact in facts.values()]
    detail = (
        f"{left_out:,} facts of the mastery run are left out: no question, no answer, or no "
        "template that was sampled"
    )
    findings = [Finding("fact_left_out", detail, count=left_out)] if left_out else []
    return [facts[sample.name] for sample in drawn(samples, config.limit, config.seed)], findings


def _accuracy(models: Models, scores: Path | None) -> pl.DataFrame | None:
    if scores is None:
        return None
    base = str(models.base.reference)
    columns = models.names, models.tuned, models.steps, models.labels
    tuned = [
        (name, str(checkpoint.reference), step, labels)
        for name, checkpoint, step, labels in zip(*columns, strict=True)
    ]
    return accuracy_changes(scores, [Path(base).name, base], tuned)


def _tokenizers(
    models: Models, samples: Sequence[Sample], config: DriftConfig
) -> tuple[Any, Any, list[Finding]]:
    trusted = config.trust_remote_code
    base = tokenizer_of(str(models.base.reference), trust_remote_code=trusted)
    findings, first = [], None
    texts = [sample.text for sample in samples]
    for checkpoint, name in zip(models.tuned, models.names, strict=True):
        tuned = tokenizer_of(str(checkpoint.reference), trust_remote_code=trusted)
        findings += compare(base, tuned, texts, name)
        first = first or tuned
    return base, first, list(dict.fromkeys(findings))


def _prompters(base: Any, tuned: Any, config: DriftConfig) -> tuple[Prompter, Prompter]:
    sides = (config.chat_template_base, base), (config.chat_template_tuned, tuned)
    one, other = (
        prompter(Prompting(template, config.system_prompt), tokenizer)
        for template, tokenizer in sides
    )
    return one, other


def _limit(models: Models, config: DriftConfig) -> int:
    known = []
    for checkpoint in (models.base, *models.tuned):
        inner = checkpoint.config.get("text_config")
        about = inner if isinstance(inner, dict) else checkpoint.config
        for name in ("max_position_embeddings", "n_positions", "n_ctx"):
            value = about.get(name)
            if isinstance(value, int) and value > 0:
                known.append(value)
    limit = min([config.window or LONGEST, *known])
    if config.window and limit < config.window:
        raise ConfigError(
            f"--window {config.window} is more than the {limit} positions of a model",
            remedy=f"use {limit} or less.",
        )
    return limit


def _refuse_idle_template(
    config: DriftConfig, samples: Sequence[Sample], prompts: Sequence[Sample]
) -> None:
    templates = {config.chat_template_base, config.chat_template_tuned} != {"none"}
    prompted = bool(prompts) or any(sample.prompt is not None for sample in samples)
    if (templates or config.system_prompt) and not prompted:
        raise ConfigError(
            "a chat template or system prompt changes nothing: the texts have no prompts",
            remedy="give rows of prompt and completion, or leave it out.",
        )
