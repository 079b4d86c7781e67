"""When a text gives the answer, and when no more text can matter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprint.mastery.matching import Matcher


@pytest.mark.parametrize(
    ("names", "text", "expected"),
    [
        (["Iran"], "in Iran.", (True, True, True)),
        (["Iran"], "an Iranian town", (True, True, False)),
        (["Iran"], "in IRAN,", (False, True, True)),
        (["Iran"], "in Iraq", (False, False, False)),
        (["New York City", "New York"], "New York", (True, True, True)),
        (["Côte"], "the Co\u0302te", (False, True, True)),
        (["St. Petersburg"], "in St. Petersburg", (True, True, True)),
        (["C++"], "writes C++ code", (True, True, True)),
        (["a|b"], "a|b", (True, True, True)),
        (["Straße"], "STRASSE", (False, True, True)),
    ],
)
def test_rules(names: list[str], text: str, expected: tuple[bool, bool, bool]) -> None:
    assert Matcher(names).hits(text) == expected


def test_a_word_at_the_end_may_still_grow() -> None:
    matcher = Matcher(["Iran"])
    assert not matcher.settled("in Iran")
    assert matcher.settled("in Iran.")
    assert not matcher.settled("in Iran9")
    assert not matcher.settled("IRAN is")
    assert not matcher.settled("an Iranian")


@given(st.text("Iran iI.", max_size=14), st.text("Iran iI.", max_size=8))
def test_what_is_settled_stays(begin: str, rest: str) -> None:
    matcher = Matcher(["Iran", "ra"])
    if matcher.settled(begin):
        assert matcher.hits(begin + rest) == (True, True, True)
