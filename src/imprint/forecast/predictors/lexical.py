"""What can be read off the characters of prompts and answers, with no model and no SFT set.

On the published outcomes such features follow the changes about as well as features of a model do,
so that nothing can be called a forecast which does not say more than these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from imprint.forecast.material import Text
from imprint.forecast.predicted import Floats, Predicted
from imprint.forecast.setting import Setting

Measure = Callable[[Text], float]


def digits(text: str) -> int:
    """Count the digits.

    >>> digits("2 apples and 10 pears")
    3
    """
    return sum(character.isdigit() for character in text)


def symbols(text: str) -> int:
    """Count what is neither a letter, a digit nor white space.

    >>> symbols("x = (1 + 2)!")
    5
    """
    return sum(not (c.isalnum() or c.isspace()) for c in text)


def _answer_length(text: Text) -> float:
    return np.nan if text.answer is None else float(len(text.answer))


def _share(count: Callable[[str], int]) -> Measure:
    return lambda text: count(text.prompt) / max(1, len(text.prompt))


MEASURES: tuple[tuple[str, str, Measure, str], ...] = (
    ("digit_share", "share of digits", _share(digits), ""),
    ("symbol_share", "share of symbols", _share(symbols), "neither letter, digit nor blank"),
    ("prompt_length", "length of prompts", lambda t: float(len(t.prompt)), "in characters"),
    ("answer_length", "length of gold answers", _answer_length, "in characters"),
    ("has_digit", "share of prompts with a digit", lambda t: float(digits(t.prompt) > 0), ""),
)


def lexical(setting: Setting) -> list[Predicted]:
    """Give the predictors from characters, and what is known of a domain beforehand."""
    texts = setting.texts
    found = [
        Predicted(name, title, np.array([[measure(t) for t in texts]]), family="lexical", note=note)
        for name, title, measure, note in MEASURES
    ]
    found.append(
        Predicted(
            "digits_by_length",
            "share of digits × length of prompts",
            _digits_by_length(setting, found[0].values[0], found[2].values[0]),
            family="lexical",
            note="each text's share of digits times the mean length of its domain's prompts",
        )
    )
    counts = {domain: float(len(rows)) for domain, rows in setting.groups.items()}
    counts.update({domain: float(n) for domain, n in setting.items.items()})
    found.append(_constant(setting, "items", "number of items", counts))
    if setting.base_accuracy:
        known = setting.base_accuracy
        found.append(_constant(setting, "base_accuracy", "accuracy before training", known))
    return found


def _digits_by_length(setting: Setting, share: Floats, length: Floats) -> Floats:
    # of means, as published: the mean of products would only count digits
    found = np.empty_like(share)
    for rows in setting.groups.values():
        found[rows] = share[rows] * length[rows].mean()
    return found[None]


def _constant(setting: Setting, name: str, title: str, known: Mapping[str, float]) -> Predicted:
    values = np.array([[known.get(text.group, np.nan) for text in setting.texts]])
    return Predicted(name, title, values, family="lexical", note="one value for a domain")
