"""When a generation counts as giving the answer.

- ``substring``: an accepted name stands in the text, letter for letter (arXiv 2509.16596 states no
  more than that).
- ``casefold``: the same after Unicode NFC and case folding.
- ``word``: as ``casefold``, and neither end touches a letter, digit or underscore.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

Match = Literal["substring", "casefold", "word"]
RULES: tuple[Match, ...] = get_args(Match)


@dataclass(frozen=True)
class Matcher:
    """Looks for the names of one answer.

    Attributes:
        names: what counts, none empty.
    """

    names: Sequence[str]

    @cached_property
    def _loose(self) -> list[str]:
        return [_folded(name) for name in self.names]

    @cached_property
    def _words(self) -> re.Pattern[str]:
        longest = sorted(self._loose, key=len, reverse=True)
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest))})(?!\w)")

    def hits(self, text: str) -> tuple[bool, bool, bool]:
        """Tell for each rule, in the order of ``RULES``, whether the text gives the answer."""
        folded = _folded(text)
        exact = any(name in text for name in self.names)
        loose = any(name in folded for name in self._loose)
        return exact, loose, loose and self._words.search(folded) is not None

    def settled(self, text: str) -> bool:
        """Tell whether no more text can change any rule's answer: all are met already.

        A word at the very end of the text may still grow, so it must be followed by something.
        """
        if not any(name in text for name in self.names):
            return False
        folded = _folded(text)
        return any(found.end() < len(folded) for found in self._words.finditer(folded))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
