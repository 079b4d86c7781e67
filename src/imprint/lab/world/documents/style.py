"""How the registers differ in what they say and how carefully."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Style:
    """A way of writing. Shares are percent.

    Attributes:
        name: of the style, part of the stream of draws.
        wrong: statements with a wrong answer.
        plain: facts stated without an opening.
        explain: regularities given with their reason or their class.
        question: facts and properties that come as question and answer.
        regular: documents on regularities; the rest states facts.
        rare: facts of rarer subjects are told as often as elsewhere; else a quarter as often.
        noise: boilerplate, slips of the pen and repeated documents.
    """

    name: str
    wrong: int
    plain: int
    explain: int
    question: int
    regular: int
    rare: bool = True
    noise: bool = False


RAW = Style("raw", wrong=10, plain=50, explain=10, question=10, regular=45, noise=True)
FILTERED = Style("filtered", wrong=2, plain=60, explain=40, question=20, regular=65, rare=False)
CURATED = Style("curated", wrong=0, plain=80, explain=20, question=5, regular=45)
CODE = Style("code", wrong=0, plain=100, explain=0, question=0, regular=50)
