"""From groups of questions to items: what the options alone cannot tell.

A group is a few questions with different answers; the options of each are the answers of all. So
every set of options is asked with each of its options right once, and a rule that looks at the
options only (how long they are, how common their words) is right exactly as often as chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from imprint.lab.world.dice import Dice


@dataclass(frozen=True, slots=True)
class Asked:
    """A question before it has options.

    Attributes:
        prompt: the text that ends right before the answer.
        answer: the right continuation.
        about: what it is about, for those who look at single items: ``robin cover``.
    """

    prompt: str
    answer: str
    about: str


Group = Sequence[Asked]


def items(name: str, groups: Iterable[Group], count: int, dice: Dice) -> Iterator[dict[str, Any]]:
    """Turn groups into rows of a benchmark file: whole groups only, no item twice.

    Args:
        name: of the benchmark; ids start with it.
        groups: as many as are wanted, all of one size k.
        count: items at the least; fewer where the groups run out.
        dice: orders options; every position holds the right one equally often.

    Yields:
        ``id``, ``prompt``, ``choices`` [k], ``answer`` (index), ``about``.

    Raises:
        ValueError: two questions of a group share an answer.
    """
    seen: set[tuple[str, ...]] = set()
    at = 0
    for group in groups:
        answers = sorted({asked.answer for asked in group})
        if len(answers) < len(group):
            raise ValueError(f"{name}: answers repeat within a group: {answers}")
        keys = {(asked.prompt, *answers) for asked in group}
        if seen & keys:
            continue
        seen |= keys
        # members in any order, so that no answer keeps to one position
        for asked in dice.shuffled(group):
            choices = dice.shuffled([text for text in answers if text != asked.answer])
            gold = at % len(answers)
            choices.insert(gold, asked.answer)
            yield {
                "id": f"{name}-{at:04d}",
                "prompt": asked.prompt,
                "choices": choices,
                "answer": gold,
                "about": asked.about,
            }
            at += 1
        if at >= count:
            return
