"""What a forecast is made from: the examples of SFT and the texts of the domains."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt, and its gold answer where there is one.

    Attributes:
        name: what tells it apart: ``id`` of its row, or its number.
        group: the domain; of an SFT example its component of the mixture.
        prompt: the user's words, not yet rendered.
        answer: the gold answer; SFT examples always have one.
        place: file and line, for messages.
    """

    name: str
    group: str
    prompt: str
    answer: str | None = None
    place: str = ""


@dataclass(frozen=True, slots=True)
class Material:
    """The two sides of a forecast.

    Attributes:
        sft: examples to be trained on, in the order of their file.
        domains: texts of all domains, those of one domain together.
    """

    sft: tuple[Text, ...]
    domains: tuple[Text, ...]
