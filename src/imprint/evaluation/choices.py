"""From questions to rows of the item table: what a model finds most likely, and how sure it is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from imprint.errors import ConfigError
from imprint.evaluation.config import EvaluateConfig
from imprint.formats.choices import confidences
from imprint.formats.questions import Benchmark, Question
from imprint.models import Engine, OptionScores, Prompter
from imprint.models import Question as Asked

Shot = tuple[str, str]
TYPES: dict[str, pl.DataType] = {
    "item": pl.String(),
    "subset": pl.String(),
    "prompt": pl.String(),
    "golds": pl.List(pl.Int64),
    "logprobs": pl.List(pl.Float64),
    "unconditional": pl.List(pl.Float64),
    "greedy": pl.List(pl.Boolean),
    "tokens": pl.List(pl.Int64),
    "characters": pl.List(pl.Int64),
    "bytes": pl.List(pl.Int64),
    "cut": pl.Int64(),
}


def choose_items(
    benchmark: Benchmark, config: EvaluateConfig
) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """Draw the items to score and the examples that stand before them.

    Where the rows name no examples, so many are drawn from the items and not scored. Both draws
    depend on the seed and the benchmark's name alone, so that every model is asked the same.

    Returns:
        The items in file order, and the examples.

    Raises:
        ConfigError: too few rows for the examples asked for.
    """
    wanted = config.num_fewshot or 0
    rng = np.random.default_rng([config.seed, *benchmark.name.encode()])
    pool = list(benchmark.questions)
    shots: tuple[Question, ...] = benchmark.shots
    if wanted and not shots:
        drawn = {int(at) for at in rng.permutation(len(pool))[:wanted]}
        shots = tuple(pool[at] for at in sorted(drawn))
        pool = [question for at, question in enumerate(pool) if at not in drawn]
    if wanted and (len(shots) < wanted or not pool):
        raise ConfigError(
            f"--num-fewshot {wanted} leaves {len(pool)} of {len(benchmark.questions)} items",
            where=str(benchmark.path),
        )
    if config.limit is not None and config.limit < len(pool):
        kept = np.sort(rng.permutation(len(pool))[: config.limit])
        pool = [pool[int(at)] for at in kept]
    return tuple(pool), shots if wanted else ()


def score_items(
    questions: Sequence[Question],
    shots: Sequence[Question],
    engine: Engine,
    prompter: Prompter,
    config: EvaluateConfig,
    *,
    delimiter: str = " ",
) -> pl.DataFrame:
    """Score the options of questions.

    Args:
        questions: of one benchmark.
        shots: examples; of those of the question's own subset the first so many are taken.
        engine: what answers.
        prompter: how questions are put.
        config: normalisation and number of examples.
        delimiter: what stands between context and option without a chat template.

    Returns:
        One row per question: ``item``, ``prompt`` (hash), ``gold`` or ``golds``, ``selected``,
        ``correct``, ``logprobs``, lengths, ``confidence``, ``gold_probability``, ``margin``,
        ``entropy``, ``cut`` (tokens cut from the context).
    """
    between = delimiter if prompter.template is None else ""
    count = config.num_fewshot or 0
    asked = [asked_contexts(question, shots, prompter, count) for question in questions]
    plain = [at for at, question in enumerate(questions) if not question.contexts]
    scores: dict[int, OptionScores] = {}
    empty = "" if config.normalisation == "unconditional" else None
    wanted = [
        Asked(asked[at][0], tuple(between + o for o in questions[at].options), empty)
        for at in plain
    ]
    scores.update(zip(plain, engine.choices(wanted), strict=True))
    scores.update(_by_context(questions, asked, engine, between, config))
    rows = [_row(q, asked[at][0], scores[at]) for at, q in enumerate(questions)]
    frame = pl.DataFrame(rows, schema=TYPES)
    one = pl.col("golds").list.len() == 1
    frame = frame.with_columns(
        gold=pl.when(one).then(pl.col("golds").list.first()),
        golds=pl.when(~one).then(pl.col("golds")),
    )
    return confidences(frame, config.scores)


def asked_contexts(
    question: Question, shots: Sequence[Question], prompter: Prompter, count: int
) -> list[str]:
    """Give the context of a question as the model reads it, or one per option where they vary.

    Args:
        question: what is asked.
        shots: examples; the first ``count`` of the question's own subset stand before it.
        prompter: how questions are put.
        count: how many examples.
    """
    own = [shot for shot in shots if shot.subset == question.subset] or list(shots)
    examples = [_shot(shot) for shot in own[:count]]
    contexts = question.contexts or (question.context,)
    bare = not examples and prompter.template is None and not prompter.prompting.system_prompt
    if bare and contexts == ("",):
        return [""]  # a whole text is scored, and nothing was asked to stand before it
    return [prompter.context(context, examples) for context in contexts]


def _shot(shot: Question) -> Shot:
    gold = shot.golds[0]
    return (shot.contexts[gold] if shot.contexts else shot.context, shot.options[gold])


def _by_context(
    questions: Sequence[Question],
    asked: Sequence[list[str]],
    engine: Engine,
    between: str,
    config: EvaluateConfig,
) -> dict[int, OptionScores]:
    """Score one continuation after each of several contexts."""
    vary = [at for at, question in enumerate(questions) if question.contexts]
    if vary and config.normalisation in ("token", "unconditional"):
        raise ConfigError(
            f"--normalisation {config.normalisation} has no meaning where contexts vary and the "
            "continuation is the same",
            remedy="use raw, character or byte for this benchmark.",
        )
    pairs = [
        (context, between + option)
        for at in vary
        for context, option in zip(asked[at], questions[at].options, strict=True)
    ]
    answers = iter(engine.loglikelihoods(pairs) if pairs else [])
    found = {}
    for at in vary:
        each = [next(answers) for _ in questions[at].options]
        found[at] = OptionScores(
            tuple(one.logprob for one in each),
            tuple(one.tokens for one in each),
            tuple(one.greedy for one in each),
            cut=max(one.cut for one in each),
        )
    return found


def _row(question: Question, context: str, scores: OptionScores) -> dict[str, Any]:
    return {
        "item": question.item,
        "subset": question.subset,
        "prompt": hashlib.sha256(context.encode()).hexdigest(),
        "golds": list(question.golds),
        "logprobs": list(scores.logprobs),
        "unconditional": None if scores.unconditional is None else list(scores.unconditional),
        "greedy": list(scores.greedy),
        "tokens": list(scores.tokens),
        "characters": [len(text) for text in question.measured],
        "bytes": [len(text.encode()) for text in question.measured],
        "cut": scores.cut,
    }
