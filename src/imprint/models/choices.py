"""Choices from continuations: the options of questions scored in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from imprint.models.engine import Likelihood, OptionScores, Question


def option_scores(
    score: Callable[[Sequence[tuple[str, str]]], list[Likelihood]], questions: Sequence[Question]
) -> Iterator[OptionScores]:
    """Score the options of questions by scoring continuations, all in one call."""
    asked = [(one.context, text) for one in questions for text in one.options]
    alone = [
        (one.unconditional, text)
        for one in questions
        if one.unconditional is not None
        for text in one.options
    ]
    answers = iter(score([*asked, *alone]))
    found = [[next(answers) for _ in one.options] for one in questions]
    for one, scores in zip(questions, found, strict=True):
        after = None
        if one.unconditional is not None:
            after = tuple(next(answers).logprob for _ in one.options)
        yield OptionScores(
            logprobs=tuple(each.logprob for each in scores),
            tokens=tuple(each.tokens for each in scores),
            greedy=tuple(each.greedy for each in scores),
            unconditional=after,
            cut=max((each.cut for each in scores), default=0),
        )
