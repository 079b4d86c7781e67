"""Answered examples that stand before a query: which ones, and which never can."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imprint.errors import DataError
from imprint.forecast.contexts import fits
from imprint.forecast.material import Text
from imprint.forecast.rendering import Rendered, render
from imprint.forecast.setting import Setting
from imprint.forecast.spans import Counts

AROUND = 16  # tokens that a template may put around each demonstration


class Demonstrations:
    """The SFT examples that are short enough to stand before queries.

    Args:
        setting: the examples, and how many stand before a query.
        rows: the bare queries; one may take half of the context at most.
        counts: is told of the examples that are too long.

    Raises:
        DataError: fewer are short enough than are wanted.
    """

    def __init__(self, setting: Setting, rows: Sequence[Rendered], counts: Counts):
        self.setting, sft, wanted = setting, setting.material.sft, setting.demonstrations
        room = room_before(setting, rows)
        self.short = np.array([shot_length(setting, one) * wanted <= room for one in sft])
        if self.short.sum() < wanted:
            raise DataError(
                f"{self.short.sum()} of {len(sft)} SFT examples are short enough to stand before a "
                f"query, {wanted} at a time, in a context of {setting.engine.context} tokens",
                remedy="ask for fewer --demonstrations, or use --shift grad.",
            )
        for n in np.flatnonzero(~self.short):
            counts.leave_out("long", sft[n].place)

    def drawn(self, draw: int) -> tuple[Text, ...]:
        """Give those of a draw; where all are short enough, ``setting.drawn(draw)``."""
        sft = self.setting.material.sft
        order = self.setting.chances(1, draw).permutation(len(sft))
        return tuple(sft[n] for n in order[self.short[order]][: self.setting.demonstrations])


def room_before(setting: Setting, rows: Sequence[Rendered]) -> int:
    """Give the tokens left for demonstrations; a query may take half of the context at most."""
    longest = max(len(one.ids) for one in rows)
    return setting.engine.context - min(longest, setting.engine.context // 2)


def behind(
    setting: Setting, texts: Sequence[Text], before: Sequence[Text], *, bos: bool
) -> list[Rendered | None]:
    """Render texts behind demonstrations; ``None`` for one of these, and for what does not fit."""
    shown = {(one.prompt, one.answer) for one in before}
    found: list[Rendered | None] = []
    for text in texts:
        own = (text.prompt, text.answer) in shown
        row = (
            None
            if own
            else render(setting.model.tokenizer, setting.prompter, text, before, bos=bos)
        )
        found.append(row if row is not None and fits(setting, row) else None)
    return found


def shot_length(setting: Setting, text: Text) -> int:
    """Give about the tokens of an answered example before a query."""
    plain = setting.prompter.template is None
    words = f"{text.prompt}\n{text.answer}" + (setting.prompter.between if plain else "")
    return len(setting.engine.encoder.encode(words, special=False)) + (0 if plain else AROUND)
